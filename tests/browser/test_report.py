"""The report in a browser at two widths: it asks for nothing, nothing runs over, points lead to rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jdn_core.reports import page as report
from tests.jdn_core.reports.test_page import made

pytestmark = pytest.mark.browser
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module", params=[400, 1600])
def shown(
    request: pytest.FixtureRequest, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator:
    """The report's page at a width, the addresses that it asked for, and what the console said."""
    from playwright.sync_api import sync_playwright

    file = report.write(made(20), tmp_path_factory.mktemp("report"))
    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
        page = browser.new_page(viewport={"width": request.param, "height": 900})
        page.on("request", lambda each: asked.append(each.url))
        page.on("console", lambda each: said.append(each.text))
        page.on("pageerror", lambda each: said.append(str(each)))
        page.goto(Path(file).as_uri())
        yield page, asked, said


def test_one_file_is_all_and_the_console_is_silent(shown: tuple) -> None:
    page, asked, said = shown
    assert [address for address in asked if not address.startswith("data:")] == [page.url.partition("#")[0]]
    assert said == []


def test_the_page_does_not_run_over_its_width(shown: tuple) -> None:
    page, _, _ = shown
    assert page.evaluate(OVERFLOW) <= 0
    figures = page.locator("figure.wide")
    assert figures.count() > 0
    assert page.locator("figure.wide").first.evaluate("each => getComputedStyle(each).overflowX") in (
        "auto",
        "visible",
    )


def test_a_click_on_a_point_leads_to_the_row_of_its_pair(shown: tuple) -> None:
    page, _, _ = shown
    spot = page.locator("svg.plot circle.winner")
    title = spot.locator("title").text_content()
    spot.click()
    index = title.removeprefix("pair ").partition(":")[0]
    assert page.url.endswith(f"#pair-{index}")
    assert page.locator(f"tr#pair-{index}").is_visible()
    assert page.evaluate("document.querySelector('tr:target') !== null")
