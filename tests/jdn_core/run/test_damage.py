"""Nothing damaged is ever used: readers find each flipped bit and each lost end of a file of state."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save

from jdn_core.detector.build import build
from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE, load_detector, read_weights, save_detector
from jdn_core.errors import CheckpointError
from jdn_core.pool.folder import POOL_FILE, Origin, load_pool, save_pool
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage import durable
from jdn_core.training.checkpoints import Checkpoint, Checkpoints
from tests.jdn_core.search.worlds import MEMORY
from tests.jdn_core.tiny import tiny_spec

FLIPS = 2000
LENGTHS = 200
SPEC = replace(tiny_spec(width=1 / 16, depth=1), neck=4, head=4)
SMALL = save({"weight": torch.arange(40.0), "bias": torch.ones(8)})


class State(NamedTuple):
    """A folder, and how to tell whether its reader uses what is there."""

    folder: Path
    is_used: Callable[[], bool]


def reads(read: Callable[[], object]) -> bool:
    try:
        read()
    except CheckpointError:
        return False
    return True


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def detector(scratch: Path) -> State:
    folder = scratch / "detector"
    save_detector(build(SPEC), folder)
    return State(folder, lambda: reads(lambda: load_detector(folder)))


@pytest.fixture(scope="module")
def pool(scratch: Path) -> State:
    folder = scratch / "pool"
    space = SubnetSpace(((1, 1),) * 4, (1.0, 2.0), width=1 / 16, neck=8, head=8)
    save_pool(SuperNet(space, SPEC), folder, origin=Origin({"seed": 7}))
    return State(folder, lambda: reads(lambda: load_pool(folder)))


@pytest.fixture(scope="module")
def checkpoints(scratch: Path) -> State:
    """The first of its two checkpoints is the one whose file is named in the tests."""
    folder = scratch / "checkpoints"
    kept = Checkpoints(folder, identity="pair")
    kept.save(Checkpoint(1, {"weight": torch.arange(40.0)}, {"loss": (0.5,)}))
    return State(folder, lambda: kept.load() is not None)


def damaged(data: bytes, *, lengths: int) -> Iterator[bytes]:
    """2,000 single flipped bits, each place of a small file among them, and lost ends."""
    draw = Random(0)
    for _ in range(FLIPS):
        at = draw.randrange(len(data))
        yield data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    yield from (data[: draw.randrange(len(data))] for _ in range(lengths))
    yield from (data[:length] for length in (0, 1, 8, len(data) - 1))


@pytest.mark.parametrize(
    ("which", "name"),
    [
        ("detector", WEIGHTS_FILE),
        ("detector", SPEC_FILE),
        ("pool", WEIGHTS_FILE),
        ("pool", POOL_FILE),
        ("checkpoints", "epoch-1.safetensors"),
        ("checkpoints", "checkpoints.json"),
    ],
)
def test_2000_flipped_bits_and_lost_ends_are_all_found(
    which: str, name: str, request: pytest.FixtureRequest
) -> None:
    state: State = request.getfixturevalue(which)
    file = state.folder / name
    data = file.read_bytes()
    assert state.is_used()
    for hit in damaged(data, lengths=LENGTHS):
        file.write_bytes(hit)
        assert not state.is_used()
    file.write_bytes(data)
    assert state.is_used()


def test_every_flipped_bit_and_every_lost_end_of_small_weights_is_found(scratch: Path) -> None:
    file = scratch / WEIGHTS_FILE
    written = durable.write_bytes(file, SMALL)
    hits = [
        SMALL[: bit // 8] + bytes([SMALL[bit // 8] ^ 1 << bit % 8]) + SMALL[bit // 8 + 1 :]
        for bit in range(8 * len(SMALL))
    ]
    for hit in [*hits, *(SMALL[:length] for length in range(len(SMALL)))]:
        file.write_bytes(hit)
        with pytest.raises(CheckpointError):
            read_weights(file, written.sha256)
    file.write_bytes(SMALL)
    assert set(read_weights(file, written.sha256)) == {"weight", "bias"}


def test_the_checkpoint_before_a_damaged_one_is_used(scratch: Path) -> None:
    kept = Checkpoints(scratch / "two", identity="pair")
    for epoch in (1, 2):
        kept.save(Checkpoint(epoch, {"weight": torch.full((8,), float(epoch))}, {"loss": (0.5,) * epoch}))
    newest = scratch / "two" / "epoch-2.safetensors"
    data = newest.read_bytes()
    for hit in damaged(data, lengths=20):
        newest.write_bytes(hit)
        found = kept.load()
        assert found is not None
        assert (found.epochs, found.history) == (1, {"loss": (0.5,)})
