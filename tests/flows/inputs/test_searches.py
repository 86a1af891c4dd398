"""A search seen from its folder: how it stands, its table, and one of its pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from flows.inputs import searches
from flows.inputs.settings_file import dump
from jdn_core.errors import InputMissing, UsageError
from jdn_core.reports.tables import front, ranked
from jdn_core.search.records import Records
from jdn_core.settings.whole import parse
from jdn_core.storage import durable
from tests.latencies import latency
from tests.made_up_search import keep, make_records

COUNT = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = parse({"name": "shapes", "search": {"iterations": COUNT - 1}})
    (tmp_path / "settings.yaml").write_text(dump(settings))
    for record in make_records(COUNT, failing=(4,)):
        keep(record, tmp_path)
    return tmp_path


def test_a_stopped_search_is_interrupted_and_counts_what_is_there(folder: Path) -> None:
    found = searches.status(folder)
    assert (found["state"], found["stage"], found["owner"]) == ("interrupted", "search", "")
    assert (found["done"], found["failed"], found["running"], found["iterations"]) == (7, 1, 0, 7)
    assert found["best"]["score"] == max(row.score for row in searches.rows(folder) if row.score is not None)
    assert (found["eta_s"], found["cost_s"] > 0) == (0.0, True)


def test_a_search_with_its_report_is_finished(folder: Path) -> None:
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("")
    assert searches.status(folder)["state"] == "finished"


def test_a_search_that_is_owned_is_running_and_counts_the_pairs_under_way(folder: Path) -> None:
    finished = searches.rows(folder)[3].key
    for key in ("a" * 64, "b" * 64, finished):
        (folder / "work" / "pairs" / key).mkdir(parents=True)
    with durable.own(folder):
        found = searches.status(folder)
    assert (found["state"], found["running"]) == ("running", 2)
    assert found["owner"].startswith("pid ")
    assert searches.status(folder)["state"] == "interrupted"


def test_a_search_before_its_first_pair_has_no_best_and_no_eta(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(dump(parse({})))
    found = searches.status(tmp_path)
    assert (found["stage"], found["best"], found["eta_s"], found["done"]) == ("base", None, None, 0)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "detector.json").write_text("{}")
    assert searches.status(tmp_path)["stage"] == "pool"


def test_the_time_left_knows_how_many_pairs_end_together(tmp_path: Path) -> None:
    settings = {"name": "shapes", "search": {"iterations": 17, "workers": 4}}
    (tmp_path / "settings.yaml").write_text(dump(parse(settings)))
    for record in make_records(COUNT):  # one every ten seconds
        keep(record, tmp_path)
    assert searches.status(tmp_path)["eta_s"] == 10 * 10.0


def test_another_score_ranks_the_same_pairs_anew(folder: Path) -> None:
    plain, free = searches.rows(folder), searches.rescored(folder, {"alpha": 0.0}).rows
    assert [row.ap_by_resolution for row in plain] == [row.ap_by_resolution for row in free]
    assert all(row.score == row.ap for row in free if row.state == "done")


def timed(folder: Path, target: str, ms: dict[int, float]) -> None:
    """Notes latencies of pairs by index."""
    records = Records(folder)
    for record in records.all():
        if record.pair.index in ms:
            records.note_latency(record.pair.key, target, latency(ms[record.pair.index]))


def test_a_target_that_prefers_other_pairs_ranks_them_first(folder: Path) -> None:
    order = [row.index for row in ranked(searches.rows(folder)) if row.state == "done"]
    # The worse a pair was, the faster it is on this target, by far.
    timed(folder, "edge", {index: 100.0 / 3.0**place for place, index in enumerate(order)})
    found = searches.rescored(folder, {"cost": "latency", "target": "edge"})
    assert [row.index for row in ranked(found.rows) if row.state == "done"] == order[::-1]
    assert (found.measured, found.model) == (frozenset(order), None)
    assert searches.rescored(folder, {"cost": "latency"}).rows == found.rows  # it is the only target
    assert front(found.rows)[0] == order[-1]


def test_pairs_that_nobody_timed_are_predicted(folder: Path) -> None:
    wanted = {row.index: row.macs_by_resolution for row in searches.rows(folder) if row.state == "done"}
    truth = {index: 1.0 + 1e-7 * max(macs.values()) for index, macs in wanted.items()}
    left_out = max(truth)
    timed(folder, "edge", {index: ms for index, ms in truth.items() if index != left_out})
    found = searches.rescored(folder, {"cost": "latency", "target": "edge"})
    assert found.model is not None
    assert found.model.error < 0.05
    assert left_out not in found.measured
    (row,) = [row for row in found.rows if row.index == left_out]
    assert row.latency_ms == pytest.approx(truth[left_out], rel=0.1)


def test_a_target_that_is_unknown_is_said(folder: Path) -> None:
    with pytest.raises(UsageError, match="--cost latency needs --target; there are: none"):
        searches.rescored(folder, {"cost": "latency"})
    with pytest.raises(InputMissing, match="edge has not timed the base; `jdn measure-latency"):
        searches.rescored(folder, {"cost": "latency", "target": "edge"})
    timed(folder, "one", {0: 1.0})
    timed(folder, "two", {0: 1.0})
    with pytest.raises(UsageError, match="there are: one, two"):
        searches.rescored(folder, {"cost": "latency"})


def test_a_pair_is_found_by_its_index_and_the_best_without(folder: Path) -> None:
    assert searches.row(folder, 2).index == 2
    assert searches.row(folder, None).score == searches.status(folder)["best"]["score"]
    with pytest.raises(InputMissing, match=r"no finished pair 4; there are \[0, 1, 2, 3, 5, 6, 7\]$"):
        searches.row(folder, 4)


def test_a_search_without_pairs_has_no_best(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(dump(parse({})))
    with pytest.raises(InputMissing, match=r"the search has no pairs? "):
        searches.row(tmp_path, None)


@pytest.mark.parametrize("command", ["status", "candidates", "rescore"])
def test_people_and_scripts_both_see_a_search(
    command: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit, match=r"^0$"):
            main.main([command, str(folder), *extra])
        seen.append(capfd.readouterr().out)
    assert max(map(len, seen[0].splitlines())) <= 100
    assert ("pairs" in json.loads(seen[1])) is (command != "status")


def test_rows_are_sorted_and_cut_as_asked(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(["candidates", str(folder), "--top", "3", "--sort", "macs", "--json"])
    rows = json.loads(capfd.readouterr().out)["pairs"]
    assert len(rows) == 3
    assert [row["macs"] for row in rows] == sorted(row["macs"] for row in rows)
    with pytest.raises(SystemExit, match=r"^64$"):
        main.main(["candidates", str(folder), "--sort", "beauty"])
    assert "ERROR 64 sort key must be one of" in capfd.readouterr().err
