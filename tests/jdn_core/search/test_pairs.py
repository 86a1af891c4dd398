import json
from dataclasses import replace
from typing import Any

import pytest

from jdn_core.errors import FormatError
from jdn_core.search.pairs import BASE_ACTION, Measurement, Pair, PairRecord
from jdn_core.space.architecture import Resolution
from tests import results
from tests.jdn_core.search.worlds import BASE, SPACE, evaluate, start

PAIR = Pair("world", 3, 7, "ab" * 32, "add_layer:3", BASE, SPACE.smallest)


def test_a_pair_survives_json_with_its_key() -> None:
    again = Pair.from_json(json.loads(json.dumps(PAIR.to_json())))
    assert again == PAIR
    assert again.key == PAIR.key


@pytest.mark.parametrize(
    "change",
    [
        {"search": "other"},
        {"index": 4},
        {"seed": 8},
        {"parent": None},
        {"action": BASE_ACTION},
        {"student": replace(BASE, neck=24)},
        {"teacher": SPACE.largest},
    ],
)
def test_the_key_of_a_pair_follows_everything_in_it(change: dict[str, Any]) -> None:
    assert replace(PAIR, **change).key != PAIR.key


@pytest.mark.parametrize("failing", [frozenset(), frozenset({3})])
def test_a_record_survives_json(failing: frozenset[int]) -> None:
    record = replace(evaluate(PAIR, failing=failing), files={"weights.safetensors": "0" * 64})
    again = PairRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert again == record
    assert results.digest_of(again) == results.digest_of(record)
    assert record.to_json()["key"] == PAIR.key


def test_the_digest_leaves_out_what_the_clock_said_and_nothing_else() -> None:
    _, record = start()
    assert record.evaluation is not None
    later = replace(record.evaluation, timing=replace(record.evaluation.timing, finished=2e9, latency_ms={}))
    assert results.digest_of(replace(record, evaluation=later)) == results.digest_of(record)
    other = replace(record.evaluation, weights="1" * 64)
    assert results.digest_of(replace(record, evaluation=other)) != results.digest_of(record)


@pytest.mark.parametrize("schema", [None, 2])
def test_a_record_of_another_schema_is_refused(schema: int | None) -> None:
    with pytest.raises(FormatError, match=f"schema must be 1, got {schema}"):
        PairRecord.from_json({**evaluate(PAIR).to_json(), "schema": schema})


def test_ap_is_the_first_of_the_twelve_numbers() -> None:
    assert Measurement(Resolution(8, 8), {"AP": 0.123456789, "AP50": 0.5}, 10).ap == 0.123456789
