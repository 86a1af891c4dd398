"""The places that CONTRIBUTING.md sends people to are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
_PATH = r"`((?:jdn_core|tasks|flows|deployments|tests|docs)/[\w/.]*\w)`"


@pytest.mark.parametrize("place", sorted(set(re.findall(_PATH, TEXT))))
def test_the_place_exists(place: str) -> None:
    assert (ROOT / place).exists()


def test_each_thing_to_add_has_one_place() -> None:
    rows = re.findall(r"(?m)^\| (an? [^|]*|something[^|]*) \| ([^|]*) \|", TEXT)
    assert len(rows) >= 12
    assert [what for what, place in rows if "`" not in place] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", TEXT))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text())
