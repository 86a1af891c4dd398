"""Settings of the search: which pairs are proposed, how they are scored, where they are evaluated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from jdn_core.settings.values import FREE, LONGEST_NAME, NAME, Count, Probability, Rate, Share, Weight, Whole

Control = Literal["longer", "distilled", "scaled"]


class SearchSettings(BaseModel, frozen=True, extra="forbid", title="Search"):
    """Hill climbing over student-teacher pairs (paper, section 3.1.4)."""

    iterations: Annotated[Count, FREE] = Field(100, description="Pairs to evaluate after the base.")
    top_k: Count = Field(5, title="Top k", description="Pairs that may become parents.")
    parents: Literal["ranked", "any"] = Field(
        "ranked",
        description="Who may become a parent: the best, drawn by rank, or any pair, as in a random search "
        "(ours).",
    )
    workers: Annotated[Count, FREE] = Field(1, description="Evaluations at a time.")
    evaluator: Annotated[Literal["local", "work_pool"], FREE] = Field(
        "local",
        description="Where pairs are evaluated: by processes here, or by workers of a Prefect pool (ours).",
    )
    work_pool: Annotated[str, FREE] = Field(
        "jdn",
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="The pool whose workers evaluate pairs, with evaluator: work_pool (ours).",
    )
    lookback: Count | None = Field(
        None,
        description="How many pairs ago the newest known result is; none: 1, or 2 x workers if several.",
    )
    frozen_student_iterations: Whole = Field(5, description="First iterations that only mutate the teacher.")
    student_probability: Probability = Field(
        0.5, description="Chance that the student evolves, not the teacher (ours)."
    )
    prune_shares: tuple[Share, ...] = Field(
        (0.05, 0.1),
        description="Shares of the channels that one pruning may remove; none: channels stay (ours).",
    )
    narrow_shares: tuple[Share, ...] = Field(
        (),
        description="Shares of the channels of neck, RPN and box head that one narrowing may remove, which "
        "the paper's actions leave as they are; empty: no such action (ours).",
    )
    draw: Literal["instance", "kind", "success"] = Field(
        "instance",
        description="What is equally likely: every change, or every kind of change first; or kinds by the "
        "share of their pairs that were better than the parent (ours).",
    )
    controls: Annotated[tuple[Control, ...], FREE] = Field(
        (),
        description="What anybody would do first, for as many epochs as the winner's lineage: the base "
        "`longer`, `distilled` as it is, or `scaled` to the winner's MACs; the best of all is the result "
        "(ours).",
    )
    finish: Annotated[Probability, FREE] = Field(
        0.0,
        description="Share of its lineage's epochs for which the winner is trained on, under a rate that "
        "falls to zero, before it is shipped (ours).",
    )
    max_failures: Count = Field(10, description="Failed pairs in a row that stop the search (ours).")
    hang_medians: Annotated[Rate, FREE] = Field(
        100.0, description="A worker without a sign of life for so many median steps is replaced (ours)."
    )
    hang_seconds: Annotated[Rate, FREE] = Field(
        600.0, description="The least time that a worker may be silent (ours)."
    )

    @field_validator("controls")
    @classmethod
    def _each_once(cls, controls: tuple[Control, ...]) -> tuple[Control, ...]:
        if len(set(controls)) != len(controls):
            raise ValueError(f"controls must differ, got {', '.join(controls)}")
        return controls

    @model_validator(mode="after")
    def _lookback_covers_workers(self) -> Self:
        if self.lookback is not None and self.lookback < self.workers:
            raise ValueError(f"lookback must be >= workers ({self.workers}), got {self.lookback}")
        return self

    @property
    def effective_lookback(self) -> int:
        """Returns the lookback, also where it is left to the number of workers."""
        return self.lookback or (1 if self.workers == 1 else 2 * self.workers)


class ScoreSettings(BaseModel, frozen=True, extra="forbid", title="Score"):
    """H(S, R): accuracy against cost, relative to the base at the largest resolution."""

    form: Literal["product", "res_power", "additive"] = Field(
        "product", description="How AP and cost are joined (ours)."
    )
    alpha: Weight = Field(0.4, description="How much cost counts.")
    beta: Probability = Field(0.8, description="Share of the architecture's cost against the resolution's.")
    cost: Literal["macs", "params", "latency"] = Field(
        "macs",
        description="What an architecture's cost is, at the largest resolution; `latency` is that of the "
        "exported student on `target` (ours).",
    )
    target: str | None = Field(
        None, description="Name of one of `targets`, whose latency counts; for `cost: latency` (ours)."
    )
    max_macs: Rate | None = Field(
        None, title="Most MACs", description="Hard bound on the MACs at the pair's resolution (ours)."
    )
    min_ap: Probability | None = Field(
        None, title="Least AP", description="Hard bound on AP, as a fraction (ours)."
    )
    keep_base_ap: bool = Field(
        False, title="Keep the base's AP", description="Hard bound: AP at least the base's (ours)."
    )


class TargetSettings(BaseModel, frozen=True, extra="forbid", title="Target"):
    """A machine and a runtime on which exported students are timed (ours)."""

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME, description="What tables call it.")
    work_pool: str | None = Field(
        None,
        description="Prefect work pool whose worker runs there; none: the machine of the search, while no "
        "other measurement runs.",
    )
    runtime: Literal["onnxruntime", "openvino", "torch"] = Field(
        "onnxruntime", description="What computes; `torch` takes a PT2 file, the others ONNX."
    )
    precision: Literal["fp32", "fp16"] = Field("fp32", description="Of the exported network.")
    threads: Count = Field(1, description="CPU threads of the runtime.")
    repeats: Count = Field(30, description="Detections whose median is the latency.")
