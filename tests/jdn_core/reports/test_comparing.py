"""Searches side by side: what differs, what came out, and what is not compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jdn_core.reports.comparing import Searched, ap_within, compare, differences, hypervolume
from jdn_core.reports.curves import Point
from jdn_core.reports.page import render_comparison
from jdn_core.reports.tables import base_row, best_row, candidates
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from jdn_core.settings.whole import parse
from tests.jdn_core.reports.test_page import EVIL, Parsed
from tests.made_up_search import make_records

FRONT = (Point(1, "64x64", 1.0, 0.2), Point(2, "64x64", 3.0, 0.5), Point(3, "64x64", 9.0, 0.6))


def searched(name: str, count: int = 12, **changes: Any) -> Searched:
    records = make_records(count, failing={3})
    standing = Standing(ScoreSettings(), records)
    rows = candidates(standing, folder=Path("out"))
    return replace(
        Searched(
            name=name,
            settings=parse({}).model_dump(mode="json"),
            fingerprint={"train": "t", "val": "v", "torch": "2"},
            rows=rows,
            base=base_row(standing, folder=Path("out")),
            best=best_row(rows),
            seconds=tuple(10.0 * bool(row.score) for row in rows),
        ),
        **changes,
    )


def with_settings(name: str, section: str, **values: Any) -> Searched:
    one = searched(name)
    return replace(one, settings={**one.settings, section: {**one.settings[section], **values}})


@pytest.mark.parametrize(("most", "wanted"), [(10.0, (0.2 * 2 + 0.5 * 6 + 0.6) / 10), (2.0, 0.1), (0.5, 0.0)])
def test_the_hypervolume_is_the_mean_of_the_best_ap_over_budgets(most: float, wanted: float) -> None:
    assert hypervolume(FRONT, most=most) == pytest.approx(wanted)
    assert hypervolume((), most=most) == 0


@pytest.mark.parametrize(("gmacs", "ap"), [(0.9, None), (1.0, 0.2), (8.0, 0.5), (90.0, 0.6)])
def test_ap_at_a_cost_is_that_of_the_best_that_is_as_cheap(gmacs: float, ap: float | None) -> None:
    assert ap_within(FRONT, gmacs) == ap


def test_only_settings_that_differ_are_told() -> None:
    found = differences([{"seed": 1, "a": {"b": 2, "c": [1]}}, {"seed": 1, "a": {"b": 3, "c": [1]}, "d": 4}])
    assert found == (("a.b", "2", "3"), ("d", "–", "4"))


def test_a_longer_search_of_the_same_photos_is_compared_in_everything() -> None:
    found = compare([searched("short"), searched("long", 30, held_out=(0.3, 0.4))])
    results = {name: values for name, *values in found.results}
    assert (found.cautions, found.differences) == ((), ())
    assert results["pairs"] == ["12", "30"]
    assert results["winner: held-out AP (%)"] == ["–", "40.0"]
    assert found.hypervolumes is not None
    assert found.hypervolumes[0] <= found.hypervolumes[1] < 1
    assert len(found.at_cost) >= 2
    short, long = found.over_pairs
    assert list(long.y) == sorted(long.y)
    assert (short.x[-1], long.x[-1]) == (12, 30)
    assert found.over_seconds[0].x[-1] == 10.0 * 11


@pytest.mark.parametrize(
    ("other", "caution", "is_compared"),
    [
        (
            searched("b", fingerprint={"val": "w", "train": "t", "torch": "2"}),
            "the val photos are not the",
            False,
        ),
        (with_settings("b", "data", holdout=0.5), "not the same photos of val were held out", False),
        (searched("b", fingerprint={"val": "v", "train": "u", "torch": "2"}), "the training photos", True),
        (
            searched("b", fingerprint={"val": "v", "train": "t", "torch": "3"}),
            "versions are not the same: torch",
            True,
        ),
        (with_settings("b", "score", alpha=0.9), "H is not the same score", True),
    ],
)
def test_what_cannot_be_compared_is_said_and_left_out(
    other: Searched, caution: str, is_compared: bool
) -> None:
    found = compare([searched("a"), other])
    assert [each.startswith(caution) for each in found.cautions] == [True]
    assert (found.hypervolumes is not None, bool(found.at_cost)) == (is_compared, is_compared)


def test_other_bases_make_h_relative() -> None:
    one = searched("b")
    found = compare([searched("a"), replace(one, base=one.base._replace(ap=0.1))])
    assert [each[:29] for each in found.cautions] == ["H is relative to each search'"]


def test_the_page_is_one_file_that_loads_nothing() -> None:
    other = searched("b", fingerprint={"val": "w", "train": "t", "torch": "2"})
    for found in (compare([searched(EVIL), searched("b")]), compare([searched("a"), other])):
        parsed = Parsed(render_comparison(found))
        assert parsed.open == []
        assert all(address.startswith(("#", "data:")) for address in parsed.loaded)
        assert parsed.tags.count("svg") == 3
        assert ("cost" in parsed.ids) == bool(found.at_cost)
        assert len(set(parsed.ids)) == len(parsed.ids)
