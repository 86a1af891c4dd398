from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.space.actions import (
    Action,
    AddLayer,
    NarrowHeads,
    PruneChannels,
    PruneLayer,
    Rearrange,
    apply,
    key,
    kind,
    legal,
    parse,
    reason_against,
    removable,
    weight_dependent,
)
from jdn_core.space.architecture import BackboneSpec, DetectorSpec
from jdn_core.space.chance import pick
from jdn_core.space.families import Family, family

SHARES = (0.05, 0.1)
FAMILIES: st.SearchStrategy[Family] = st.sampled_from(["r18", "r34", "r50", "x101"])


def whole(backbone: BackboneSpec) -> DetectorSpec:
    """A detector with that backbone."""
    return DetectorSpec(backbone, ((1, "cell"),), neck=64, head=128)


def moved_by(spec: BackboneSpec, *actions: AddLayer | Rearrange) -> BackboneSpec:
    """The backbone after the actions."""
    detector = whole(spec)
    for action in actions:
        detector = apply(detector, action)
    return detector.backbone


def lone(spec: BackboneSpec) -> BackboneSpec:
    """The first block of every stage."""
    return replace(spec, stages=tuple(blocks[:1] for blocks in spec.stages))


@pytest.mark.parametrize(
    ("action", "name", "text", "weighs"),
    [
        (PruneChannels(0.05), "prune_channels", "prune_channels:0.05", True),
        (PruneChannels(1 / 3), "prune_channels", "prune_channels:0.3333333333333333", True),
        (PruneLayer(), "prune_layer", "prune_layer", True),
        (AddLayer(2), "add_layer", "add_layer:3", False),
        (Rearrange(1, "last"), "rearrange", "rearrange:2:last", False),
        (Rearrange(3, "first"), "rearrange", "rearrange:4:first", False),
        (NarrowHeads(0.25), "narrow_heads", "narrow_heads:0.25", False),
    ],
)
def test_an_action_reads_back_from_its_key(action: Action, name: str, text: str, weighs: bool) -> None:
    assert (kind(action), key(action), weight_dependent(action)) == (name, text, weighs)
    assert parse(text) == action


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prune",
        "prune_channels",
        "prune_channels:x",
        "add_layer",
        "add_layer:x",
        "rearrange:1:middle",
        "rearrange:x:last",
        "narrow_heads",
        "narrow_heads:x",
    ],
)
def test_a_text_that_is_no_action_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="action must look like") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.2, -0.1, float("nan")])
def test_a_share_outside_of_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"prune_share must be in \(0, 1\), got {share}"):
        PruneChannels(share)
    with pytest.raises(ValueError, match=rf"narrow_share must be in \(0, 1\), got {share}"):
        NarrowHeads(share)


def test_every_instance_of_every_action_is_offered() -> None:
    found = {key(action) for action in legal(whole(family("r50", width=0.25)), prune_shares=SHARES)}
    moves = {f"rearrange:{stage}:{end}" for stage in range(1, 5) for end in ("first", "last")}
    added = {f"add_layer:{stage}" for stage in range(1, 5)}
    pruned = {"prune_channels:0.05", "prune_channels:0.1", "prune_layer"}
    assert found == added | pruned | moves - {"rearrange:1:first", "rearrange:4:last"}


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (Rearrange(0, "first"), "stage 1 has no stage before it"),
        (Rearrange(3, "last"), "stage 4 has no stage after it"),
        (Rearrange(1, "first"), "stage 2 has one block, which must stay"),
        (Rearrange(4, "last"), "stage must be in 1..4, got 5"),
        (AddLayer(-1), "stage must be in 1..4, got 0"),
        (PruneLayer(), "every block is the last of its stage or carries a projection"),
        (PruneChannels(0.1), None),
        (AddLayer(3), None),
    ],
)
def test_an_illegal_action_has_its_reason_in_words(action: Action, reason: str | None) -> None:
    assert reason_against(whole(lone(family("r18", width=0.25))), action) == reason


@pytest.mark.parametrize(
    ("first", "second", "out", "groups", "possible"),
    [
        (1, 1, 1, 1, False),
        (2, 1, 1, 1, True),
        (1, 2, 1, 1, True),
        (1, 1, 2, 1, True),  # the output width of a stage that a projection opens
        (4, 4, 8, 2, False),  # two groups stay, and the output widths of a ResNeXt do
        (6, 6, 8, 3, True),
    ],
)
def test_channels_are_pruned_where_a_width_has_some_to_spare(
    first: int, second: int, out: int, groups: int, possible: bool
) -> None:
    spec = lone(family("r50", width=0.25))
    thin = [replace(block, channels=(first, second, out), groups=groups) for (block,) in spec.stages]
    thinned = whole(replace(spec, stages=tuple((block,) for block in thin)))
    reason = reason_against(thinned, PruneChannels(0.1))
    assert reason == (None if possible else "no layer has channels to spare")


@given(FAMILIES, st.integers(0, 10**6))
def test_whatever_is_not_offered_has_a_reason_in_words(name: Family, seed: int) -> None:
    rng, spec = Random(seed), whole(family(name, width=0.125))
    every: list[Action] = [*map(PruneChannels, SHARES), PruneLayer(), *map(AddLayer, range(-1, 5))]
    every += [Rearrange(stage, end) for stage in range(-1, 5) for end in ("first", "last")]
    every += map(NarrowHeads, SHARES)
    for _ in range(10):
        offered = legal(spec, prune_shares=SHARES, narrow_shares=SHARES)
        for action in every:
            reason = reason_against(spec, action)
            assert reason is None if action in offered else len(reason.split()) > 4
        moves = [action for action in offered if isinstance(action, AddLayer | Rearrange)]
        spec = apply(spec, pick(rng, moves))


