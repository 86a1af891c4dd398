"""What an action on a full detector takes: seconds, and memory beside parent and child."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest
import torch

from jdn_core.detector.build import Detector
from jdn_core.morphism.evolve import evolve, prunings
from jdn_core.space.actions import Action, AddLayer, PruneChannels, PruneLayer, Rearrange, key
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import family
from tests.benchmarks.conftest import Note
from tests.jdn_core.golden import CLASSES
from tests.jdn_core.tiny import grown

ACTIONS: list[Action] = [PruneChannels(0.1), PruneLayer(), AddLayer(2), Rearrange(2, "last")]


@pytest.fixture(scope="module")
def r101() -> Iterator[Detector]:
    """On one thread, as a search's small steps are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield grown(DetectorSpec(family("r101"), CLASSES))
    torch.set_num_threads(threads)


@pytest.mark.parametrize("action", ACTIONS, ids=key)
def test_surgery_on_a_full_r101_takes_less_than_a_second(action: Action, r101: Detector, note: Note) -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        evolve(r101, action)
        seconds.append(time.perf_counter() - start)
    note(f"{key(action)} on R101-FPN, median of 5", statistics.median(seconds), "s", bound=1)


def test_a_look_ahead_on_a_full_r101_takes_less_than_a_second(r101: Detector, note: Note) -> None:
    start = time.perf_counter()
    prunings(r101, (0.05, 0.1))
    note("prunings of R101-FPN for two shares", time.perf_counter() - start, "s", bound=1)
