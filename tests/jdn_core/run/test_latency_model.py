"""The latency model: it finds a sum over parts again, and says how far it is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jdn_core.evaluation.complexity import complexity
from jdn_core.run import latency_model
from jdn_core.search.pairs import PairRecord
from tests.made_up_search import FRAMES, make_records

FRAME = FRAMES[-1]


@pytest.fixture(scope="module")
def records() -> list[PairRecord]:
    """Every one with a student of its own."""
    unique = {record.pair.student: record for record in make_records(40)}
    return [*unique.values()]


def milliseconds(record: PairRecord) -> float:
    """A sum over parts: the head costs twice as much a MAC, and each block a hundredth of a millisecond."""
    parts, blocks = complexity(record.pair.student, FRAME), record.pair.student.backbone.stages
    return 1.0 + (parts.macs + parts.head.macs) / 1e8 + 0.01 * sum(map(len, blocks))


def timed(record: PairRecord, ms: float) -> PairRecord:
    assert record.evaluation is not None
    return replace(record, evaluation=replace(record.evaluation, latency={"edge": ms}))


def test_a_sum_over_parts_is_found_again(records: list[PairRecord]) -> None:
    seen, unseen = records[:-5], records[-5:]
    specs = [record.pair.student for record in seen]
    model = latency_model.fit(specs, [milliseconds(record) for record in seen], FRAME)
    assert model is not None
    assert model.measured == len(seen)
    for record in unseen:
        assert model.predict(record.pair.student, FRAME) == pytest.approx(milliseconds(record), rel=0.05)


def test_the_error_is_that_of_leaving_each_out(records: list[PairRecord]) -> None:
    draw = np.random.default_rng(0)
    some = records[:12]
    noisy = [milliseconds(record) * (1 + 0.05 * draw.standard_normal()) for record in some]
    table = np.stack([latency_model._features(record.pair.student, FRAME) for record in some])
    mean, scale = latency_model._standard(table)
    table = (table - mean) / scale
    times, penalty, missed = np.array(noisy), 0.1, []
    for left in range(len(some)):
        keep = np.arange(len(some)) != left
        features, others = table[keep], times[keep]
        centred = features - features.mean(axis=0)
        gram = centred.T @ centred + penalty * len(some) * np.eye(table.shape[1])
        weights = np.linalg.solve(gram, centred.T @ (others - others.mean()))
        predicted = others.mean() + (table[left] - features.mean(axis=0)) @ weights
        missed.append(abs(predicted - times[left]) / times[left])
    assert latency_model._left_out(table, times, penalty) == pytest.approx(float(np.median(missed)))


def test_what_is_measured_stays_and_the_rest_is_predicted(records: list[PairRecord]) -> None:
    failed = PairRecord(records[-1].pair, "failed", reason="nan")
    given = [*(timed(each, milliseconds(each)) for each in records[:10]), *records[10:-1], failed]
    found, model = latency_model.with_predictions(given, "edge")
    assert model is not None
    assert model.to_json().keys() == {"measured", "penalty", "error"}
    assert [each.evaluation.latency for each in found[:10]] == [
        each.evaluation.latency for each in given[:10]
    ]
    assert all("edge" in each.evaluation.latency for each in found[10:-1])
    assert found[-1] is failed


def test_nothing_is_predicted_from_three_or_where_all_is_measured(records: list[PairRecord]) -> None:
    few = [*(timed(each, milliseconds(each)) for each in records[:3]), *records[3:6]]
    found, model = latency_model.with_predictions(few, "edge")
    assert (model, [bool(each.evaluation.latency) for each in found]) == (None, [True] * 3 + [False] * 3)
    assert latency_model.with_predictions(few[:3], "edge") == (tuple(few[:3]), None)


def test_no_prediction_is_below_half_of_the_least(records: list[PairRecord]) -> None:
    specs = [record.pair.student for record in records[:8]]
    model = latency_model.fit(specs, [1e-3 + 10.0 * place for place in range(8)], FRAME)
    assert model is not None
    assert min(model.predict(record.pair.student, FRAME) for record in records) >= 1e-3 / 2
