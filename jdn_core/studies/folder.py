"""The folder of the studies of one settings file: bases, pools, searches and arms, which they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings
from jdn_core.studies.arms import Arm, Searched, source_key

STUDY_FILE, PAGE_FILE = "study.json", "index.html"
SCHEMA = 1  # of study.json


@dataclass(frozen=True)
class StudyFolder:
    """Where things are.

    Attributes:
        settings: of the studies; seed n of them is that of the settings plus n.
        folder: holds ``settings.yaml``, a folder for each seed, and one for each study's answer.
    """

    settings: Settings
    folder: Path

    def run(self, seed: int) -> Run:
        """Returns the run that holds base and pool of a seed; nothing is searched in it."""
        return Run(self.settings_of(seed), self.folder / f"seed-{seed}")

    def settings_of(self, seed: int) -> Settings:
        """Returns the settings under a seed, without pictures and assessments that no study looks at."""
        changes = {
            "seed": self.settings.seed + seed,
            "tracking": self.settings.tracking.model_copy(update={"preview_images": 0}),
            "pool": self.settings.pool.model_copy(update={"assessed_subnets": 0}),
        }
        return self.settings.model_copy(update=changes)

    def arm(self, seed: int, arm: Arm) -> Path:
        """Returns the folder of an arm's result; studies that have the arm in common share it."""
        return self.run(seed).folder / "arms" / arm.key[:16]

    def search(self, seed: int, searched: Searched) -> Run:
        """Returns the run of a search, which has the seed's base and pool."""
        settings, key = self.settings_of(seed), source_key(searched)[:16]
        search = {**dict(searched.search), "iterations": searched.iterations, "controls": ()}
        changes = {
            "name": f"{self.settings.name}-{key[:8]}-{seed}",
            "search": settings.search.model_copy(update=search),
            "distillation": settings.distillation.model_copy(update=dict(searched.distillation)),
        }
        run = settings.model_copy(update=changes).with_lookback()
        return Run(run, self.run(seed).folder / "searches" / key)

    def study(self, name: str) -> Path:
        """Returns the folder of a study's answer."""
        return self.folder / name
