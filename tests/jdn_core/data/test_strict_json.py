"""Strict JSON: what Python's own reader lets pass is refused, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.data import strict_json
from jdn_core.errors import DataError, InputMissing


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    with pytest.raises(DataError, match=f"a.json: JSON has finite numbers only, got {number}"):
        strict_json.parse(f'{{"bbox": [{number}]}}'.encode(), "a.json")


def test_a_key_that_occurs_twice_is_named() -> None:
    with pytest.raises(DataError, match=r"a\.json: width: key occurs twice"):
        strict_json.parse(b'[{"width": 1, "width": 1}]', "a.json")


def test_all_problems_of_a_file_are_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        strict_json.parse(b'{"a": NaN, "a": 1, "b": {"c": 1, "c": 2, "c": 3}}', "a.json")
    assert sorted(problem.where for problem in caught.value.problems) == ["", "a", "c", "c"]


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1', b"{} {}", b"\xff\xfe\x00", b"9" * 5000, b"[" * 200_000, b"{'a': 1}"]
)
def test_what_is_no_json_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.json: .*not valid JSON") as caught:
        strict_json.parse(content, "a.json")
    assert len(str(caught.value)) < 300


def test_a_byte_order_mark_is_no_problem() -> None:
    assert strict_json.parse('\ufeff{"a": "ä"}'.encode(), "a.json") == {"a": "ä"}


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"b\.json: no such file"):
        strict_json.read_bytes(tmp_path / "b.json")
    with pytest.raises(DataError, match="cannot be read"):
        strict_json.read_bytes(tmp_path)
