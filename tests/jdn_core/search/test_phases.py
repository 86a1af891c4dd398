"""What subnets are worth after a phase: read back whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.errors import FormatError, StorageError
from jdn_core.search.phases import mean_aps, read, write
from jdn_core.search.subnets import SubnetRecord
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage import durable


def record(width: float, ap: float) -> SubnetRecord:
    return SubnetRecord(SubnetSpec((1, 1, 1, 1), width, (width,) * 4, width), {"96x64": ap}, {"96x64": 10}, 7)


ASSESSMENT = {
    "largest": (record(1.5, 0.5),),
    "smallest": (record(1.0, 0.25),),
    "random": (record(1.25, 0.5), record(1.0, 0.25)),
}


def test_an_assessment_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "supernet.json"
    assert read(file) is None
    write(file, ASSESSMENT)
    assert read(file) == ASSESSMENT


def test_each_kind_has_its_mean_ap() -> None:
    assert mean_aps(ASSESSMENT) == {"ap_largest": 0.5, "ap_smallest": 0.25, "ap_random": 0.375}
    assert mean_aps({"largest": ASSESSMENT["largest"]}) == {"ap_largest": 0.5}


@pytest.mark.parametrize(("old", "new"), [("0.25", "0.26"), ('"largest"', '"lbrgest"'), ("}\n", "")])
def test_a_damaged_file_counts_for_none(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "supernet.json"
    write(file, ASSESSMENT)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(StorageError):
        durable.read_json(file)
    assert read(file) is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"schema": 1, "largest": 1}',
        '{"schema": 1, "largest": [{"subnet": "x"}]}',
        '{"schema": 1, "largest": [{}]}',
    ],
)
def test_a_file_of_something_else_counts_for_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "supernet.json"
    file.write_text(text)
    assert read(file) is None


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "supernet.json"
    durable.write_json(file, {"largest": []}, schema=2, seal=True)
    with pytest.raises(FormatError, match="update jdn"):
        read(file)
