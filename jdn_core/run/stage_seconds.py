"""How long each stage of an upgrade takes, added up from the seconds of one step of each kind.

What the search will choose is not known before, so the winner's lineage is taken to be a quarter of the pairs
long (ours; it was 6 of 20 in docs/measurements.md, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jdn_core.settings.training import TrainingSettings
from jdn_core.settings.whole import Settings

# Of `jdn demo`: Prefect's start and imports; tasks, records and files of a pair.
_START, _PAIR = 20.0, 2.0
_LINEAGE = 4  # pairs for each one in the winner's lineage
_WIDER = 1.5  # an assessed teacher's detection against the base's


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of every stage; a control or a training that was not asked for counts nothing.

    Attributes:
        settings: of the run.
        train, val, held_out: photos.
        steps: seconds for one photo of a step of each kind (``stages.clock``).
        at_a_time: pairs that are evaluated at once without slowing each other.
    """

    settings: Settings
    train: int
    val: int
    held_out: int
    steps: Mapping[str, float]
    at_a_time: int = 1

    def by_stage(self) -> dict[str, float]:
        """Returns the seconds of ``start``, ``base``, ``pool``, ``pairs`` and ``controls``."""
        photos = self.train + self.val + self.held_out  # decoded once for every frame, with a cache for all
        return {
            "start": _START + photos * self._frames * self.steps["reading"],
            "base": self._trained(self.settings.base, self.settings.base.epochs, "base"),
            "pool": self._pool(),
            "pairs": self._measured + self.settings.search.iterations * self._pair() / self.at_a_time,
            "controls": self._controls(),
        }

    @property
    def _frames(self) -> int:
        return len(self.settings.data.frames)

    def _trained(self, regime: TrainingSettings, epochs: float, kind: str) -> float:
        """Returns the seconds of a training; what fills no whole batch is left out of every epoch."""
        return epochs * (self.train - self.train % regime.batch) * self.steps[kind]

    @cached_property
    def _measured(self) -> float:
        """Returns the seconds of a detector's AP and latency at every frame."""
        rules = self.settings.evaluation
        timed = rules.latency_warmup + rules.latency_repeats
        return (self.val + timed) * self._frames * self.steps["evaluation"]

    @cached_property
    def _teacher(self) -> float:
        """Returns the seconds of a teacher's BN reset and, where it is asked for, its AP at one frame."""
        pool = self.settings.pool
        photos = pool.calibration_images + (self.val if pool.assessed_subnets else 0)
        return photos * self.steps["evaluation"] * _WIDER

    def _pool(self) -> float:
        pool = self.settings.pool
        trained = sum(
            self._trained(phase, phase.epochs, "shrinking" if number else "pool")
            for number, phase in enumerate(pool.phases)
        )
        assessed = 1 + (2 + pool.assessed_subnets) * (len(pool.phases) - 1)
        return trained + assessed * self._teacher * (pool.assessed_subnets > 0)

    def _pair(self) -> float:
        rules = self.settings.evaluation
        # Half of the proposals change the teacher, and each new one has to be made and measured.
        return self._trained(rules, rules.epochs, "distilled") + self._measured + self._teacher / 2 + _PAIR

    def _controls(self) -> float:
        """Returns the seconds of what stands beside the winner, its cool-down, and held-out photos."""
        settings, search = self.settings, self.settings.search
        lineage = -(-search.iterations // _LINEAGE) * settings.evaluation.epochs
        epochs = settings.base.epochs + lineage
        cooling = self._trained(settings.evaluation, epochs * search.finish, "distilled")
        longer = self._trained(settings.base, epochs * (1 + search.finish), "base")
        distilled = self._trained(settings.evaluation, lineage, "distilled") + cooling
        trained = {"longer": longer, "scaled": longer, "distilled": distilled}
        finished = (cooling + self._measured) * (search.finish > 0)
        looks = (3 + len(search.controls)) * self.held_out * self.steps["evaluation"]
        return sum(trained[name] + self._measured for name in search.controls) + finished + looks
