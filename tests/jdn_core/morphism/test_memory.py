"""Surgery needs the child's memory beside the parent's, and next to nothing on its way."""

from __future__ import annotations

import pytest
from torch.profiler import ProfilerActivity, profile

from jdn_core.detector.build import Detector
from jdn_core.morphism.evolve import evolve
from jdn_core.space.actions import Action, AddLayer, PruneChannels, PruneLayer, Rearrange, key
from tests.jdn_core.tiny import grown, tiny_spec

ACTIONS: list[Action] = [PruneChannels(0.1), PruneLayer(), AddLayer(2), Rearrange(2, "last")]


def _allocated(detector: Detector, action: Action) -> tuple[int, int, Detector]:
    """Bytes that torch held at the most while an action ran, those it holds afterwards, and the child."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        child = evolve(detector, action)
    results = profiled.profiler.kineto_results
    held = peak = 0
    for event in sorted(results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak, held, child


@pytest.mark.parametrize("action", ACTIONS, ids=key)
def test_surgery_takes_no_more_memory_than_parent_and_child(action: Action) -> None:
    detector = grown(tiny_spec("r50", width=1, depth=6))
    peak, held, child = _allocated(detector, action)
    size = sum(tensor.untyped_storage().nbytes() for tensor in child.state_dict().values())
    assert size <= held <= peak <= 1.02 * size
