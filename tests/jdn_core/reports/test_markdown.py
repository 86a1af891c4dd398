"""Markdown about pairs: what stands in the lines that people read."""

from __future__ import annotations

from pathlib import Path

from jdn_core.reports import markdown, tables
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from tests.made_up_search import make_records

STANDING = Standing(ScoreSettings(), make_records(8, failing={2}))
BASE = tables.base_row(STANDING, folder=Path("search"))
BEST = [tables.row(graded, STANDING, Path("search")) for graded in STANDING.best(2)]


def test_the_table_begins_with_base_against_best_and_links_each_pair() -> None:
    best = [BEST[0]._replace(teacher_ap=0.512), BEST[1]]
    head, empty, names, _, *rows = markdown.best_pairs(BASE, best, page=lambda key: f"/{key}").splitlines()
    assert head.startswith("base AP 44.0 % at 228 MMACs; best AP ")
    assert head.endswith(f"(pair {BEST[0].index})")
    assert (empty, names.count("|")) == ("", 10)
    assert [row.split(" | ")[4] for row in rows] == ["51.2", "–"]
    assert [f"| [{row.index}](/{row.key}) |" in line for row, line in zip(BEST, rows, strict=True)] == [
        True
    ] * 2


def test_without_pages_pairs_have_their_index_alone() -> None:
    assert "](" not in markdown.best_pairs(BASE, BEST, page=None)


def test_the_card_tells_how_to_load_the_model_and_cuts_classes_that_are_too_many() -> None:
    text = markdown.model_card(
        BEST[0], BASE, classes=["a-long-name"] * 500, model="shapes", search="first", digest="d1"
    )
    assert 'mlflow.pyfunc.load_model("models:/shapes@ALIAS")' in text
    assert f"pair {BEST[0].index} of search first" in text
    assert f"| input | {BASE.resolution} | {BEST[0].resolution} |  |" in text
    assert "Settings: `d1`" in text
    assert 1500 < len(text) < 5000
