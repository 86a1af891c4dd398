"""Every command in the documents is run by a test, or says why not; every link leads somewhere."""

from __future__ import annotations

import re

import pytest

from tests.docs.blocks import PAGES, READ, ROOT, RUN, blocks

_COMMAND = re.compile(r"(?m)^(jdn|make|prefect|mlflow|pip|python|docker|source) (?!Usage)")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_its_language(page: str) -> None:
    assert [block.line for block in blocks(page) if block.language not in RUN + READ] == []
    assert (ROOT / page).read_text().count("\n```") == 2 * len(blocks(page))


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_a_block_that_is_only_read(page: str) -> None:
    read = [block for block in blocks(page) if block.language in READ]
    assert [block.line for block in read if _COMMAND.search(block.text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_gives_a_reason(page: str) -> None:
    skipped = [block for block in blocks(page) if block.reason]
    assert [
        block.line for block in skipped if len(block.reason.split()) < 3 or block.language not in RUN
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_a_reason_names_are_there(page: str) -> None:
    named = [name for block in blocks(page) for name in re.findall(r"tests/[\w/.]*\w", block.reason)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_its_heading(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        file = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert file.exists(), target
        if heading:
            assert heading in _headings(file.read_text()), target


def _headings(text: str) -> set[str]:
    """Anchors as a repository's page makes them."""
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.*)$", text)
    }
