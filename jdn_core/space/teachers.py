"""The elastic teacher pool as plain values: which subnets there are, how to draw and how to mutate one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from jdn_core.space.architecture import BackboneSpec, BlockKind, DetectorSpec
from jdn_core.space.chance import pick
from jdn_core.space.families import STEM, resnet_stage, round_width

Depths = tuple[int, int, int, int]
Widths = tuple[float, float, float, float]
Ranges = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class SubnetSpec:
    """One subnet: blocks per stage, and a width factor for each of six slots (stem, four stages, neck).

    The factors count from the space's width at factor 1. ``str()`` gives a text such as
    ``d2-3-5-2 w1.25-1-1.5-1 s1 n1.25``.
    """

    depths: Depths
    stem: float
    widths: Widths
    neck: float

    def __post_init__(self) -> None:
        # 1 and 1.0 are the same factor, so they must give the same JSON and the same key.
        object.__setattr__(self, "stem", float(self.stem))
        object.__setattr__(self, "widths", tuple(map(float, self.widths)))
        object.__setattr__(self, "neck", float(self.neck))

    def __str__(self) -> str:
        depths, widths = "-".join(map(str, self.depths)), "-".join(map(_short, self.widths))
        return f"d{depths} w{widths} s{_short(self.stem)} n{_short(self.neck)}"

    @classmethod
    def parse(cls, text: str) -> SubnetSpec:
        """Reads what ``str()`` wrote; raises ValueError where the text is anything else."""
        try:
            (d, depths), (w, widths), (s, stem), (n, neck) = (
                (part[0], part[1:].split("-")) for part in text.split()
            )
            if (d, w, s, n) != ("d", "w", "s", "n"):
                raise ValueError("wrong letters")
            (a, b, c, d4), (e, f, g, h) = map(int, depths), map(float, widths)
            return cls((a, b, c, d4), float(*stem), (e, f, g, h), float(*neck))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"a subnet must look like 'd2-3-5-2 w1.25-1-1.5-1 s1 n1.25', got {text!r}"
            ) from error

    def to_json(self) -> dict[str, Any]:
        return {
            "depths": list(self.depths),
            "stem": self.stem,
            "widths": list(self.widths),
            "neck": self.neck,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SubnetSpec:
        """Raises KeyError, TypeError or ValueError where the data is broken."""
        (a, b, c, d), (e, f, g, h) = data["depths"], data["widths"]
        return cls((a, b, c, d), data["stem"], (e, f, g, h), data["neck"])


@dataclass(frozen=True)
class SubnetSpace:
    """All subnets of a super-network (paper, section 3.1.3; FACTS, section 3).

    Attributes:
        depths: least and most blocks of each stage.
        widths: factors that any of the six width slots may take, rising.
        width: factor on ResNet's channels at width factor 1.
        neck: channels of the FPN at width factor 1.
        head: width of the box head, the same in every subnet.
        blocks: kind of all blocks. The first stage of basic blocks has no projection and adds to the stem's
            channels, so there the stem's factor is that of the first stage.
    """

    depths: Ranges = ((2, 3), (2, 4), (2, 23), (2, 3))
    widths: tuple[float, ...] = (1.0, 1.25, 1.5)
    width: float = 1.0
    neck: int = 256
    head: int = 1024
    blocks: BlockKind = "bottleneck"

    def __post_init__(self) -> None:
        for stage, (least, most) in enumerate(self.depths):
            if not 1 <= least <= most:
                raise ValueError(
                    f"depths of stage {stage + 1} must be 1 <= least <= most, got {(least, most)}"
                )
        if not self.widths or list(self.widths) != sorted(set(self.widths)) or not self.widths[0] > 0:
            raise ValueError(f"widths must be positive and rise, got {self.widths}")

    def size(self, n_resolutions: int = 1) -> int:
        """Counts the (subnet, resolution) there are; the paper's space with four resolutions has 769,824."""
        depths = math.prod(most - least + 1 for least, most in self.depths)
        slots = 5 if self.blocks == "basic" else 6
        return depths * math.prod([len(self.widths)] * slots) * n_resolutions

    @property
    def largest(self) -> SubnetSpec:
        """Returns the super-network."""
        (_, a), (_, b), (_, c), (_, d) = self.depths
        return _uniform((a, b, c, d), self.widths[-1])

    @property
    def smallest(self) -> SubnetSpec:
        (a, _), (b, _), (c, _), (d, _) = self.depths
        return _uniform((a, b, c, d), self.widths[0])

    def __contains__(self, subnet: SubnetSpec) -> bool:
        inside = all(
            least <= depth <= most for depth, (least, most) in zip(subnet.depths, self.depths, strict=True)
        )
        wide = {subnet.stem, *subnet.widths, subnet.neck} <= set(self.widths)
        return inside and wide and subnet == self.tied(subnet)

    def tied(self, subnet: SubnetSpec) -> SubnetSpec:
        """Returns the subnet with the stem that its first stage asks for, where blocks are basic."""
        return replace(subnet, stem=subnet.widths[0]) if self.blocks == "basic" else subnet

    def narrow(self, *, depths: Ranges | None = None, widths: tuple[float, ...] | None = None) -> SubnetSpace:
        """Returns the part of the space that a shrinking phase trains; what is not given stays whole.

        Raises:
            ValueError: the part is not inside this space.
        """
        (_, a), (_, b), (_, c), (_, d) = self.depths
        most: Ranges = ((a, a), (b, b), (c, c), (d, d))
        part = replace(self, depths=depths or most, widths=widths or self.widths[-1:])
        if part.largest not in self or part.smallest not in self or not set(part.widths) <= set(self.widths):
            raise ValueError(
                f"depths {part.depths} and widths {part.widths} must lie in {self.depths}, {self.widths}"
            )
        return part

    def draw(self, rng: Random) -> SubnetSpec:
        """Returns one subnet, uniformly."""
        a, b, c, d = (pick(rng, range(least, most + 1)) for least, most in self.depths)
        stem, e, f, g, h, neck = (pick(rng, self.widths) for _ in range(6))
        return self.tied(SubnetSpec((a, b, c, d), stem, (e, f, g, h), neck))

    def mutations(self, subnet: SubnetSpec) -> tuple[tuple[str, SubnetSpec], ...]:
        """Lists the subnets that differ in one slot, with the change's key, such as ``teacher:depth:3:12``.

        The slots are the depth and the width of each stage (paper, section 3.1.4), the stem and the neck; a
        slot may take any other value of the space (ours).
        """
        return tuple(
            (key, mutant) for key, mutant in self._neighbours(subnet) if mutant != subnet and mutant in self
        )

    def _neighbours(self, subnet: SubnetSpec) -> Iterator[tuple[str, SubnetSpec]]:
        for stage, (least, most) in enumerate(self.depths):
            for depth in range(least, most + 1):
                depths = _with(subnet.depths, stage, depth)
                yield f"teacher:depth:{stage + 1}:{depth}", replace(subnet, depths=depths)
            for factor in self.widths:
                widths = _with(subnet.widths, stage, factor)
                yield f"teacher:width:{stage + 1}:{_short(factor)}", self.tied(replace(subnet, widths=widths))
        for factor in self.widths:
            yield f"teacher:stem:{_short(factor)}", replace(subnet, stem=factor)  # not inside where tied
            yield f"teacher:neck:{_short(factor)}", replace(subnet, neck=factor)

    def detector_spec(self, subnet: SubnetSpec, template: DetectorSpec) -> DetectorSpec:
        """Makes the subnet a plain detector with the template's classes, region settings and normalisation.

        Raises:
            ValueError: the subnet is not in this space.
        """
        if subnet not in self:
            raise ValueError(
                f"subnet {subnet} is not in the space of depths {self.depths} and widths {self.widths}"
            )
        stages = tuple(
            resnet_stage(
                self.blocks, stage, depth=depth, inner=round_width(STEM * 2**stage * self.width * factor)
            )
            for stage, (depth, factor) in enumerate(zip(subnet.depths, subnet.widths, strict=True))
        )
        backbone = BackboneSpec(round_width(STEM * self.width * subnet.stem), stages)
        return replace(template, backbone=backbone, neck=round_width(self.neck * subnet.neck), head=self.head)


def _uniform(depths: Depths, factor: float) -> SubnetSpec:
    return SubnetSpec(depths, factor, (factor,) * 4, factor)


def _with(values: tuple[Any, ...], place: int, value: object) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _short(factor: float) -> str:
    """Returns the shortest text that reads back as the same number: 1, 1.25."""
    return repr(float(factor)).removesuffix(".0")
