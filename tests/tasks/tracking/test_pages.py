"""What MLflow's pages are told to show of a search; tests/browser sees them do it."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from jdn_core.run.folder import Run
from tasks.tracking import pages, sync
from tasks.tracking.pages import (
    LOCAL_UI,
    NOTE,
    FlowRun,
    Links,
    address_of,
    experiment_note,
    saved_view,
    search_note,
)
from tasks.tracking.search_run import SearchRun
from tests.tasks.tracking.searches import client_of, runs_of, send_all

PLACE = Links("http://tracker:5000", "7", "0123456789abcdef" * 2)
FLOW = FlowRun("6f0c", "http://prefect:4200/runs/flow-run/6f0c")


def tags_of_experiment(run: Run) -> dict[str, str]:
    client: MlflowClient = client_of(run)
    return dict(client.get_experiment("1").tags)


def test_pages_are_where_the_server_is_unless_readers_know_it_by_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JDN_MLFLOW_PAGES", raising=False)
    assert address_of("http://me:secret@mlflow:5000") == "http://mlflow:5000"
    assert address_of("sqlite:///mlflow.db") == LOCAL_UI
    monkeypatch.setenv("JDN_MLFLOW_PAGES", "http://localhost:5000")
    assert address_of("http://mlflow:5000") == "http://localhost:5000"


def test_the_saved_view_shows_the_pairs_of_one_search_best_first() -> None:
    tag, value = saved_view("shapes", PLACE, when=5)
    view = json.loads(value)
    state = json.loads(view["state"])
    assert tag == f"mlflow.sharedViewState.{PLACE.view}"
    assert f"viewStateShareKey={PLACE.view}&" in PLACE.pairs
    assert PLACE.search_run in state["searchFilter"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`score`", False)
    assert {"metrics.`ap`", "tags.`jdn.parent_pair`"} < set(state["selectedColumns"])
    assert len(value) < 5000  # the limit of servers before 3.0


def test_every_chart_lies_in_a_section_that_is_shown() -> None:
    state = json.loads(json.loads(saved_view("shapes", PLACE, when=5)[1])["state"])
    shown = {section["uuid"] for section in state["compareRunSections"] if section["display"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == shown
    axes = [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in state["compareRunCharts"]]
    assert ("gmacs", "ap") in axes
    assert ("pair_index", "score") in axes


def test_the_note_of_a_search_leads_to_prefect_where_it_has_pages() -> None:
    assert "[`6f0c`](http://prefect:4200/runs/flow-run/6f0c)" in search_note(PLACE, FLOW)
    assert "driven by `6f0c` in Prefect" in search_note(PLACE, FLOW._replace(page=None))
    assert "Prefect" not in search_note(PLACE, None)


def test_the_note_of_an_experiment_is_left_to_who_wrote_one() -> None:
    ours = experiment_note("", [("shapes", PLACE)])
    assert ours is not None
    assert "http://tracker" not in ours  # it is read under whatever name the server has there
    assert experiment_note(ours, [("shapes", PLACE)]) is None
    assert experiment_note(ours, [("other", PLACE)]) is not None
    assert experiment_note("What we learnt", [("shapes", PLACE)]) is None


def test_publishing_sets_views_and_notes_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send_all(run).error == ""
    place = pages.links_of(run)
    assert place is not None
    before = tags_of_experiment(run)
    assert (
        json.loads(before[f"mlflow.sharedViewState.{place.view}"])["name"]
        == f"Candidates of shapes ({place.view})"
    )
    assert place.inside(place.pairs) in before[NOTE]
    monkeypatch.setattr(MlflowClient, "set_experiment_tag", None)  # a second time nothing is sent
    assert sync(run, state="finished").error == ""
    assert tags_of_experiment(run) == before


def test_a_second_search_of_the_name_stands_above_the_first(run: Run) -> None:
    first = SearchRun.open(run)
    (run.folder / "search.json").unlink()
    second = SearchRun.open(run)
    heads = tags_of_experiment(run)[NOTE].split("\n\n")
    assert [head.partition("(")[2][:8] for head in heads] == [second.id[:8], first.id[:8]]


def test_the_run_knows_the_flow_that_drives_it_until_another_does(run: Run) -> None:
    for flow_run in (FLOW, None, FlowRun("77aa", None)):
        SearchRun.open(run, flow_run=flow_run)
        (found,) = runs_of(run, "tags.`jdn.kind` = 'search'")
        driver = (flow_run or FLOW).id
        assert found.data.tags["jdn.flow_run"] == driver
        assert f"`{driver}`" in found.data.tags[NOTE]


@pytest.mark.services
@pytest.mark.usefixtures("prefect_server")
def test_the_page_of_a_flow_run_is_named_without_a_password() -> None:
    from prefect import flow
    from prefect.settings import PREFECT_UI_URL, temporary_settings

    from tasks.orchestration import flow_run

    assert flow_run.current() is None
    with temporary_settings({PREFECT_UI_URL: "http://me:secret@prefect:4200"}):
        found = flow(flow_run.current)()
    assert found is not None
    assert found.page == f"http://prefect:4200/runs/flow-run/{found.id}"
