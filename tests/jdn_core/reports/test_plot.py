"""The plot of all pairs: places on round axes, the front, and one pair or none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from jdn_core.reports import plot
from jdn_core.reports.tables import candidates
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from tests.made_up_search import make_records

ROWS = candidates(Standing(ScoreSettings(), make_records(12, failing={4})), folder=Path("out"))


def test_better_is_higher_and_dearer_is_further_right() -> None:
    found = plot.plot(ROWS, winner=3)
    assert found is not None
    spots = {spot.pair: spot for spot in found.spots}
    assert spots.keys() == {row.index for row in ROWS if row.state == "done"}
    done = [row for row in ROWS if row.state == "done"]
    by_cost = sorted((row.macs or 0, spots[row.index].x) for row in done)
    assert [x for _, x in by_cost] == sorted(spot.x for spot in found.spots)
    by_ap = sorted((row.ap or 0.0, -spots[row.index].y) for row in done)
    assert [-y for _, y in by_ap] == sorted((spot.y for spot in found.spots), reverse=True)
    assert (spots[0].look, spots[3].look, spots[1].look) == ("base", "winner", "")
    for spot in found.spots:
        assert plot.LEFT <= spot.x <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= spot.y <= plot.HEIGHT - plot.BOTTOM


def test_ticks_are_round_and_inside() -> None:
    found = plot.plot(ROWS, winner=3)
    assert found is not None
    for ticks in (found.across, found.up):
        assert 2 <= len(ticks) <= 8
        steps = {round(float(b.text) - float(a.text), 6) for a, b in pairwise(ticks)}
        assert len(steps) == 1
    assert found.unit == "MMACs"


def test_the_front_begins_at_the_cheapest_pair() -> None:
    found = plot.plot(ROWS, winner=3)
    assert found is not None
    cheapest = min(found.spots, key=lambda spot: spot.x)
    assert found.front.startswith(f"M{cheapest.x} ")


@pytest.mark.parametrize(("count", "there"), [(0, False), (1, True)])
def test_one_pair_is_a_plot_and_none_is_not(count: int, there: bool) -> None:
    assert (plot.plot(ROWS[:count], winner=0) is not None) is there
