import json
import pickle
from dataclasses import replace

import pytest

from jdn_core.search.pairs import PairRecord
from jdn_core.search.reading import Unread, record_of
from jdn_core.space.architecture import canonical_json, content_key
from tests.jdn_core.search.test_hill_climbing import climb
from tests.jdn_core.search.worlds import evaluate, start

FAILING = frozenset({3, 7})
MARKS = ("prospects", "timing", "student", "teacher", "schema", 'a","student":{')


def text_of(record: PairRecord) -> str:
    return canonical_json(record.to_json())


def test_what_is_read_quickly_is_what_is_read_slowly() -> None:
    for record in climb(20, failing=FAILING):
        quick, slow = record_of(text_of(record)), PairRecord.from_json(json.loads(text_of(record)))
        assert quick == slow == record
        assert text_of(quick) == text_of(record)
        assert (quick.digest, quick.pair.key) == (record.digest, record.pair.key)
        assert quick.pair.key == content_key(quick.pair.to_json())


@pytest.mark.parametrize("name", MARKS)
def test_names_of_members_mislead_no_reader(name: str) -> None:
    _, record = start()
    assert record.evaluation is not None
    named = replace(record.evaluation, losses={name: (1.0,), "z": (2.0, 3.0)})
    for odd in (
        replace(record, evaluation=named),
        replace(record, files={name: "0" * 64}),
        replace(record, pair=replace(record.pair, search=name)),
        PairRecord(record.pair, "failed", reason=f'"{name}":'),
    ):
        assert record_of(text_of(odd)) == odd


def test_a_record_of_another_schema_is_refused() -> None:
    _, record = start()
    later = canonical_json({**record.to_json(), "schema": 2})
    with pytest.raises(ValueError, match=r"pair\.json schema must be 1, got 2"):
        record_of(later)


def test_a_state_that_there_is_not_is_refused() -> None:
    _, record = start()
    with pytest.raises(ValueError, match="a record is done with an evaluation or failed without, got 'doze'"):
        record_of(canonical_json({**record.to_json(), "state": "doze"}))


def test_what_pairs_have_in_common_is_one_value() -> None:
    records = [record_of(text_of(record)) for record in climb(3)]
    assert records[0].pair.student is records[1].pair.student is records[2].pair.student
    assert record_of(text_of(records[2])).pair.teacher is records[2].pair.teacher


def test_an_object_that_was_not_read_yet_is_like_the_one_it_holds() -> None:
    data = {"prune_layer": {"stem": 8}, "prune_channels:0.05": {"stem": 4}}
    unread = Unread(json.dumps(data))
    assert unread == data == pickle.loads(pickle.dumps(unread))
    assert (len(unread), list(unread), unread["prune_layer"]) == (2, list(data), {"stem": 8})
    assert json.loads(repr(unread)) == data
    with pytest.raises(KeyError, match="nothing"):
        unread["nothing"]


def test_a_record_that_was_read_can_be_sent_to_another_process() -> None:
    record = record_of(text_of(evaluate(climb(2)[2].pair)))
    again = pickle.loads(pickle.dumps(record))
    assert again == record
    assert again.pair.key == record.pair.key
