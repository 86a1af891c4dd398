"""The student's actions as data: which are legal, why others are not, and what they lead to.

Channel and layer pruning choose by weights what goes, so only their legality is here; the morphism finds
their outcome. Stages count from 0 in values and from 1 in texts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from jdn_core.space.architecture import BackboneSpec, BlockSpec, DetectorSpec

Kind = Literal["prune_channels", "prune_layer", "add_layer", "rearrange", "narrow_heads"]
End = Literal["first", "last"]
LEAST_GROUPS = 2  # that a ResNeXt's block keeps, so that it stays one (ours)
LEAST_HEADS = 8  # channels that the neck and the box head keep (ours)


@dataclass(frozen=True)
class PruneChannels:
    """Removes the least important share of the backbone's channels (paper, section 3.3)."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"prune_share must be in (0, 1), got {self.share}")


@dataclass(frozen=True)
class PruneLayer:
    """Removes the block with the least L1 norm (paper, section 3.3)."""


@dataclass(frozen=True)
class AddLayer:
    """Appends a block that computes nothing yet to a stage (appendix A)."""

    stage: int


@dataclass(frozen=True)
class Rearrange:
    """Moves a stage's first block to the stage before, or its last one to the stage after (appendix A)."""

    stage: int
    end: End


@dataclass(frozen=True)
class NarrowHeads:
    """Removes the least important share of the channels behind the backbone (ours).

    Neck, RPN and box head have most of a slim detector's computation, and none of the paper's actions reaches
    them.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"narrow_share must be in (0, 1), got {self.share}")

    def left_of(self, channels: int) -> int:
        """Returns how many channels of a width stay: one goes at least."""
        return max(LEAST_HEADS, channels - max(1, int(self.share * channels + 1e-9)))


Action = PruneChannels | PruneLayer | AddLayer | Rearrange | NarrowHeads


def kind(action: Action) -> Kind:
    """Returns the action's name without its arguments."""
    match action:
        case PruneChannels():
            return "prune_channels"
        case PruneLayer():
            return "prune_layer"
        case AddLayer():
            return "add_layer"
        case Rearrange():
            return "rearrange"
        case NarrowHeads():
            return "narrow_heads"
        case _:
            assert_never(action)


def key(action: Action) -> str:
    """Names an action by a text, such as ``prune_channels:0.05``, ``add_layer:3`` or ``rearrange:2:last``."""
    match action:
        case PruneChannels(share):
            return f"prune_channels:{share!r}"
        case PruneLayer():
            return "prune_layer"
        case AddLayer(stage):
            return f"add_layer:{stage + 1}"
        case Rearrange(stage, end):
            return f"rearrange:{stage + 1}:{end}"
        case NarrowHeads(share):
            return f"narrow_heads:{share!r}"
        case _:
            assert_never(action)


def parse(text: str) -> Action:
    """Reads what ``key`` wrote; raises ValueError where the text is anything else."""
    match text.split(":"):
        case ["prune_channels", share] if _is_number(share):
            return PruneChannels(float(share))
        case ["prune_layer"]:
            return PruneLayer()
        case ["add_layer", stage] if stage.isdecimal():
            return AddLayer(int(stage) - 1)
        case ["rearrange", stage, ("first" | "last") as end] if stage.isdecimal():
            return Rearrange(int(stage) - 1, end)
        case ["narrow_heads", share] if _is_number(share):
            return NarrowHeads(float(share))
    known = "prune_channels:0.05, prune_layer, add_layer:3, rearrange:2:last or narrow_heads:0.25"
    raise ValueError(f"action must look like {known}, got {text!r}")


def weight_dependent(action: Action) -> bool:
    """Returns whether weights decide what the action leads to, so that ``apply`` cannot tell."""
    return isinstance(action, PruneChannels | PruneLayer)


def legal(
    spec: DetectorSpec, *, prune_shares: tuple[float, ...], narrow_shares: tuple[float, ...] = ()
) -> tuple[Action, ...]:
    """Returns every action that may be taken, in a fixed order; the shares are those on offer."""
    every: list[Action] = [*map(PruneChannels, prune_shares), PruneLayer(), *map(AddLayer, range(4))]
    every += [Rearrange(stage, end) for stage in range(4) for end in _ENDS]
    every += map(NarrowHeads, narrow_shares)
    return tuple(action for action in every if reason_against(spec, action) is None)