@pytest.mark.parametrize("name", ["r18", "r50"])
def test_a_draw_among_the_legal_reaches_all_of_them_alike(name: Family) -> None:
    rng, options = Random(0), legal(whole(family(name, width=0.25)), prune_shares=SHARES)
    drawn = Counter(pick(rng, options) for _ in range(400 * len(options)))
    assert set(drawn) == set(options)
    assert all(320 < times < 480 for times in drawn.values())  # four standard deviations


def test_applying_an_illegal_action_raises_its_reason() -> None:
    with pytest.raises(ValueError, match="rearrange:1:first: stage 1 has no stage before it"):
        apply(whole(family("r18")), Rearrange(0, "first"))


def test_a_new_layer_is_like_the_last_one_but_changes_nothing_in_size() -> None:
    spec = lone(family("r50", width=0.25))
    grown = moved_by(spec, AddLayer(2))
    assert grown.depths == (1, 1, 2, 1)
    assert grown.stages[2][1] == replace(spec.stages[2][0], stride=1, projection=False)
    assert grown.outs == spec.outs


def test_the_first_block_moves_back_with_its_projection() -> None:
    spec = family("r50", width=0.25)
    moved = moved_by(spec, Rearrange(2, "first"))
    assert moved.depths == (3, 5, 5, 3)
    assert moved.stages[1][-1] == replace(spec.stages[2][0], stride=1)
    assert moved.stages[2][0] == replace(spec.stages[2][1], stride=2, projection=True)
    assert moved.outs == (64, 256, 256, 512)


def test_the_last_block_moves_on_and_leaves_two_widths_in_a_stage() -> None:
    spec = family("r50", width=0.25)
    moved = moved_by(spec, Rearrange(2, "last"), Rearrange(2, "last"))
    widths = [(block.out, block.stride, block.projection, block.born) for block in moved.stages[3]]
    assert widths == [
        (256, 2, True, 2),
        (256, 1, False, 2),
        (512, 1, True, 3),
        (512, 1, False, 3),
        (512, 1, False, 3),
    ]
    assert moved.depths == (3, 4, 4, 5)


@pytest.mark.parametrize("name", ["r34", "r50", "x101"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_move_there_and_back_changes_nothing(name: Family, stage: int) -> None:
    spec = family(name, width=0.25)
    assert moved_by(spec, Rearrange(stage, "last"), Rearrange(stage + 1, "first")) == spec
    assert moved_by(spec, Rearrange(stage + 1, "first"), Rearrange(stage, "last")) == spec


@pytest.mark.parametrize(
    ("share", "neck", "head", "left"),
    [
        (0.25, 64, 128, (48, 96)),
        (0.001, 64, 128, (63, 127)),
        (0.9, 64, 128, (8, 13)),
        (0.29, 100, 100, (71, 71)),
    ],
)
def test_narrowing_takes_its_share_of_neck_and_box_head(
    share: float, neck: int, head: int, left: tuple[int, int]
) -> None:
    spec = replace(whole(family("r18", width=0.25)), neck=neck, head=head)
    narrow = apply(spec, NarrowHeads(share))
    assert (narrow.neck, narrow.head) == left
    assert replace(narrow, neck=neck, head=head) == spec


@pytest.mark.parametrize(("neck", "head"), [(8, 128), (64, 8)])
def test_narrowing_ends_at_the_least_neck_and_box_head(neck: int, head: int) -> None:
    spec = replace(whole(family("r18", width=0.25)), neck=neck, head=head)
    assert reason_against(spec, NarrowHeads(0.25)) == "neck and box head must keep 8 channels"
    assert legal(spec, prune_shares=(), narrow_shares=(0.25,)) == legal(spec, prune_shares=())


def test_a_block_that_opens_a_stream_or_halves_the_resolution_stays() -> None:
    assert removable(family("r50", width=0.25))[:4] == ((0, 1), (0, 2), (1, 1), (1, 2))
    assert (0, 0) in removable(
        family("r18", width=0.25)
    )  # it adds to the stem's stream and has no projection
    moved = moved_by(family("r50", width=0.25), Rearrange(2, "last"))
    assert [position for stage, position in removable(moved) if stage == 3] == [2, 3]


@given(FAMILIES, st.lists(st.integers(0, 10**6), max_size=20))
def test_any_chain_of_legal_moves_gives_backbones_that_hold_together(name: Family, draws: list[int]) -> None:
    spec = family(name, width=0.125)
    for draw in draws:
        options = legal(whole(spec), prune_shares=SHARES)
        moves = [action for action in options if isinstance(action, AddLayer | Rearrange)]
        chosen = moves[draw % len(moves)]
        before, spec = spec, moved_by(spec, chosen)
        assert sum(spec.depths) == sum(before.depths) + isinstance(chosen, AddLayer)
    births = [block.born for _, _, block in spec.blocks()]
    assert births == sorted(births)
    assert all(len({b.out for _, _, b in spec.blocks() if b.born == born}) == 1 for born in range(4))
