"""Every knob of a run: frozen pydantic models with units and ranges; knows no torch and no YAML."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from jdn_core.errors import MOST_PROBLEMS, Problem, SettingsError, cut, shown
from jdn_core.settings.sections import (
    LONGEST_NAME,
    NAME,
    BaseSettings,
    Count,
    DataSettings,
    DetectorSettings,
    DistillationSettings,
    EvaluationSettings,
    PoolSettings,
    Rate,
    ScoreSettings,
    SearchSettings,
    Seed,
    TrackingSettings,
)
from jdn_core.storage.canonical import content_key

_YOUNGER = {"device_batch": None, "precision": "float32", "sampling": "single"}


class Settings(BaseModel, frozen=True, extra="forbid", title="Settings"):
    """A whole run."""

    name: str = Field(
        "jdn",
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="Name of the search and of its MLflow experiment.",
    )
    seed: Seed = Field(0, description="Seed of every random draw.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto takes a GPU if there is one."
    )
    threads: Count | None = Field(
        None, description="CPU threads of the training; none: as many as torch takes."
    )
    checkpoint_minutes: Rate = Field(
        10.0,
        description="Minutes between two checkpoints inside a long epoch; each epoch ends with one (ours).",
    )
    data: DataSettings = Field(default_factory=DataSettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    base: BaseSettings = Field(default_factory=BaseSettings)
    pool: PoolSettings = Field(default_factory=PoolSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    distillation: DistillationSettings = Field(default_factory=DistillationSettings)
    score: ScoreSettings = Field(default_factory=ScoreSettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)

    @model_validator(mode="after")
    def _base_comes_from_somewhere(self) -> Self:
        whole = self.detector.pretrained is not None and self.detector.checkpoint.head != "new"
        if not (self.base.epochs or whole):
            raise ValueError(
                f"base.epochs must be >= 1 unless detector.pretrained names a detector "
                f"whose class head stays, got {self.base.epochs}"
            )
        return self

    def with_lookback(self) -> Self:
        """The same settings with the lookback spelt out, so that a resume may change the workers."""
        search = self.search.model_copy(update={"lookback": self.search.effective_lookback})
        return self.model_copy(update={"search": search})

    @property
    def digest(self) -> str:
        """Key of what results depend on; the rest may change on resume (RELIABILITY, rule 9)."""
        data = self.model_dump(mode="json", exclude={"device", "threads", "checkpoint_minutes", "tracking"})
        for free in ("root", "workers", "cache_mb"):
            del data["data"][free]
        detector = data["detector"]
        if self.detector.pretrained is None:  # younger than the first searches, whose keys must stay
            del detector["pretrained"], detector["checkpoint"]
        else:
            detector["pretrained"] = self.detector.pretrained.name
        data["search"]["lookback"] = self.search.effective_lookback
        if self.search.draw == "kind":  # the only one that the first searches knew
            del data["search"]["draw"]
        for free in ("iterations", "workers", "evaluator", "work_pool", "hang_medians", "hang_seconds"):
            del data["search"][free]
        for free in ("latency_warmup", "latency_repeats"):
            del data["evaluation"][free]
        del data["pool"]["processes"], data["pool"]["assessed_subnets"]
        for training in (data["base"], data["evaluation"], *data["pool"]["phases"]):
            del training["recompute"]
            for name in [name for name, old in _YOUNGER.items() if training.get(name, old) == old]:
                training.pop(name, None)
        return content_key(data)

    @property
    def of_pool(self) -> dict[str, Any]:
        """What a pool depends on, as plain data that ``parse`` takes; without paths and this machine's."""
        sections = {"name", "seed", "data", "detector", "pool", "distillation"}
        data = self.model_dump(mode="json", include=sections)
        for here in ("root", "workers", "cache_mb"):
            del data["data"][here]
        del data["pool"]["processes"], data["pool"]["assessed_subnets"]
        if self.detector.pretrained is not None:
            data["detector"]["pretrained"] = self.detector.pretrained.name
        return data


def parse(data: Mapping[str, Any], *, source: str = "settings") -> Settings:
    """Settings out of plain data, all problems at once.

    Args:
        data: nested mappings as YAML or JSON would give them.
        source: name of the file, for the messages.

    Raises:
        SettingsError: one problem per broken rule; an unknown key names the nearest known one.
    """
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        lines = error.errors(include_url=False)
        inner = {line["loc"][:depth] for line in lines for depth in range(len(line["loc"]))}
        lines = [line for line in lines if line["loc"] not in inner]
        problems = [_problem(dict(line), source, number) for number, line in enumerate(lines)]
        raise SettingsError.of(problems) from None


def _problem(line: dict[str, Any], source: str, number: int) -> Problem:
    where = ".".join(cut(str(key)) for key in line["loc"])
    if line["type"] == "extra_forbidden":
        if number >= MOST_PROBLEMS:  # nobody reads it, and the search for the nearest key takes its time
            return Problem(source, where, "unknown key")
        *parents, key = line["loc"]
        near = difflib.get_close_matches(str(key), _known_keys(parents), n=1, cutoff=0.0)
        return Problem(source, where, "unknown key", remedy=f"did you mean {near[0]}?")
    if line["type"] == "missing":
        return Problem(source, where, "missing key", remedy="add it")
    what = line["msg"].removeprefix("Value error, ")
    value = "" if line["type"] == "value_error" else shown(line["input"])
    return Problem(source, where, what[0].lower() + what[1:], value)


def _known_keys(parents: list[Any]) -> list[str]:
    """Keys of the model at a place such as ``("pool", "phases", 0)``."""
    model: Any = Settings
    for name in parents:
        if isinstance(name, str):
            annotation = model.model_fields[name].annotation
            model = next(
                (arg for arg in getattr(annotation, "__args__", ()) if hasattr(arg, "model_fields")),
                annotation,
            )
    return list(model.model_fields)
