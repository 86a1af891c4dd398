"""Prefect's and MLflow's pages as someone sees them who only clicks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from playwright.sync_api import Locator, Page, expect

from tests.browser.house import House
from tests.processes import PATIENCE, until

MS = PATIENCE * 1000


class Dashboards:
    """One browser window; pictures of what it showed are kept in ``shots``."""

    def __init__(self, page: Page, house: House, shots: Path) -> None:
        self.page = page
        self._house = house
        self._shots = shots
        page.set_default_timeout(MS)
        expect.set_options(timeout=MS)

    def shot(self, name: str) -> None:
        self._shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._shots / f"{name}.png")

    def log_in(self) -> None:
        """Prefect asks once for its password."""
        self.page.goto(f"{self._house.prefect}/deployments")
        self.page.locator("input[type=password]").fill(self._house.auth)
        self.page.get_by_role("button", name="Login").click()
        self.page.get_by_role("link", name="evaluate-pair", exact=True).first.wait_for()

    def start(self, deployment: str, values: Mapping[str, str]) -> str:
        """Opens the form of a deployment, fills fields by their labels, submits it; id of the flow run."""
        self.page.goto(f"{self._house.prefect}/deployments")
        self.page.get_by_role("link", name=deployment, exact=True).first.click()
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()
        for label, value in values.items():
            field = self._field(label)
            field.fill(value)
            field.scroll_into_view_if_needed()
        self.shot(f"form of {deployment}")
        for _ in range(3):  # a busy server may refuse once, and its page says to try again
            with self.page.expect_response(re.compile("/create_flow_run$")) as answer:
                self.page.get_by_role("button", name="Submit").click()
            if answer.value.ok:
                break
        assert answer.value.ok, answer.value.text()
        return str(answer.value.json()["id"])

    def await_state(self, flow_run: str, name: str) -> None:
        """Waits for a state of a run, then looks at its page: an open one takes a core."""
        self.page.goto("about:blank")
        with self._house.client() as client:
            until(lambda: client.read_flow_run(UUID(flow_run)).state_name == name)
        self.page.goto(f"{self._house.prefect}/runs/flow-run/{flow_run}")  # as the toast's "View run" does
        self.expect_state(name)

    def expect_state(self, name: str) -> None:
        """The page of a run shows this state."""
        expect(self.page.locator(".state-badge", has_text=name).first).to_be_visible()

    def follow_artifact(self, key: str, link: str) -> None:
        """From the page of a run to one of its artifacts, and on by a link in it."""
        self.page.get_by_text("Artifacts", exact=True).first.click()
        self.page.get_by_text(key, exact=True).first.click()
        self.page.wait_for_url(re.compile("/artifacts/artifact/"))
        self.page.reload()  # the run's page fades, and its other artifacts have links of their own
        found = self.page.get_by_role("link", name=link).first
        expect(found).to_be_visible()
        self.shot(f"artifact {key}")
        address = found.get_attribute("href")
        assert address is not None
        self.page.goto(address)  # it would open in a window of its own

    def rows(self, *columns: str) -> list[tuple[str, ...]]:
        """The cells that MLflow's table of runs shows, row by row from the top."""
        cells = self.page.locator(".ag-center-cols-container .ag-row .ag-cell", has_text=re.compile(r"\S"))
        expect(cells.first).to_be_visible()
        script = """columns => [...document.querySelectorAll('.ag-center-cols-container .ag-row')]
            .sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))
            .map(row => columns.map(id => row.querySelector(`[col-id="${id}"]`)?.innerText ?? ''))"""
        return [tuple(row) for row in self.page.evaluate(script, list(columns))]

    def _field(self, label: str) -> Locator:
        text = self.page.locator(".schema-form-property__label", has_text=re.compile(f"^{re.escape(label)}$"))
        whole = self.page.locator("label").filter(has=text).first.locator("xpath=../..")
        return whole.locator("input, textarea").first


def shots_folder(default: Path) -> Path:
    """Where pictures are kept: ``JDN_SHOTS``, else in the test's folder."""
    return Path(os.environ.get("JDN_SHOTS") or default / "shots")
