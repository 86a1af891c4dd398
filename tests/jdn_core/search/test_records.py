import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from jdn_core.errors import FormatError, StorageError
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import RECORD_FILE, Records, read_record
from jdn_core.storage import durable, seals
from jdn_core.storage.canonical import content_key
from tests import results
from tests.jdn_core.search.test_hill_climbing import climb
from tests.jdn_core.search.worlds import evaluate, start


def made_up(index: int = 0) -> PairRecord:
    _, base = start()
    return evaluate(replace(base.pair, index=index))


def keep(records: Records, record: PairRecord, *, weights: bytes = b"weights") -> bool:
    staged = records.staging(record.pair.key)
    durable.write_bytes(staged / "weights.safetensors", weights)
    return records.commit(record, staged)


def test_a_search_begins_without_records(tmp_path: Path) -> None:
    records = Records(tmp_path / "search")
    assert (records.all(), records.problems(), records.get("0" * 64)) == ((), (), None)


def test_a_committed_record_is_found_with_the_hashes_of_its_files(tmp_path: Path) -> None:
    record = made_up()
    assert keep(Records(tmp_path), record)
    (found,) = Records(tmp_path).all()
    folder = Records(tmp_path).path(record.pair.key)
    assert found == replace(
        record, files={"weights.safetensors": durable.sha256_of(folder / "weights.safetensors")}
    )
    assert sorted(os.listdir(folder)) == [RECORD_FILE, "weights.safetensors"]
    assert os.listdir(tmp_path / "pairs") == [record.pair.key]


def test_records_come_by_index_whatever_the_order_of_their_commits(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for index in (2, 0, 1):
        assert keep(records, made_up(index))
    assert [record.pair.index for record in records.all()] == [0, 1, 2]
    assert records.all() == Records(tmp_path).all()


def test_the_first_record_of_a_pair_wins(tmp_path: Path) -> None:
    record = made_up()
    late = PairRecord(record.pair, "failed", reason="timeout")
    records = Records(tmp_path)
    assert keep(records, record)
    assert not keep(records, late, weights=b"others")
    assert [found.state for found in Records(tmp_path).all()] == ["done"]
    assert results.problems(records) == ()
    assert os.listdir(tmp_path / "pairs") == [record.pair.key]


def test_what_a_crash_left_half_done_is_no_record(tmp_path: Path) -> None:
    records = Records(tmp_path)
    staged = records.staging(made_up().pair.key)
    durable.write_bytes(staged / "weights.safetensors", b"weights")
    assert records.all() == ()
    assert durable.clean_leftovers(tmp_path) == (staged,)


def damaged(folder: Path, damage: Callable[[str], str]) -> str:
    """What is said of one of two records after the damage, which leaves the other one."""
    record, other = made_up(0), made_up(1)
    for each in (record, other):
        keep(Records(folder), each)
    path = Records(folder).path(record.pair.key) / RECORD_FILE
    path.write_text(damage(path.read_text()))
    records = Records(folder)
    assert [found.pair.index for found in records.all()] == [1]
    (problem,) = records.problems()
    assert problem.file == f"pairs/{record.pair.key}"
    return str(problem)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: text.replace('"macs":1', '"macs":2', 1),
        lambda text: text.replace('"state":"done"', '"state":"doze"'),
        lambda text: text.replace('"sha256":', '"sha255":'),
    ],
)
def test_a_record_that_its_seal_does_not_vouch_for_is_left_out(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    assert "damaged or edited: the last member, sha256, is not" in damaged(tmp_path, damage)


def resealed(text: str) -> str:
    """The text of a record under a seal that holds, whatever the text says now."""
    return seals.sealed(re.sub(r',"sha256":"[0-9a-f]{64}"(?=}\n\Z)', "", text).rstrip()) + "\n"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "it has no seal"),
        (lambda text: "[]", "it has no seal"),
        (lambda text: resealed(text.replace('"params"', '"parameters"')), "not a record"),
        (lambda text: resealed(text.replace('"state":"done"', '"state":"doze"')), "done with an evaluation"),
        (lambda text: resealed(text.replace('"state":"done"', '"state":"failed"')), "got 'failed'"),
    ],
)
def test_what_is_no_record_of_ours_is_left_out_and_told_of(
    tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    assert said in damaged(tmp_path, damage)


@pytest.mark.parametrize(("schema", "remedy"), [("2", "update jdn"), ("0", "no such file of jdn")])
def test_a_record_of_another_schema_ends_the_search_instead_of_being_made_again(
    tmp_path: Path, schema: str, remedy: str
) -> None:
    keep(Records(tmp_path), made_up())
    path = Records(tmp_path).path(made_up().pair.key) / RECORD_FILE
    path.write_text(resealed(path.read_text().replace('"schema":1,"state"', f'"schema":{schema},"state"')))
    with pytest.raises(FormatError, match=rf"pair\.json: schema must be 1, got {schema}; .*{remedy}"):
        Records(tmp_path).all()


def test_a_record_that_was_read_is_the_one_that_was_written(tmp_path: Path) -> None:
    for record in climb(20, failing=frozenset({3, 7})):
        keep(Records(tmp_path), record)
        found = read_record(Records(tmp_path).path(record.pair.key))
        assert found == replace(record, files=found.files)
        assert found.pair.key == record.pair.key == content_key(found.pair.to_json())
        assert pickle.loads(pickle.dumps(found)) == found


def test_flipped_bits_and_lost_ends_of_a_record_are_all_found(tmp_path: Path) -> None:
    record, draw = made_up(), Random(0)
    keep(Records(tmp_path), record)
    path = Records(tmp_path).path(record.pair.key) / RECORD_FILE
    data = path.read_bytes()
    flips = [(draw.randrange(len(data)), 1 << draw.randrange(8)) for _ in range(2000)]
    hits = [data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :] for at, bit in flips]
    for hit in [*hits, *(data[:length] for length in range(0, len(data), 9))]:
        path.write_bytes(hit)
        assert Records(tmp_path).get(record.pair.key) is None
    path.write_bytes(data)
    assert Records(tmp_path).get(record.pair.key) is not None


