from pathlib import Path

import pytest

from jdn_core.errors import FormatError, StorageError
from jdn_core.storage import durable
from jdn_core.storage.schemas import require_schema


@pytest.mark.parametrize("seal", [False, True])
def test_a_file_holds_the_number_of_its_format_and_gives_back_the_rest(tmp_path: Path, seal: bool) -> None:
    durable.write_json(tmp_path / "a.json", {"id": "x"}, schema=3, seal=seal)
    assert durable.read_json(tmp_path / "a.json") == {"schema": 3, "id": "x"}
    assert durable.read_json(tmp_path / "a.json", schema=3) == {"id": "x"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"schema": 2}, "a.json: schema must be 1, got 2; update jdn, a newer version wrote it"),
        ({"schema": 0}, "a.json: schema must be 1, got 0; it is no such file of jdn"),
        ({"schema": "1"}, "a.json: schema must be 1, got '1'; it is no such file of jdn"),
        ({}, "a.json: schema must be 1, got None; it is no such file of jdn"),
    ],
)
def test_another_number_is_refused_with_what_to_do(data: dict[str, object], said: str) -> None:
    with pytest.raises(FormatError) as caught:
        require_schema(data, 1, "a.json")
    assert (str(caught.value), caught.value.exit_code) == (said, 65)


def test_what_is_no_object_has_no_schema(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="only a mapping has room for a schema, got list"):
        durable.write_json(tmp_path / "a.json", [1], schema=1)
    durable.write_json(tmp_path / "a.json", [1])
    with pytest.raises(StorageError, match=r"a\.json: must hold an object of JSON"):
        durable.read_json(tmp_path / "a.json", schema=1)
