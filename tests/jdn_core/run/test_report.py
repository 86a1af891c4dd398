"""What a run's folder gives for its report, and how a run is summed up."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.run import report
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import parse
from jdn_core.storage import durable
from tests.made_up_search import make_records


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(parse({"name": "shapes", "pool": {"phases": [{"name": "supernet"}]}}), tmp_path)
    run.pool.mkdir()
    durable.write_json(
        run.pool / "training.json", {"losses": {"loss_classifier": [1.0, 0.5]}, "seconds": 2.0}, schema=1
    )
    return run


def test_a_running_search_has_a_report_without_pictures(run: Run) -> None:
    standing = Standing(run.settings.score, make_records(8, failing={2}))
    data = report.gather(run, standing, links={"charts": "http://tracker"}, is_finished=False)
    assert (data.state, len(data.rows), data.examples) == ("running", 8, ())
    assert data.base_spec == standing.records[0].pair.student
    titles = [curves.title for curves in data.trainings]
    assert titles == [
        "pool: supernet",
        f"pair {data.best.index}, the winner",
    ]
    assert (data.facts["measured on"], data.links) == ("cpu, 2 threads", {"charts": "http://tracker"})


def test_a_summary_sets_the_base_against_the_best(run: Run) -> None:
    standing = Standing(run.settings.score, make_records(8, failing={2}))
    found = report.summary(run, standing)
    contract = {"search", "out", "pairs", "base", "best"}
    assert set(found) == contract | {"result", "contest", "headline", "cautions"}
    assert found["result"] == "winner"
    assert (found["pairs"], found["base"]["index"]) == (8, 0)
    assert found["best"]["key"] == standing.best(1)[0].record.pair.key
    assert report.base_summary(run, standing)["base"] == found["base"]


def test_where_no_pair_keeps_the_bounds_the_best_is_the_first_as_in_the_table(run: Run) -> None:
    score = run.settings.score.model_copy(update={"min_ap": 0.99})
    found = report.summary(run, Standing(score, make_records(8)))
    assert (found["best"]["index"], found["best"]["score"]) == (0, None)
