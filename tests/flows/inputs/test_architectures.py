"""What an action makes of an architecture that a user names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.inputs.architectures import after, read
from jdn_core.detector.folder import save_detector
from jdn_core.errors import UsageError
from jdn_core.morphism.evolve import evolve
from jdn_core.space.actions import parse
from tests.jdn_core.tiny import grown, tiny_spec


@pytest.mark.parametrize(
    "text", ["prune_channels:0.1", "prune_layer", "add_layer:2", "rearrange:3:first", "narrow_heads:0.25"]
)
def test_a_folder_of_weights_is_pruned_by_them_and_keeps_the_classes_asked_for(
    text: str, tmp_path: Path
) -> None:
    detector = grown(tiny_spec("r50"))
    save_detector(detector, tmp_path)
    outcome = after(read(str(tmp_path), 5), str(tmp_path), text=text, seed=0)
    assert len(outcome.spec.classes) == 5
    evolved = evolve(detector, parse(text)).spec
    assert outcome.spec == replace(evolved, classes=outcome.spec.classes)
    assert outcome.removed.get("weights") in (None, str(tmp_path))


def test_what_cannot_be_done_is_told_with_its_reason() -> None:
    spec = read("[(8, 8)], [(8, 8)], [(8, 8)], [(8, 8)]")
    with pytest.raises(UsageError, match=r"^--act: prune_layer: every block is the last of its stage"):
        after(spec, "", text="prune_layer", seed=0)
