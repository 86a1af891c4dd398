"""The paper's notation of a student (appendix B): output channels of every convolution, block by block.

``[(64, 64)], [(128, 128)-(128, 128)], ...``: blocks are joined by ``-`` and stages by ``], [``. It says
nothing of strides, shortcuts, groups and the stem; ``parse_backbone`` infers what the paper could write
(FACTS, section 1), and ``detector.json`` holds the rest.
"""

from __future__ import annotations

import re
from itertools import groupby, pairwise

from jdn_core.space.architecture import BackboneSpec, BlockKind, BlockSpec
from jdn_core.space.families import EXPANSION, GROUP_WIDTHS, STEM

Channels = tuple[int, ...]

_PROSE = re.compile(r"^.*Student:|;.*$", re.DOTALL)
_BLOCK = re.compile(r"\(\s*(\d+(?:\s*,\s*\d+){1,2})\s*\)")
_NEXT_BLOCK = re.compile(r"\s*[-–]\s*")
_NEXT_STAGE = re.compile(r"\s*\]?\s*,\s*\[?\s*")


def format_backbone(spec: BackboneSpec) -> str:
    """Returns the regular form: every stage in brackets."""
    return ", ".join(f"[{'-'.join(str(block.channels) for block in blocks)}]" for blocks in spec.stages)


def parse_backbone(text: str, *, stem: int = STEM, resnext: bool | None = None) -> BackboneSpec:
    """Returns the backbone of a notation; lost brackets and the prose around the paper's lines are accepted.

    - A stage's first block halves the resolution, but for stage 1.
    - Blocks of one output width were born together: the four widths, in the order of the data, belong to the
    stages
      1 to 4, so a block with the width of another stage was moved. Where two neighbouring widths happen to be
      equal, every block was born where it stands.
    - A block has a projection if it halves the resolution or changes the width; bottlenecks begin with one.
    - Groups (ours): ResNeXt-101-32x4d if no outer width is pruned, both inner widths of every block are equal
    and
      multiples of the group width 4, 8, 16 or 32, and one of them at least is more than a quarter of the
      outer width, which no ResNet has.

    Args:
        text: the notation.
        stem: channels of the stem, which no action ever changes.
        resnext: whether the bottlenecks are grouped; none infers it.

    Raises:
        ValueError: the text is no notation, or no such backbone can be built.
    """
    stages = _read(text)
    widths = {len(channels) for stage in stages for channels in stage}
    if len(stages) != 4 or len(widths) != 1:
        kinds = " and ".join(map(str, sorted(widths)))
        raise ValueError(
            f"notation must have four stages of one kind of block, got {len(stages)} with {kinds} widths"
        )
    kind: BlockKind = "basic" if widths == {2} else "bottleneck"
    births = _births(stages)
    grouped = _looks_like_resnext(stages, births) if resnext is None else resnext
    return BackboneSpec(stem, _build(stages, births, kind=kind, stem=stem, grouped=grouped))


def _build(
    stages: list[list[Channels]], births: list[list[int]], *, kind: BlockKind, stem: int, grouped: bool
) -> tuple[tuple[BlockSpec, ...], ...]:
    width, built = stem, []
    for stage, (blocks, born) in enumerate(zip(stages, births, strict=True)):
        row = []
        for position, (channels, birth) in enumerate(zip(blocks, born, strict=True)):
            stride = 2 if stage and not position else 1
            begins = kind == "bottleneck" and not (stage or position)
            projection = begins or stride == 2 or channels[-1] != width
            groups = _groups(channels, birth) if grouped else 1
            row.append(BlockSpec(kind, channels, stride, projection, groups, birth))
            width = channels[-1]
        built.append(tuple(row))
    return tuple(built)


def _read(text: str) -> list[list[Channels]]:
    """Stages of blocks of channels, with brackets where they are and where they got lost."""
    notation = _PROSE.sub("", text).strip().removeprefix("[").removesuffix("]").strip()
    blocks = list(_BLOCK.finditer(notation))
    if not blocks or blocks[0].start() or blocks[-1].end() != len(notation):
        raise ValueError(f"notation must look like [(64, 64)-(64, 64)], [...], got {_excerpt(text)}")
    stages = [[_channels(blocks[0])]]
    for before, block in pairwise(blocks):
        between = notation[before.end() : block.start()]
        if _NEXT_STAGE.fullmatch(between):
            stages.append([])
        elif not _NEXT_BLOCK.fullmatch(between):
            raise ValueError(
                f"blocks are joined by '-' and stages by '], [', got {between!r} after {before[0]}"
            )
        stages[-1].append(_channels(block))
    return stages


def _channels(block: re.Match[str]) -> Channels:
    return tuple(map(int, block[1].split(",")))


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def _births(stages: list[list[Channels]]) -> list[list[int]]:
    """Returns the stage of birth of every block."""
    runs = [width for width, _ in groupby(_outs(stages))]
    if len(runs) > 4:
        raise ValueError(f"a backbone has four output widths, got {len(runs)}: {', '.join(map(str, runs))}")
    if len(runs) < 4:
        return [[stage] * len(blocks) for stage, blocks in enumerate(stages)]
    births = iter([run for run, (_, blocks) in enumerate(groupby(_outs(stages))) for _ in blocks])
    return [[next(births) for _ in blocks] for blocks in stages]


def _outs(stages: list[list[Channels]]) -> list[int]:
    return [channels[-1] for blocks in stages for channels in blocks]


def _looks_like_resnext(stages: list[list[Channels]], births: list[list[int]]) -> bool:
    blocks = [(*pair,) for stage in zip(stages, births, strict=True) for pair in zip(*stage, strict=True)]
    if any(len(channels) == 2 for channels, _ in blocks):
        return False
    whole = all(
        first == second and first % GROUP_WIDTHS[birth] == 0 and out == EXPANSION * STEM * 2**birth
        for (first, second, out), birth in blocks
    )
    return whole and any(EXPANSION * inner > out for (_, inner, out), _ in blocks)


def _groups(channels: Channels, birth: int) -> int:
    first, second = channels[0], channels[1]
    width = GROUP_WIDTHS[birth]
    if len(channels) == 2 or first != second or second % width:
        raise ValueError(f"a ResNeXt block born in stage {birth + 1} has groups of {width}, got {channels}")
    return second // width
