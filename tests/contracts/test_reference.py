"""The generated pages of docs/reference are those that the code would write now."""

from __future__ import annotations

import pytest

from docs import generate


@pytest.mark.parametrize(("name", "text"), generate.pages().items(), ids=lambda value: value[:20])
def test_the_page_is_not_stale(name: str, text: str) -> None:
    assert (generate.FOLDER / name).read_text() == text, "run `make docs` and commit what it writes"


def test_there_is_no_other_page() -> None:
    written = {path.name for path in generate.FOLDER.glob("*.md") if "make docs" in path.read_text()[:80]}
    assert written == generate.pages().keys()
