"""A study: a claim of the paper, the arms that try it, and what is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jdn_core.settings.distillation import DistillationSettings
from jdn_core.settings.training import TrainingSettings
from jdn_core.settings.whole import Settings
from jdn_core.studies.arms import Arm
from jdn_core.studies.results import ArmResult
from jdn_core.studies.verdict import Comparison

NO_WORSE = -0.01  # "as good as" allows one point of AP, or of H (ours)
LOSSES = ("feature", "classification", "localisation")  # between student and teacher
Stage = Callable[[Settings, Mapping[str, ArmResult]], tuple[Arm, ...]]


@dataclass(frozen=True)
class Study:
    """A claim that trainings try.

    Attributes:
        name: of its command.
        label: of the paper's table or figure.
        claim: in words.
        number: what the paper reports.
        stages: each gives arms out of a seed's settings and the results of the stages before.
        compared: gives the comparisons; the first is the one that the answer's difference is of.
    """

    name: str
    label: str
    claim: str
    number: str
    stages: tuple[Stage, ...]
    compared: Callable[[Settings], tuple[Comparison, ...]]


def regime_of(regime: TrainingSettings, *, epochs: int | None = None) -> TrainingSettings:
    """Returns the regime of a base, a phase or an evaluation as a plain one; for other epochs if given."""
    data = {name: getattr(regime, name) for name in TrainingSettings.model_fields}
    return TrainingSettings(**data | {"epochs": max(1, regime.epochs) if epochs is None else epochs})


def without_teacher(settings: Settings) -> DistillationSettings:
    """Returns the losses of a student that learns from the photos alone; the sparsity stays."""
    return weighing(settings)


def weighing(settings: Settings, *losses: str) -> DistillationSettings:
    """Returns the settings' distillation, for any teacher, with these losses; others weigh nothing."""
    others = dict.fromkeys({*LOSSES} - {*losses}, 0.0)
    return settings.distillation.model_copy(update={"when": "always", **others})
