"""How long MLflow takes to show a search of 2,000 pairs: its pages in a browser, and their queries.

A hundred pairs are sent by our own publisher; the others are copies of their rows, with ids and scores of
their own.
"""

from __future__ import annotations

import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from sqlalchemy import MetaData, create_engine

from flows.inputs import searches, settings_file
from jdn_core.reports.tables import ranked
from jdn_core.run.folder import Run
from jdn_core.settings.whole import parse
from tasks.tracking import sync
from tasks.tracking.pages import Links, links_of
from tests.benchmarks.conftest import Note
from tests.made_up_search import keep, make_records
from tests.postgresql import binaries, postgresql
from tests.tasks.tracking.servers import MlflowServer

PAIRS, TOLD = 2000, 100
TURNS = 3


@dataclass(frozen=True)
class Shown:
    """A search in MLflow, where its pages are, the name of the best pair's run, and how long filling took."""

    place: Links
    best: str
    seconds: float
    database: str

    def note(self, what: str) -> str:
        return f"{PAIRS} pairs on {self.database}: {what}"


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Sent by our own publisher, straight into the database, which a server then shows."""
    folder = tmp_path_factory.mktemp("browsing")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{folder / 'server.db'}"
        if request.param == "PostgreSQL":
            if binaries() is None:
                pytest.skip("there is no PostgreSQL")
            uri = stack.enter_context(postgresql()).mlflow
        run = made(folder / "run")
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        begun = time.perf_counter()
        told = sync(run, state="finished")
        seconds = time.perf_counter() - begun
        assert (told.missing, told.error) == (0, "")
        multiply(uri, PAIRS // TOLD)
        server = MlflowServer(folder, database=uri)
        server.start()
        stack.callback(server.stop)
        found = links_of(run)
        assert found is not None
        best = ranked(searches.rows(run.folder), top=1)[0]
        yield Shown(
            found._replace(address=server.uri), f"pair {best.index:04}: {best.action}", seconds, request.param
        )


def made(folder: Path) -> Run:
    """A search whose records are real and whose weights are a few bytes."""
    run = Run(parse({"name": "long", "seed": 3, "search": {"iterations": PAIRS - 1}}), folder)
    run.folder.mkdir()
    (run.folder / "settings.yaml").write_text(settings_file.dump(run.settings))
    for record in make_records(TOLD, search="long"):
        keep(record, run.folder)
    return run


def multiply(uri: str, times: int) -> None:
    """Copies every row that belongs to a pair until there are so many times as many, the copies worse."""
    engine, tables = create_engine(uri), MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        rows = {
            name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for name, table in tables.tables.items()
        }
        pairs = {row["run_uuid"] for row in rows["tags"] if row["key"] == "jdn.pair_key"}
        models = {row["model_id"] for row in rows["logged_models"] if row["source_run_id"] in pairs}
        inputs = {row["input_uuid"] for row in rows["inputs"] if row["destination_id"] in pairs}
        for copy in range(1, times):
            new = {old: uuid.uuid4().hex for old in pairs | models | inputs}
            for table in tables.sorted_tables:
                copies = [_copied(row, new, copy) for row in rows[table.name] if new.keys() & {*row.values()}]
                if copies:
                    connection.execute(table.insert(), copies)
    engine.dispose()


def _copied(row: dict[str, Any], new: dict[str, str], copy: int) -> dict[str, Any]:
    found = {name: new.get(value, value) if isinstance(value, str) else value for name, value in row.items()}
    name = row.get("key") or row.get("metric_name")
    field = "value" if "value" in row else "metric_value"
    if name == "score":
        found[field] -= copy * 1e-4
    elif name == "pair_index":
        found[field] += copy * TOLD
    return found


def test_telling_a_pair(shown: Shown, note: Note) -> None:
    note(shown.note("one pair told"), 1000 * shown.seconds / TOLD, "ms")


def test_the_queries_of_the_table_take_a_second_at_the_most(shown: Shown, note: Note) -> None:
    client, place = MlflowClient(shown.place.address), shown.place
    best_first = ["metrics.`score` DESC"]

    def page(wanted: str = place.filter) -> list:
        return list(client.search_runs([place.experiment], wanted, max_results=100, order_by=best_first))

    def models() -> list:
        return list(client.search_logged_models([place.experiment], max_results=100))

    seconds = {"100 best pairs": _median(page), "100 models": _median(models)}
    lineage = place.filter + " and tags.`jdn.parent_pair` = '0'"
    seconds["children of one pair"] = _median(lambda: page(lineage))
    assert page()[0].info.run_name == shown.best
    for what, figure in seconds.items():
        note(shown.note(f"query of {what}"), 1000 * figure, "ms", bound=2000)


def test_the_pages_are_there_in_ten_seconds(shown: Shown, note: Note) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    first = f'.ag-row[row-index="0"] :text("{shown.best}")'
    pages = {
        "table with the best pair on top": (shown.place.pairs, first),
        "charts": (shown.place.charts, ".js-plotly-plot .main-svg >> nth=0"),
        "models": (shown.place.models, '.ag-row[row-index="0"]'),
    }
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for what, (address, wanted) in pages.items():

            def opened(address: str = address, wanted: str = wanted) -> None:
                with browser.new_context(viewport={"width": 1700, "height": 1000}) as context:
                    page = context.new_page()
                    page.goto(address)
                    page.locator(wanted).first.wait_for(timeout=120_000)

            note(shown.note(what), _median(opened), "s", bound=30)
        browser.close()


def _median(action: Callable[[], object]) -> float:
    """Seconds of the action, the middle one of a few turns."""
    seconds = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)
