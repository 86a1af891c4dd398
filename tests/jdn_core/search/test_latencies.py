"""Latencies as facts: beside a record and no part of it, the first one kept, read again by who goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.run.folder import Run
from jdn_core.search import latencies
from jdn_core.search.records import Records
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from jdn_core.settings.whole import parse
from jdn_core.storage import durable
from tests import results
from tests.latencies import latency
from tests.made_up_search import keep, keep_contenders, make_records


@pytest.fixture
def records(tmp_path: Path) -> Records:
    for record in make_records(4, failing={2}):
        keep(record, tmp_path)
    return Records(tmp_path)


def test_a_fact_is_beside_the_record_and_the_digest_does_not_hold_it(records: Records) -> None:
    before, digest = records.all(), results.digest(records)
    noted = records.note_latency(before[1].pair.key, "edge", latency(3.0))
    assert noted.evaluation is not None
    assert noted.evaluation.latency == {"edge": 3.0}
    assert (records.all(), results.digest(records)) == (before, digest)
    assert records.all()[1].evaluation.latency == {"edge": 3.0}
    assert results.problems(records) == ()


def test_who_goes_on_reads_it_and_the_first_fact_of_a_target_stays(records: Records, tmp_path: Path) -> None:
    key = records.all()[0].pair.key
    for target, ms in (("edge", 3.0), ("edge", 4.0), ("server", 1.0)):
        records.note_latency(key, target, latency(ms))
    read = Records(tmp_path).get(key)
    assert read is not None
    assert read.evaluation.latency == {"edge": 3.0, "server": 1.0}
    assert latencies.read(records.path(key))["edge"] == latency(3.0)


@pytest.mark.parametrize("text", ["", '{"schema": 1}', '{"schema": 1, "targets": {"edge": {"p90_ms": 1}}}'])
def test_a_damaged_file_holds_no_facts(records: Records, text: str) -> None:
    folder = records.path(records.all()[0].pair.key)
    (folder / latencies.FACTS_FILE).write_text(text)
    assert latencies.read(folder) == {}


def test_a_latency_of_nothing_is_none(tmp_path: Path) -> None:
    data = {"targets": {"edge": latency(1.0).to_json() | {"median_ms": 0.0}}}
    durable.write_json(tmp_path / latencies.FACTS_FILE, data, schema=1, seal=True)
    assert latencies.read(tmp_path) == {}


def test_only_a_record_has_facts(records: Records) -> None:
    with pytest.raises(KeyError):
        records.note_latency("0" * 64, "edge", latency(1.0))


def test_a_control_has_facts_too(tmp_path: Path) -> None:
    run = Run(parse({"name": "shapes", "search": {"controls": ["longer"]}}), tmp_path)
    keep_contenders(run, [keep(each, tmp_path) for each in make_records(4)], longer=1.1)
    (contender,) = [each.contender for each in run_records(run)]
    latencies.note(run.contenders.path("longer"), "edge", latency(2.0))
    found = run.contenders.get(contender)
    assert found is not None
    assert found.evaluation.latency == {"edge": 2.0}
    assert run.contenders.get(replace(contender, epochs=1)) is None


def run_records(run: Run) -> list:
    from jdn_core.run import outcome

    return list(outcome.of(run).records)


def test_pairs_are_ranked_by_what_the_target_measured(records: Records) -> None:
    score = ScoreSettings(cost="latency", target="edge")
    for index, ms in ((0, 10.0), (1, 1000.0), (3, 0.1)):
        key = next(each.pair.key for each in records.all() if each.pair.index == index)
        records.note_latency(key, "edge", latency(ms))
    standing = Standing(score, records.all())
    assert [graded.record.pair.index for graded in standing.ranked()] == [3, 0, 1]
