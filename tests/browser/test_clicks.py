"""A search for someone who only clicks: form, crash, resume, table of candidates, registered model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from flows.inputs import searches
from flows.servers.deploying import deploy
from jdn_core.reports.tables import ranked
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from tests import results
from tests.browser.house import House
from tests.flows import teamwork
from tests.processes import until, with_variable

playwright = pytest.importorskip("playwright.sync_api")
from tests.browser.pages import Dashboards, shots_folder  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
RESUMES = "jdn resumes what crashed"


@pytest.fixture(scope="module")
def quiet(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    return teamwork.quiet(trained, tmp_path_factory.mktemp("quiet") / "run")


@pytest.fixture
def screens(at_home: House, chromium: str, tmp_path: Path) -> Iterator[Dashboards]:
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 2400, "height": 1100})
        screens = Dashboards(page, at_home, shots_folder(tmp_path))
        screens.log_in()
        yield screens
        browser.close()


@pytest.fixture
def deployed(at_home: House, trained: Run) -> None:
    """The forms hold the tiny settings, as `jdn deploy --settings` would have them do."""
    with at_home.client():
        deploy({"settings": trained.settings.model_dump(mode="json")})


@pytest.mark.usefixtures("deployed")
def test_a_search_by_form_survives_a_crash_and_ends_as_a_registered_model(
    at_home: House, screens: Dashboards, trained: Run, quiet: str
) -> None:
    values = {
        "Name (Optional)": trained.settings.name,
        "Iterations (Optional)": str(trained.settings.search.iterations),
        "base": str(trained.base),
        "pool": str(trained.pool),
    }
    with at_home.client() as client:
        (automation,) = client.read_automations_by_name(RESUMES)
        client.pause_automation(automation.id)
    begun = screens.start("search", values)
    folder = at_home.home / f"{trained.settings.name}-{begun[:8]}"
    _kill(begun, folder, after=2)
    screens.await_state(begun, "Crashed")
    screens.shot("crashed")
    resumed = screens.start("resume", {"search": begun})
    screens.await_state(resumed, "Completed")
    screens.shot("resumed")
    assert results.digest(Records(folder)) == quiet
    screens.follow_artifact("jdn-top-k", "All pairs in MLflow")
    _check_candidates(screens, Run(trained.settings, folder))
    _check_model(at_home, screens, trained.settings.name)
    _check_way_back(screens, at_home, trained.settings.name, resumed)


def _kill(flow_run: str, folder: Path, *, after: int) -> None:
    """Ends the process of a flow run as an accident would, once its search has so many pairs."""
    until(lambda: len(list(folder.glob("pairs/*/pair.json"))) >= after)
    for pid in with_variable("PREFECT__FLOW_RUN_ID", flow_run):
        os.kill(pid, signal.SIGKILL)


def _check_candidates(screens: Dashboards, run: Run) -> None:
    """The table that the link opens, sorted by score, and its charts."""
    shown = screens.rows("metrics.`pair_index`", "metrics.`score`", "tags.`jdn.parent_pair`")
    screens.shot("candidates")
    ranking = ranked(searches.rows(run.folder))
    parents = {str(row.index): "-" if row.parent is None else str(row.parent) for row in ranking}
    scores = [float(score) for _, score, _ in shown]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([row.score for row in ranking])
    assert {index: parent for index, _, parent in shown} == parents
    screens.page.goto(screens.page.url + "&compareRunsMode=CHART")
    playwright.expect(screens.page.get_by_text("gmacs vs. ap").first).to_be_visible()
    screens.shot("charts")


def _check_model(at_home: House, screens: Dashboards, name: str) -> None:
    client = MlflowClient(at_home.mlflow)

    def champion() -> str | None:
        try:
            return str(client.get_model_version_by_alias(name, "champion").version)
        except MlflowException:
            return None

    assert until(champion) == "1"
    screens.page.goto(f"{at_home.mlflow}/#/models/{name}")
    playwright.expect(screens.page.get_by_text("champion").first).to_be_visible()
    screens.shot("model")


def _check_way_back(screens: Dashboards, at_home: House, name: str, flow_run: str) -> None:
    """From the search's run in MLflow to the flow run that drove it."""
    client = MlflowClient(at_home.mlflow)
    experiment = client.get_experiment_by_name(name)
    (search,) = client.search_runs([experiment.experiment_id], "tags.`jdn.kind` = 'search'")
    assert search.data.tags["jdn.flow_run"] == flow_run
    screens.page.goto(f"{at_home.mlflow}/#/experiments/{experiment.experiment_id}/runs/{search.info.run_id}")
    link = screens.page.get_by_role("link", name=flow_run)
    playwright.expect(link).to_be_visible()
    screens.shot("search in MLflow")
    screens.page.goto(link.get_attribute("href"))
    screens.expect_state("Completed")
