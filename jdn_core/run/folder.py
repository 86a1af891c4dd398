"""The folder of a run: where each thing that it makes is; tasks pass this on instead of tensors."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jdn_core.faults import Point, faultpoint
from jdn_core.search.contenders import Contender, ContenderRecords
from jdn_core.search.records import Records
from jdn_core.search.subnets import MEASURED, SubnetRecords
from jdn_core.settings.whole import Settings
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage.canonical import content_key
from jdn_core.training.checkpoints import Checkpoints

TRAINING_FILE = "training.json"
TRAINING_SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """A search's folder and its settings.

    Attributes:
        settings: of the whole run.
        folder: holds ``settings.yaml``, ``base``, ``pool``, ``pairs``, ``controls``, ``report``; and
            ``work``, what was needed on the way.
    """

    settings: Settings
    folder: Path

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    @cached_property
    def records(self) -> Records:
        return Records(self.folder)

    @cached_property
    def contenders(self) -> ContenderRecords:
        return ContenderRecords(self.folder)

    @property
    def held_out(self) -> Path:
        """Returns the file of what was measured on the photos that the search never sees."""
        return self.folder / "controls" / "holdout.json"

    def __reduce__(self) -> tuple[type[Run], tuple[Settings, Path]]:
        """Pickles settings and folder alone: another process reads the records itself."""
        return Run, (self.settings, self.folder)

    def phase(self, index: int) -> Path:
        """Returns the folder of the super-network after a phase; after the last one it is the pool."""
        phases = self.settings.pool.phases
        return self.pool if index + 1 == len(phases) else self.folder / "work" / "phases" / phases[index].name

    def assessment(self, index: int) -> Path:
        """Returns the file of subnets' AP after a phase; outside its folder, whose hash stays the same."""
        return self.folder / "work" / "assessments" / f"{self.settings.pool.phases[index].name}.json"

    def teacher(self, subnet: SubnetSpec) -> Path:
        """Returns the folder of a subnet after BN reset; a run has one pool and one calibration set."""
        return self.folder / "work" / "teachers" / content_key(subnet.to_json())[:16]

    @property
    def measured_teachers(self) -> SubnetRecords:
        """Returns the AP of subnets after BN reset, as far as it was measured."""
        return SubnetRecords(self.folder / MEASURED)

    def pair_work(self, key: str) -> Path:
        """Returns the folder of a pair that is being evaluated."""
        return self.folder / "work" / "pairs" / key

    def contender_work(self, contender: Contender) -> Path:
        """Returns the folder of a contender that is being trained."""
        return self.folder / "work" / "controls" / contender.name / contender.key

    def finetuning(self, name: str = "") -> Path:
        """Returns the folder of a detector that was trained on after the search; without a name, of all."""
        return self.folder / "finetuned" / name

    def finetuning_work(self, name: str) -> Path:
        """Returns the folder of a detector that is being trained on."""
        return self.folder / "work" / "finetuned" / name

    def forget_work(self) -> None:
        """Drops what only the evaluations needed; a search that is prolonged makes again what it misses."""
        for part in ("teachers", "pairs", "controls", "finetuned", "exports", "checkpoints"):
            shutil.rmtree(self.folder / "work" / part, ignore_errors=True)
            faultpoint(Point.SEARCH_FINISH)

    def checkpoints(self, *stage: str) -> Checkpoints:
        """Returns the checkpoints that a stage's training goes on from."""
        folder = self.folder.joinpath("work", "checkpoints", *stage)
        every = 60 * self.settings.checkpoint_minutes
        # Other settings train something else, so their checkpoints must not be taken up.
        return Checkpoints(folder, identity="/".join((self.settings.digest, *stage)), every=every)
