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

from jdn_core.errors import StorageError
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import RECORD_FILE, Records
from jdn_core.space.architecture import content_key
from jdn_core.storage import durable
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
    assert records.problems(files=True) == ()
    assert os.listdir(tmp_path / "pairs") == [record.pair.key]


def test_what_a_crash_left_half_done_is_no_record(tmp_path: Path) -> None:
    records = Records(tmp_path)
    staged = records.staging(made_up().pair.key)
    durable.write_bytes(staged / "weights.safetensors", b"weights")
    assert records.all() == ()
    assert durable.clean_leftovers(tmp_path) == (staged,)


def test_equal_results_have_an_equal_digest_whatever_the_clock_said(tmp_path: Path) -> None:
    record = made_up()
    assert record.evaluation is not None
    later = replace(record.evaluation, timing=replace(record.evaluation.timing, finished=2e9))
    digests = []
    for name, evaluation in (("a", record.evaluation), ("b", later), ("c", replace(later, params=1))):
        keep(Records(tmp_path / name), replace(record, evaluation=evaluation))
        digests.append(Records(tmp_path / name).digest())
    assert digests[0] == digests[1] != digests[2]


def without_seal(path: Path) -> str:
    """Makes the record one of those that were written before records had seals."""
    text = re.sub(r',"sha256":"[0-9a-f]{64}"(?=}\n\Z)', "", path.read_text())
    path.write_text(text)
    return text


def damaged(folder: Path, damage: Callable[[str], str], *, sealed: bool) -> str:
    """What is said of one of two records after the damage, which leaves the other one."""
    record, other = made_up(0), made_up(1)
    for each in (record, other):
        keep(Records(folder), each)
    path = Records(folder).path(record.pair.key) / RECORD_FILE
    path.write_text(damage(path.read_text() if sealed else without_seal(path)))
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
    assert "damaged or edited: the last member, sha256, is not" in damaged(tmp_path, damage, sealed=True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON"),
        (lambda text: "[]", "not a record"),
        (lambda text: text.replace('"schema":1', '"schema":2'), "schema must be 1, got 2"),
        (lambda text: text.replace('"params"', '"parameters"'), "not a record"),
        (lambda text: text.replace('"seed":0', '"seed":1'), "the key must be"),
        (lambda text: re.sub('"key":".', '"key":"x', text), "the key must be"),
        (
            lambda text: text.replace('"state":"done"', '"state":"doze"'),
            "a record is done with an evaluation",
        ),
        (lambda text: text.replace('"state":"done"', '"state":"failed"'), "or failed without, got 'failed'"),
    ],
)
def test_a_damaged_record_without_a_seal_is_left_out_and_told_of(
    tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    assert said in damaged(tmp_path, damage, sealed=False)


def test_a_record_of_before_there_were_seals_is_the_same_record(tmp_path: Path) -> None:
    record = made_up()
    keep(Records(tmp_path), record)
    (sealed,) = Records(tmp_path).all()
    without_seal(Records(tmp_path).path(record.pair.key) / RECORD_FILE)
    assert Records(tmp_path).all() == (sealed,)
    assert Records(tmp_path).digest() == content_key([record.digest])


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
    assert records.problems(files=True) == ()
    assert sum(".damaged-" in name for name in os.listdir(tmp_path / "pairs")) == 1


def test_a_record_under_the_key_of_another_is_told_of(tmp_path: Path) -> None:
    record, other = made_up(0), made_up(1)
    keep(Records(tmp_path), record)
    records = Records(tmp_path)
    records.path(record.pair.key).rename(records.path(other.pair.key))
    assert records.all() == ()
    assert f"the key must be {other.pair.key}, got {record.pair.key}" in str(records.problems()[0])


def test_files_are_checked_when_it_is_asked_for(tmp_path: Path) -> None:
    record = made_up()
    records = Records(tmp_path)
    keep(records, record)
    weights = records.path(record.pair.key) / "weights.safetensors"
    weights.write_bytes(b"Weights")
    assert records.problems() == ()
    (changed,) = records.problems(files=True)
    assert changed.what == f"SHA-256 must be {records.all()[0].files['weights.safetensors']}"
    weights.unlink()
    (missing,) = records.problems(files=True)
    assert (missing.where, missing.what) == ("weights.safetensors", "cannot be read")


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
    assert PairRecord.from_json(data).digest == record.digest


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
