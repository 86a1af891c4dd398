"""The page: parsed as a browser would, for what it says and what it must not ask for."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jdn_core.reports import contents, curves, figures, page
from jdn_core.reports.contest import cautions
from jdn_core.reports.page import ReportData
from jdn_core.reports.tables import base_row, best_row, candidates
from jdn_core.run import result_rows
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from jdn_core.settings.whole import parse
from tests.made_up_search import keep_contenders, keep_held_out, make_records

EVIL = "shapes <script>alert('1')</script> & \"more\""
VOID = {"meta", "img"}


class Parsed(HTMLParser):
    """Elements, ids, text, addresses that a browser would load, and unclosed elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "xlink:href", "srcset") or (name == "href" and tag != "a"):
                self.loaded.append(value or "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def made(count: int, **changes: object) -> ReportData:
    records = make_records(count, failing={3} if count > 3 else ())
    first = records[0].evaluation
    assert first is not None
    standing = Standing(ScoreSettings(), records)
    rows = candidates(standing, folder=Path("out"))
    best = best_row(rows)
    data = ReportData(
        name=EVIL,
        state="finished",
        rows=rows,
        base=base_row(standing, folder=Path("out")),
        best=best,
        base_spec=records[0].pair.student,
        best_spec=records[best.index].pair.student,
        trainings=(curves.loss_curves("base", first.losses),),
        spent=curves.costs(records),
        settings="name: <b>\n",
        facts={"<i>": "</dd>"},
        links={"MLflow": "http://127.0.0.1:5000/#/a?b='c'"},
    )
    return replace(data, **changes)


def render(data: ReportData) -> str:
    return page.render(data, page.draw(data))


@pytest.mark.parametrize("count", [1, 2, 20, 300])
def test_the_page_is_well_formed_with_every_section(count: int) -> None:
    parsed = Parsed(render(made(count)))
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    wanted = {
        "score",
        "pareto",
        "actions",
        "computation",
        "lineage",
        "spots",
        "pairs",
        "trainings",
        "settings",
        "provenance",
    }
    assert wanted <= set(parsed.ids)
    assert parsed.tags.count("svg") == 7


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = render(made(8))
    assert all(address.startswith(("data:", "#")) for address in Parsed(text).loaded)
    assert "default-src 'none'" in unescape(text)
    assert "@import" not in text


def test_names_settings_and_facts_are_escaped() -> None:
    parsed = Parsed(render(made(4)))
    assert parsed.tags.count("script") == 1
    assert "b" not in parsed.tags
    assert "i" not in parsed.tags
    assert EVIL in parsed.text
    assert "name: <b>" in parsed.text


def test_the_summary_sets_best_against_base() -> None:
    data = made(20)
    text = Parsed(render(data)).text
    saved = 1 - (data.best.macs or 0) / (data.base.macs or 1)
    assert f"The best student, pair {data.best.index}, has" in text
    assert f"{abs(saved):.0%}" in text
    assert "base 44.0" in text


def test_held_out_numbers_lead_where_there_are_any(tmp_path: Path) -> None:
    settings = {"name": "shapes", "data": {"holdout": 0.4}, "search": {"controls": ["longer", "scaled"]}}
    outcome = keep_contenders(Run(parse(settings), tmp_path), make_records(20), longer=0.9, scaled=0.0)
    told, lines = keep_held_out(outcome, boxes=150), result_rows.lines(outcome)
    text = render(made(20, contest=lines, held_out=told, cautions=cautions(told)))
    parsed = Parsed(text)
    assert parsed.ids.index("contest") < parsed.ids.index("score")
    assert "The result is the search's winner: AP " in parsed.text
    assert "Caution: 150 held-out boxes are few" in parsed.text
    assert "scaled: oom: peak 2 GiB" in parsed.text
    assert text.count('<tr class="winner"') == 2


def test_without_controls_and_held_out_photos_there_is_no_such_table() -> None:
    assert "contest" not in Parsed(render(made(8))).ids


def test_a_gain_over_nothing_is_no_percentage() -> None:
    data = made(8)
    nothing = data.base._replace(latency_ms=None, score=0.0)
    changes = {card.name: card.change for card in contents.cards(nothing, data.best)}
    assert (changes["Latency"], changes["Score H"]) == ("", "")
    assert "%" in changes["Parameters"]


def test_a_search_that_found_nothing_better_says_so() -> None:
    assert "No student beats the base so far." in Parsed(render(made(1))).text


def test_every_pair_is_a_row_with_the_winner_marked() -> None:
    text = render(made(20))
    assert text.count("<tr") == 20 + 1 + 1 + len(curves.action_gains(curves.steps(made(20).rows)))
    assert text.count('<tr class="winner"') == 1
    assert text.count('<tr class="failed"') == 1


def test_example_pictures_are_inside_the_page(tmp_path: Path) -> None:
    picture = tmp_path / "7.png"
    Image.new("RGB", (4, 4), "red").save(picture)
    text = render(made(2, examples=(picture,)))
    assert 'alt="truth, base and student on 7"' in text
    assert "data:image/png;base64,iVBOR" in text


def test_write_leaves_the_page_and_a_png_of_every_figure(tmp_path: Path) -> None:
    file = page.write(made(5), tmp_path / "report")
    names = {path.name for path in file.parent.iterdir()}
    drawn = {"score_history", "pareto_front", "actions", "stage_computation", "costs", "losses_0"}
    assert names == {"index.html", *(f"{name}.png" for name in drawn)}
    for name in drawn:
        with Image.open(file.parent / f"{name}.png") as picture:
            assert picture.width == 1140


def test_thousands_of_points_do_not_bloat_the_page() -> None:
    rows = made(300).rows
    few, many = (
        len(figures.svg(figures.pareto_front(curves.pareto_front(part, base=rows[0], best=rows[0])), "p"))
        for part in (rows[:100], rows)
    )
    assert many < few


def test_every_figure_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for name in ("score_history", "pareto_front", "actions", "stage_computation", "costs", "losses"):
        make = getattr(figures, name)

        def counted(*args: Any, make: Any = make, name: str = name) -> figures.Figure:
            drawn.append(name)
            return make(*args)

        monkeypatch.setattr(figures, name, counted)
    page.write(made(5), tmp_path / "report")
    assert len(drawn) == len(set(drawn)) == 6


def test_addresses_and_hints_are_escaped_once() -> None:
    text = render(made(2))
    assert 'href="http://127.0.0.1:5000/#/a?b=&#39;c&#39;"' in text
    assert "&amp;amp;" not in text
    assert "&amp;lt;" not in text


def test_every_pair_is_a_point_that_leads_to_its_row() -> None:
    data = made(20)
    text = render(data)
    done = [row for row in data.rows if row.state == "done"]
    for row in done:
        assert f'<a href="#pair-{row.index}"><circle' in text
        assert f'id="pair-{row.index}"' in text
    assert text.count("<circle") == len(done)
    assert text.count('<circle class="winner"') == text.count('<circle class="base"') == 1


def test_the_winner_is_told_in_three_sentences() -> None:
    data = made(20)
    way = curves.lineage(data.rows, data.best)
    said = contents.story(way, len(data.rows))
    assert len(said) == 2
    assert said[0].startswith(f"Pair {data.best.index} takes ")
    assert "the best of 20 pairs under the score H." in said[1]
    assert all(sentence in Parsed(render(data)).text for sentence in said)
    assert contents.story(way[:1], 1) == []


def test_the_lineage_says_what_each_step_changed_and_why_it_was_kept() -> None:
    data = made(20)
    way = curves.lineage(data.rows, data.best)
    first, last = way[0], way[-1]
    assert (first.gain, first.points, first.saved, curves.why_kept(first)) == (None, None, None, "the start")
    assert (last.rank, last.candidate) == (1, data.best)
    assert curves.why_kept(last) == f"the best of {data.best.index + 1} pairs by then"
    assert curves.why_kept(last._replace(rank=3)).startswith("number 3 of ")
    before = way[-2].candidate
    assert last.points == pytest.approx(100 * ((data.best.ap or 0) - (before.ap or 0)))
    assert last.saved == pytest.approx(1 - (data.best.macs or 0) / (before.macs or 1))
    kin = {row.index for row in data.rows if row.parent == before.index} - {data.best.index}
    assert way[-2].others == len(kin)


def test_exported_files_and_the_command_are_shown_where_there_are_any() -> None:
    shipped = contents.Shipped("winner.onnx", "", "onnxruntime", "int8", 2, 4.25, 5.5, 1_500_000, 0.31)
    text = Parsed(render(made(3, targets=(shipped,), command="jdn upgrade a --out b"))).text
    assert "onnxruntime int8, threads: 2" in text
    assert "1.5 MB" in text
    assert "jdn upgrade a --out b" in text
    assert "shipped" not in Parsed(render(made(3))).ids