def test_a_pair_whose_record_was_damaged_can_be_committed_again(tmp_path: Path) -> None:
    record = made_up()
    keep(Records(tmp_path), record)
    (Records(tmp_path).path(record.pair.key) / RECORD_FILE).unlink()
    records = Records(tmp_path)
    assert records.get(record.pair.key) is None
    assert keep(records, record)
    assert records.get(record.pair.key) is not None
    assert results.problems(records) == ()
    assert sum(".damaged-" in name for name in os.listdir(tmp_path / "pairs")) == 1


def test_a_record_under_the_key_of_another_is_told_of(tmp_path: Path) -> None:
    record, other = made_up(0), made_up(1)
    keep(Records(tmp_path), record)
    records = Records(tmp_path)
    records.path(record.pair.key).rename(records.path(other.pair.key))
    assert records.all() == ()
    assert f"the key must be {other.pair.key}, got {record.pair.key}" in str(records.problems()[0])


def test_a_number_that_is_not_finite_is_never_committed(tmp_path: Path) -> None:
    record = made_up()
    assert record.evaluation is not None
    spoiled = replace(record, evaluation=replace(record.evaluation, losses={"loss": (float("nan"),)}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        keep(Records(tmp_path), spoiled)
    assert Records(tmp_path).all() == ()


def test_other_folders_beside_the_records_are_none(tmp_path: Path) -> None:
    (tmp_path / "pairs" / "notes").mkdir(parents=True)
    assert Records(tmp_path).problems() == ()


def test_a_record_is_plain_json_that_any_program_can_read(tmp_path: Path) -> None:
    record = made_up()
    keep(Records(tmp_path), record)
    data = json.loads((Records(tmp_path).path(record.pair.key) / RECORD_FILE).read_text())
    assert (data["schema"], data["key"], data["state"]) == (1, record.pair.key, "done")
    assert PairRecord.from_json(data) == replace(record, files=data["files"])


def test_a_file_in_the_place_of_a_record_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / ("0" * 64)).write_text("")
    (problem,) = Records(tmp_path).problems()
    assert "Not a directory" in problem.value
    with pytest.raises(StorageError, match="Not a directory"):
        durable.read_json(tmp_path / "pairs" / ("0" * 64) / RECORD_FILE)


def test_records_that_are_asked_for_again_are_read_once(tmp_path: Path) -> None:
    records = Records(tmp_path)
    keep(records, made_up(0))
    before = records.all()
    assert records.all() is before
    keep(Records(tmp_path), made_up(1))
    assert [record.pair.index for record in records.all()] == [0, 1]
    assert records.all()[0] is before[0]


def test_a_record_whose_folder_is_gone_is_not_listed_any_more(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for index in (0, 1):
        keep(records, made_up(index))
    assert len(records.all()) == 2
    shutil.rmtree(records.path(made_up(1).pair.key))
    assert [record.pair.index for record in records.all()] == [0]


def test_records_in_another_process_read_for_themselves(tmp_path: Path) -> None:
    records = Records(tmp_path)
    keep(records, made_up())
    sent = pickle.dumps(records)
    assert len(sent) < 500
    assert pickle.loads(sent).all() == records.all()
