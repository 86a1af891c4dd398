"""Held-out numbers on disk: read back as written, of exactly these detectors, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.search import held_out
from jdn_core.search.held_out import Difference, HeldOut
from jdn_core.search.pairs import Measurement
from jdn_core.space.architecture import Resolution


def measured(ap: float) -> Measurement:
    return Measurement(Resolution(64, 48), {"AP": ap}, 12)


def found(*against: str, boxes: int = 900) -> HeldOut:
    differences = tuple(Difference(name, 0.1, (-0.1, 0.3)) for name in against)
    numbers = {name: measured(0.3) for name in ("base", "winner")}
    return HeldOut("k", 7, boxes, ("cup",), numbers, measured(0.2), "winner", differences)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file, told = tmp_path / "controls" / "holdout.json", found("base")
    held_out.write(file, told)
    assert held_out.read(file, key="k") == told
    assert held_out.read(file, key="other detectors") is None


def test_what_is_damaged_or_not_there_counts_for_none(tmp_path: Path) -> None:
    file = tmp_path / "holdout.json"
    assert held_out.read(file, key="k") is None
    held_out.write(file, found("base"))
    file.write_bytes(file.read_bytes().replace(b"winner", b"sinner"))
    assert held_out.read(file, key="k") is None


def test_too_few_resamples_leave_no_interval() -> None:
    alone = Difference("base", 0.1, None)
    assert Difference.from_json(alone.to_json()) == alone


@pytest.mark.parametrize(
    ("against", "first"), [(("base", "longer", "scaled"), "longer"), (("base", "scaled"), "base")]
)
def test_the_difference_to_show_first_is_to_longer_training(against: tuple[str, ...], first: str) -> None:
    assert found(*against).difference.against == first


def test_an_ap_is_known_of_what_was_measured() -> None:
    assert (found().ap("base"), found().ap("scaled")) == (0.3, None)


@pytest.mark.parametrize(("boxes", "few"), [(199, True), (200, False)])
def test_few_boxes_are_few(boxes: int, few: bool) -> None:
    assert found(boxes=boxes).has_few_boxes is few
