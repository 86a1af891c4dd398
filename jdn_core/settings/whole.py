"""Every knob of a run: frozen pydantic models with units and ranges; knows no torch and no YAML."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import BaseModel, Field, ValidationError, model_validator

from jdn_core.errors import MOST_PROBLEMS, Problem, SettingsError, cut, shown
from jdn_core.settings.data import DataSettings
from jdn_core.settings.detector import CheckpointSettings, DetectorSettings
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.settings.pool import PoolSettings
from jdn_core.settings.search import ScoreSettings, SearchSettings, TargetSettings
from jdn_core.settings.tracking import TrackingSettings
from jdn_core.settings.training import BaseSettings, EvaluationSettings
from jdn_core.settings.values import FREE, LONGEST_NAME, NAME, Count, Rate, Seed
from jdn_core.space.families import DEPTHS, KINDS
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage.canonical import content_key


class Settings(BaseModel, frozen=True, extra="forbid", title="Settings"):
    """A whole run."""

    name: str = Field(
        "jdn",
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="Name of the search and of its MLflow experiment.",
    )
    seed: Seed = Field(0, description="Seed of every random draw.")
    device: Annotated[Literal["auto", "cpu", "cuda"], FREE] = Field(
        "auto", description="Where to train; auto takes a GPU if there is one."
    )
    threads: Annotated[Count | None, FREE] = Field(
        None, description="CPU threads of the training; none: as many as torch takes."
    )
    checkpoint_minutes: Annotated[Rate, FREE] = Field(
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
    targets: Annotated[tuple[TargetSettings, ...], FREE] = Field(
        (), description="Machines on which exported students can be timed."
    )
    tracking: Annotated[TrackingSettings, FREE] = Field(default_factory=TrackingSettings)

    @model_validator(mode="after")
    def _base_comes_from_somewhere(self) -> Self:
        whole = self.detector.pretrained is not None and self.detector.checkpoint.head != "new"
        if not (self.base.epochs or whole):
            raise ValueError(
                f"base.epochs must be >= 1 unless detector.pretrained names a detector "
                f"whose class head stays, got {self.base.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _pool_can_hold_the_base(self) -> Self:
        if self.pool.start == "scratch":
            return self
        family, space = self.detector.family, self.pool.space
        if family == "x101":  # an elastic convolution has one group
            raise ValueError("pool.start must be scratch for x101, got base")
        for stage, (depth, (_, most)) in enumerate(zip(DEPTHS[family], space.depths, strict=True)):
            if most < depth:
                where = f"pool.space.depths of stage {stage + 1}"
                raise ValueError(f"{where} must reach the {depth} blocks of {family}, got {most} at the most")
        if space.widths[-1] < 1:
            raise ValueError(f"pool.space.widths must reach 1 to hold the base, got {list(space.widths)}")
        return self

    @model_validator(mode="after")
    def _targets_are_known(self) -> Self:
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError(f"targets must have different names, got {', '.join(names)}")
        if self.score.cost == "latency" and self.score.target not in names:
            known = ", ".join(names) or "none"
            raise ValueError(
                f"score.target must name one of targets for score.cost latency, got {self.score.target}; "
                f"there are: {known}"
            )
        return self

    def target(self, name: str) -> TargetSettings:
        """Returns the target of a name; raises StopIteration where there is none."""
        return next(target for target in self.targets if target.name == name)

    @property
    def subnet_space(self) -> SubnetSpace:
        """Returns the pool's whole space; one that starts as the base is of the base's own kind."""
        space, base = self.pool.space.subnets, self.detector
        match self.pool.start:
            case "scratch":
                return space
            case "base":
                blocks = KINDS[base.family]
                return replace(space, width=base.width, neck=base.neck, head=base.head, blocks=blocks)
            case _:
                assert_never(self.pool.start)

    def with_lookback(self) -> Self:
        """Returns the same settings with the lookback spelt out, so that a resume may change the workers."""
        search = self.search.model_copy(update={"lookback": self.search.effective_lookback})
        return self.model_copy(update={"search": search})

    @property
    def digest(self) -> str:
        """Returns the key of what results depend on, which stays when a search goes on (RELIABILITY, rule 9).

        It is made of the keys that are not ``FREE`` and differ from their default, so that a key that is
        added later leaves the digests of earlier searches as they are.
        """
        return content_key(_deciding(self._as_it_works(), defaults=False))

    @property
    def of_pool(self) -> dict[str, Any]:
        """Returns what a pool depends on, as plain data that ``parse`` takes; without paths."""
        data = _deciding(self, defaults=True)
        base = ("base",) if self.pool.start == "base" else ()
        names = ("name", "seed", "data", "detector", *base, "pool", "distillation")
        return {name: data[name] for name in names}

    def _as_it_works(self) -> Self:
        """Returns the same settings without what has no effect beside the others."""
        settings = self.with_lookback()
        if self.detector.pretrained is not None:
            return settings
        detector = self.detector.model_copy(update={"checkpoint": CheckpointSettings()})
        return settings.model_copy(update={"detector": detector})


def _deciding(model: BaseModel, *, defaults: bool) -> dict[str, Any]:
    """Returns the keys of a section that are not ``FREE``, as plain data, with or without ``defaults``."""
    found = {}
    for name, field in type(model).model_fields.items():
        if FREE in field.metadata:
            continue
        value = _plain(getattr(model, name), defaults=defaults)
        default = _plain(field.get_default(call_default_factory=True), defaults=defaults)
        if defaults or value != default:
            found[name] = value
    return found


def _plain(value: Any, *, defaults: bool) -> Any:
    if isinstance(value, BaseModel):
        return _deciding(value, defaults=defaults)
    if isinstance(value, Path):  # it may lie elsewhere on another machine
        return value.name
    return [_plain(each, defaults=defaults) for each in value] if isinstance(value, tuple) else value


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
    """Returns keys of the model at a place such as ``("pool", "phases", 0)``."""
    model: Any = Settings
    for name in parents:
        if isinstance(name, str):
            annotation = model.model_fields[name].annotation
            model = next(
                (arg for arg in getattr(annotation, "__args__", ()) if hasattr(arg, "model_fields")),
                annotation,
            )
    return list(model.model_fields)