def reason_against(spec: DetectorSpec, action: Action) -> str | None:
    """Says why the action may not be taken, in words; none if it may."""
    backbone = spec.backbone
    match action:
        case PruneChannels():
            return None if _has_spare_channels(backbone) else "no layer has channels to spare"
        case PruneLayer():
            return (
                None
                if removable(backbone)
                else "every block is the last of its stage or carries a projection"
            )
        case AddLayer(stage):
            return _no_stage(stage)
        case Rearrange(stage, end):
            return _no_stage(stage) or _no_move(backbone, stage, end)
        case NarrowHeads():
            narrow = min(spec.neck, spec.head) <= LEAST_HEADS
            return f"neck and box head must keep {LEAST_HEADS} channels" if narrow else None
        case _:
            assert_never(action)


def removable(spec: BackboneSpec) -> tuple[tuple[int, int], ...]:
    """Returns (stage, position) of every block that layer pruning may take.

    A stage keeps one block at least. A block stays if it halves the resolution, or if its projection opens
    the stream that the blocks behind it add to.
    """
    found, before = [], -1
    for stage, position, block in spec.blocks():
        opens = block.projection and block.born != before
        if len(spec.stages[stage]) > 1 and block.stride == 1 and not opens:
            found.append((stage, position))
        before = block.born
    return tuple(found)


def apply(spec: DetectorSpec, action: AddLayer | Rearrange | NarrowHeads) -> DetectorSpec:
    """Returns the architecture after an action whose outcome needs no weights.

    Raises:
        ValueError: the action is not legal, with the reason.
    """
    if reason := reason_against(spec, action):
        raise ValueError(f"{key(action)}: {reason}")
    match action:
        case AddLayer() | Rearrange():
            return replace(spec, backbone=_moved(spec.backbone, action))
        case NarrowHeads():
            return replace(spec, neck=action.left_of(spec.neck), head=action.left_of(spec.head))
        case _:
            assert_never(action)


def _moved(spec: BackboneSpec, action: AddLayer | Rearrange) -> BackboneSpec:
    """Returns the backbone after a block is added or moved.

    A moved block that takes over a stride gets a projection if it has none. A block that loses its stride
    keeps its projection only if that opens its stream: the one that an earlier move gave it goes with the
    stride, as in the second block of stage 4 of the paper's R101 student (FACTS, section 1).
    """
    stages = list(spec.stages)
    stage = action.stage
    match action:
        case AddLayer():
            stages[stage] = (*stages[stage], replace(stages[stage][-1], stride=1, projection=False))
        case Rearrange(end="first"):
            moved, following, *rest = stages[stage]
            before = stages[stage - 1]
            stages[stage - 1] = (*before, _plain(moved, after=before[-1]))
            stages[stage] = (_halving(following), *rest)
        case Rearrange():
            former, *rest = stages[stage + 1]
            *kept, moved = stages[stage]
            stages[stage + 1] = (_halving(moved), _plain(former, after=moved), *rest)
            stages[stage] = tuple(kept)
        case _:
            assert_never(action)
    return replace(spec, stages=tuple(stages))


_ENDS: tuple[End, End] = ("first", "last")


def _halving(block: BlockSpec) -> BlockSpec:
    return replace(block, stride=2, projection=True)


def _plain(block: BlockSpec, *, after: BlockSpec) -> BlockSpec:
    return replace(block, stride=1, projection=block.born != after.born)


def _has_spare_channels(spec: BackboneSpec) -> bool:
    """Returns whether any width that channel pruning may cut keeps a unit when its floor is kept."""
    before, grouped = -1, {block.born for _, _, block in spec.blocks() if block.groups > 1}
    for _, _, block in spec.blocks():
        if block.groups > LEAST_GROUPS or (block.groups == 1 and max(block.channels[:-1]) > 1):
            return True
        if block.projection and block.born != before and block.born not in grouped and block.out > 1:
            return True
        before = block.born
    return False


def _no_stage(stage: int) -> str | None:
    return None if 0 <= stage < 4 else f"stage must be in 1..4, got {stage + 1}"


def _no_move(spec: BackboneSpec, stage: int, end: End) -> str | None:
    if stage == 0 and end == "first":
        return "stage 1 has no stage before it"
    if stage == 3 and end == "last":
        return "stage 4 has no stage after it"
    if len(spec.stages[stage]) == 1:
        return f"stage {stage + 1} has one block, which must stay"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
