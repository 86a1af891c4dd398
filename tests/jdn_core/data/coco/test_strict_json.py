"""Strict JSON: what Python's own reader lets pass is refused, and said."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from jdn_core.data.coco import strict_json
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"{}"), "is compressed; unpack it"),
        ("{}".encode("utf-16"), "must be UTF-8; convert it"),
        (b"[" * 200_000, "nested too deeply; fetch or write the file again"),
        (b"9" * 5000, "holds a number of thousands of digits; fetch or write the file again"),
    ],
    ids=["gzip", "utf-16", "deep", "digits"],
)
def test_what_stops_the_reader_is_said_in_plain_words(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        strict_json.parse(content, "a.json")
    assert str(caught.value) == f"a.json: not valid JSON: {message}"


def test_a_byte_order_mark_is_no_problem() -> None:
    assert strict_json.parse('\ufeff{"a": "ä"}'.encode(), "a.json") == {"a": "ä"}


def test_what_is_no_file_is_told_apart_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "a.json").touch()
    for name in ("b.json", "a.json/b.json"):
        with pytest.raises(InputMissing, match=r"b\.json: no such file"):
            strict_json.read_bytes(tmp_path / name)
    for name in ("", "pipe", "zero"):
        with pytest.raises(DataError, match="must be a regular file"):
            strict_json.read_bytes(tmp_path / name)
    with pytest.raises(DataError, match=r"loop: cannot be read \(Too many levels of symbolic links\)"):
        strict_json.read_bytes(tmp_path / "loop")
