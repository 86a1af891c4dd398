"""What is to stand beside a winner: pure in the records, kept once, graded by the search's own photos."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.errors import FormatError
from jdn_core.search.contenders import (
    Bound,
    Contender,
    ContenderRecord,
    ContenderRecords,
    Contest,
    Entrant,
    entrants,
    lineage,
    result,
    wanted,
    winner,
)
from jdn_core.search.pairs import Evaluation, PairRecord
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from tests.made_up_search import make_records

ALL = Contest(12, 3, 0.25, ("longer", "distilled", "scaled"))


@pytest.fixture
def standing() -> Standing:
    return Standing(ScoreSettings(), make_records(40, failing={5}))


def with_ap(record: PairRecord, factor: float) -> Evaluation:
    assert record.evaluation is not None
    changed = tuple(
        replace(each, coco={**each.coco, "AP": factor * each.ap}) for each in record.evaluation.measurements
    )
    return replace(record.evaluation, measurements=changed)


def control(standing: Standing, name: str, factor: float) -> ContenderRecord:
    """A control that costs what the winner costs and has ``factor`` times its AP."""
    contender = next(each for each in wanted(standing, ALL) if each.name == name)
    record = winner(standing).record
    return ContenderRecord(contender, record.pair.student, with_ap(record, factor))


def test_a_lineage_leads_from_the_base_to_the_pair(standing: Standing) -> None:
    record = winner(standing).record
    found = lineage(standing, record)
    parents = [standing.records[0].pair.key, *(each.pair.key for each in found[:-1])]
    assert [each.pair.parent for each in found] == parents
    assert found[-1] is record
    assert lineage(standing, standing.records[0]) == ()


def test_every_contender_has_the_epochs_of_the_winners_lineage(standing: Standing) -> None:
    ancestors = lineage(standing, winner(standing).record)
    before = 12 + 3 * len(ancestors)
    finish = math.ceil(0.25 * before)
    found = {each.name: each for each in wanted(standing, ALL)}
    assert [*found] == ["winner", "longer", "distilled", "scaled"]
    assert {(each.epochs, each.finish) for each in found.values()} == {(before + finish, finish)}
    assert found["winner"].pair == winner(standing).record.pair.key
    assert found["distilled"].lineage == tuple(each.pair.key for each in ancestors)


def test_a_narrower_net_may_cost_what_the_winner_costs_at_its_frame(standing: Standing) -> None:
    grade = winner(standing).grade
    assert grade is not None
    (found,) = wanted(standing, ALL._replace(controls=("scaled",), finish=0.0))
    assert found.bound == Bound(grade.measurement.resolution, grade.measurement.macs)


def test_beside_a_base_that_has_won_there_is_nothing_to_tell_apart() -> None:
    alone = Standing(ScoreSettings(), make_records(1))
    assert [each.name for each in wanted(alone, ALL)] == ["winner"]
    assert wanted(alone, ALL._replace(finish=0.0)) == ()


def test_where_no_pair_keeps_the_bounds_the_base_stands_for_the_winner() -> None:
    unreachable = Standing(ScoreSettings(min_ap=0.99), make_records(8))
    assert winner(unreachable).record.pair.index == 0
    with pytest.raises(ValueError, match="no evaluated base"):
        winner(Standing(ScoreSettings()))


def test_json_gives_back_the_record_and_refuses_another_schema(standing: Standing) -> None:
    for name in ("longer", "distilled", "scaled"):
        record = control(standing, name, 1.0)
        assert ContenderRecord.from_json(record.to_json()) == record
    with pytest.raises(FormatError):
        ContenderRecord.from_json(record.to_json() | {"schema": 99})


def test_keys_tell_contenders_apart(standing: Standing) -> None:
    more = ALL._replace(pair_epochs=4)
    keys = {each.key for contest in (ALL, more) for each in wanted(standing, contest)}
    assert len(keys) == 8


def test_the_result_is_the_best_under_h(standing: Standing) -> None:
    worse, better = control(standing, "longer", 0.9), control(standing, "scaled", 1.1)
    found = entrants(standing, [worse, better])
    assert [each.name for each in found] == ["winner", "longer", "scaled"]
    assert result(found).name == "scaled"
    assert result(entrants(standing, [worse])).name == "winner"
    assert found[2].evaluation is better.evaluation


def test_of_equals_the_search_s_own_is_the_result(standing: Standing) -> None:
    assert result(entrants(standing, [control(standing, "longer", 1.0)])).name == "winner"


@pytest.mark.parametrize(("factor", "is_finished"), [(1.1, True), (0.9, False)])
def test_a_winner_that_training_on_made_worse_stays_as_it_was(
    standing: Standing, factor: float, is_finished: bool
) -> None:
    (found,) = entrants(standing, [control(standing, "winner", factor)])
    assert (found.contender is not None, found.pair is None) == (is_finished, is_finished)


def test_a_failed_control_does_not_stand_for_anything(standing: Standing) -> None:
    failed = ContenderRecord(wanted(standing, ALL)[1], reason="oom: peak 2 GiB")
    assert ContenderRecord.from_json(failed.to_json()) == failed
    assert [each.name for each in entrants(standing, [failed])] == ["winner"]


def committed(records: ContenderRecords, record: ContenderRecord) -> ContenderRecord:
    staged = records.staging(record.contender.name)
    (staged / "weights.safetensors").write_bytes(record.contender.key.encode())
    return records.commit(record, staged)


def test_a_record_is_read_back_whole(standing: Standing, tmp_path: Path) -> None:
    records, record = ContenderRecords(tmp_path), control(standing, "longer", 1.0)
    assert records.get(record.contender) is None
    kept = committed(records, record)
    assert kept == records.get(record.contender) == replace(record, files=kept.files)
    assert list(kept.files) == ["weights.safetensors"]
    assert committed(records, replace(record, reason="another")) == kept  # the first one stays


def test_the_record_of_an_earlier_winner_makes_room(standing: Standing, tmp_path: Path) -> None:
    records, old = ContenderRecords(tmp_path), control(standing, "longer", 1.0)
    committed(records, old)
    new = replace(old, contender=replace(old.contender, epochs=99))
    assert records.get(new.contender) is None
    assert committed(records, new).contender == new.contender
    assert records.get(old.contender) is None


def test_a_damaged_record_counts_for_none_and_is_replaced(standing: Standing, tmp_path: Path) -> None:
    records, record = ContenderRecords(tmp_path), control(standing, "scaled", 1.0)
    committed(records, record)
    file = records.path("scaled") / "contender.json"
    file.write_bytes(file.read_bytes().replace(b"scaled", b"scalex"))
    assert records.get(record.contender) is None
    assert committed(records, record) == records.get(record.contender)


def test_an_entrant_has_the_evaluation_of_its_record(standing: Standing) -> None:
    best = winner(standing)
    assert best.grade is not None
    assert Entrant("winner", best.record, None, best.grade).evaluation is best.record.evaluation
    assert isinstance(wanted(standing, ALL)[0], Contender)
