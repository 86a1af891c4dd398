"""The backbones that users bring: ResNet-18, 34, 50, 101 and ResNeXt-101-32x4d, at any width."""

from __future__ import annotations

from typing import Literal, assert_never

from jdn_core.space.architecture import BackboneSpec, BlockKind, BlockSpec

Family = Literal["r18", "r34", "r50", "r101", "x101"]

DEPTHS: dict[Family, tuple[int, int, int, int]] = {
    "r18": (2, 2, 2, 2),
    "r34": (3, 4, 6, 3),
    "r50": (3, 4, 6, 3),
    "r101": (3, 4, 23, 3),
    "x101": (3, 4, 23, 3),
}
KINDS: dict[Family, BlockKind] = {
    "r18": "basic",
    "r34": "basic",
    "r50": "bottleneck",
    "r101": "bottleneck",
    "x101": "bottleneck",
}
# Side of each convolution's kernel, in order.
KERNELS: dict[BlockKind, tuple[int, ...]] = {"basic": (3, 3), "bottleneck": (1, 3, 1)}
STEM = 64
EXPANSION = 4
GROUP_WIDTHS = (4, 8, 16, 32)  # channels of one ResNeXt group, by the stage of birth (FACTS, section 1)


def round_width(channels: float, step: int = 8) -> int:
    """Returns the nearest multiple of ``step``, and one step at least (ours)."""
    return max(step, step * int(channels / step + 0.5))


def family(name: Family, *, width: float = 1.0) -> BackboneSpec:
    """Makes the backbone of a family, all channels scaled by ``width`` and rounded to multiples of 8 (ours).

    ResNeXt keeps the width of its groups and has fewer of them.

    Raises:
        ValueError: the family is not known, or the width is not positive.
    """
    if name not in DEPTHS:
        raise ValueError(f"family must be one of {', '.join(DEPTHS)}, got {name!r}")
    if not width > 0:
        raise ValueError(f"width must be > 0, got {width}")
    stages = tuple(_stage(name, stage, depth, width) for stage, depth in enumerate(DEPTHS[name]))
    return BackboneSpec(round_width(STEM * width), stages)


def resnet_stage(kind: BlockKind, stage: int, *, depth: int, inner: int) -> tuple[BlockSpec, ...]:
    """Makes the blocks of an unpruned ResNet's stage, 0 to 3; a bottleneck is four times as wide outside."""
    match kind:
        case "basic":
            return _repeat(kind, (inner, inner), stage=stage, depth=depth)
        case "bottleneck":
            return _repeat(kind, (inner, inner, EXPANSION * inner), stage=stage, depth=depth)
        case _:
            assert_never(kind)


def _stage(name: Family, stage: int, depth: int, width: float) -> tuple[BlockSpec, ...]:
    channels = STEM * 2**stage * width
    if name == "x101":
        group = GROUP_WIDTHS[stage]
        inner = round_width(2 * channels, max(8, group))
        outer = round_width(EXPANSION * channels)
        return _repeat("bottleneck", (inner, inner, outer), stage=stage, depth=depth, groups=inner // group)
    return resnet_stage(KINDS[name], stage, depth=depth, inner=round_width(channels))


def _repeat(
    kind: BlockKind, channels: tuple[int, ...], *, stage: int, depth: int, groups: int = 1
) -> tuple[BlockSpec, ...]:
    """Returns a first block that opens the stage and ``depth - 1`` equal ones behind it."""
    opens = kind == "bottleneck" or stage > 0
    first = BlockSpec(kind, channels, 2 if stage else 1, projection=opens, groups=groups, born=stage)
    rest = BlockSpec(kind, channels, groups=groups, born=stage)
    return (first, *[rest] * (depth - 1))
