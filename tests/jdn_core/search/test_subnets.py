"""Records of subnets: read back whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jdn_core.search.subnets import SubnetRecord, SubnetRecords
from jdn_core.space.teachers import SubnetSpec

SUBNET = SubnetSpec((2, 3, 5, 2), 1, (1.25, 1, 1.5, 1), 1.25)
RECORD = SubnetRecord(
    SUBNET, {"96x64": 0.25, "128x96": 0.5, "160x128": 0.5}, {"96x64": 10, "128x96": 20, "160x128": 30}, 7
)


def test_the_best_resolution_is_the_cheapest_of_the_highest_ap() -> None:
    assert RECORD.resolution == "128x96"
    data = RECORD.to_json()
    assert (data["ap"], data["macs"], data["params"], data["subnet"]) == (0.5, 20, 7, str(SUBNET))


def test_a_record_comes_back_with_its_resolutions_in_order(tmp_path: Path) -> None:
    records = SubnetRecords(tmp_path / "new" / "subnets")
    assert records.get(SUBNET) is None
    records.put(RECORD)
    found = SubnetRecords(tmp_path / "new" / "subnets").get(SUBNET)
    assert found == RECORD
    assert found is not None
    assert list(found.ap) == list(RECORD.ap)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-9],
        lambda text: text.replace("0.25", "0.26"),
        lambda text: "[]",
        lambda text: '{"schema": 1}',
        lambda text: text.replace("d2-3-5-2", "d2-3-5-1"),
    ],
    ids=["cut", "another AP", "a list", "empty", "another subnet"],
)
def test_a_damaged_record_counts_for_none_and_is_written_again(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    records = SubnetRecords(tmp_path)
    records.put(RECORD)
    (file,) = tmp_path.iterdir()
    file.write_text(change(file.read_text()))
    assert records.get(SUBNET) is None
    records.put(RECORD)
    assert records.get(SUBNET) == RECORD


def test_a_record_under_another_subnets_name_is_not_its_record(tmp_path: Path) -> None:
    records = SubnetRecords(tmp_path)
    records.put(RECORD)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / file.name.replace("d2-3-5-2", "d2-3-6-2"))
    assert records.get(SubnetSpec((2, 3, 6, 2), 1, (1.25, 1, 1.5, 1), 1.25)) is None


def test_the_file_names_its_subnet_for_people(tmp_path: Path) -> None:
    SubnetRecords(tmp_path).put(RECORD)
    (file,) = tmp_path.iterdir()
    assert file.name == "d2-3-5-2_w1.25-1-1.5-1_s1_n1.25.json"
    assert json.loads(file.read_text())["ap_by_resolution"]["96x64"] == 0.25


@pytest.mark.parametrize("macs", [{}, {"128x96": 3}])
def test_a_record_without_numbers_is_refused(macs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="same resolutions"):
        SubnetRecord(SUBNET, {"96x64": 0.5} if macs else {}, macs, 1)
