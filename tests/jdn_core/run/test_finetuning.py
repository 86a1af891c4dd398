"""Fine-tuning after a search: under the teacher or alone, of a pair or of the result, once, beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.detector.folder import load_detector, load_spec
from jdn_core.errors import InputMissing
from jdn_core.evaluation.detection import evaluate
from jdn_core.run import finetuning, outcome, steps, warm
from jdn_core.run.folder import Run
from jdn_core.search import finetunings
from jdn_core.search.finetunings import FineTuned
from jdn_core.storage import durable
from tests import results
from tests.contested_search import contested

pytestmark = pytest.mark.slow
DISTILLED = "loss_feature"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return contested(tmp_path_factory.mktemp("searched"))


def finetuned(run: Run, *, index: int | None = None, alone: bool = False) -> FineTuned:
    return finetuning.ensure_finetuned(run, finetuning.wanted(run, index=index, epochs=2, alone=alone))


def test_the_result_is_trained_on_and_measured_on_both_kinds_of_photos(searched: Run) -> None:
    before, found = results.digest(searched.records), outcome.of(searched)
    record = finetuned(searched)
    assert record.tuning.weights == found.result.evaluation.weights
    assert record.tuning.resolution == found.result.grade.measurement.resolution
    assert record.before == found.result.grade.measurement
    assert {len(values) for values in record.evaluation.losses.values()} == {2}
    folder = searched.finetuning(record.tuning.name)
    bench, detector = warm.bench(searched.settings), load_detector(folder)
    (again,) = evaluate(detector, bench.val, [record.tuning.resolution]).values()
    assert record.after.ap == again.AP
    assert load_spec(folder).resolution == record.tuning.resolution
    seen = record.held_out
    assert seen is not None
    assert found.held_out is not None
    assert (seen.images, seen.boxes) == (found.held_out.images, found.held_out.boxes)
    assert seen.before == found.held_out.measured[found.result.name].ap
    assert seen.difference.value == pytest.approx(seen.after - seen.before)
    assert results.digest(searched.records) == before


@pytest.mark.parametrize("alone", [False, True])
def test_a_pair_is_taught_by_its_own_teacher_or_by_none(searched: Run, alone: bool) -> None:
    best = outcome.of(searched).winner.record
    record = finetuned(searched, index=best.pair.index, alone=alone)
    assert record.tuning.start == f"pair {best.pair.index}"
    assert record.tuning.teacher == (None if alone else best.pair.teacher)
    assert (DISTILLED in record.evaluation.losses) is not alone
    assert not searched.teacher(best.pair.teacher).exists()


def test_nothing_is_trained_twice_and_nothing_is_left_over(searched: Run) -> None:
    first = finetuned(searched)
    folder = searched.finetuning(first.tuning.name)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert finetuned(searched) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert not searched.finetuning_work(first.tuning.name).exists()
    assert not (searched.folder / "work" / "checkpoints" / "finetune" / first.tuning.key).exists()


def test_a_damaged_record_is_made_again(searched: Run) -> None:
    first = finetuned(searched, alone=True)
    folder = searched.finetuning(first.tuning.name)
    (folder / finetunings.RECORD_FILE).write_text("{}")
    assert folder not in finetunings.all_in(searched.finetuning())
    again = finetuned(searched, alone=True)
    assert again.evaluation.weights == first.evaluation.weights
    assert finetunings.all_in(searched.finetuning())[folder] == again


def test_a_control_that_never_had_a_teacher_learns_alone(searched: Run) -> None:
    found = outcome.of(searched)
    names = {each.name: finetuning._taught(found, each) for each in found.entrants}
    best = found.winner.record
    assert (names["longer"], names["scaled"], names["distilled"], names["winner"]) == (None, None, best, best)


def test_what_is_not_there_is_said(searched: Run) -> None:
    with pytest.raises(InputMissing, match="no finished pair 99; there are"):
        finetuning.wanted(searched, index=99, epochs=1, alone=False)
    tuning = finetuning.wanted(searched, index=0, epochs=1, alone=True)
    for gone in (replace(tuning, pair="0" * 64), replace(tuning, contender="nobody")):
        with pytest.raises(InputMissing, match="the record of pair 0 is gone"):
            finetuning.ensure_finetuned(searched, gone)


def test_a_rate_that_stays_falls_to_zero_and_one_that_falls_is_kept(searched: Run) -> None:
    evaluation = searched.settings.evaluation
    cosine = finetuning.regime_of(evaluation, epochs=7)
    assert (cosine.epochs, cosine.schedule) == (7, evaluation.schedule)
    constant = evaluation.model_copy(update={"schedule": "constant", "average": 1.0})
    assert finetuning.regime_of(constant, epochs=7) == steps.cooling(constant, epochs=7)


def test_a_record_without_held_out_photos_is_read_back(searched: Run, tmp_path: Path) -> None:
    record = replace(finetuned(searched), held_out=None)
    durable.write_json(tmp_path / finetunings.RECORD_FILE, record.to_json(), seal=True)
    read = finetunings.read(tmp_path, record.tuning)
    assert read is not None
    assert json.dumps(read.to_json()) == json.dumps(record.to_json())


def test_who_comes_second_keeps_what_is_there(searched: Run) -> None:
    record = finetuned(searched)
    folder = searched.finetuning(record.tuning.name)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    staged = durable.stage_folder(folder)
    shutil.copytree(folder, staged, dirs_exist_ok=True)
    (staged / finetunings.RECORD_FILE).unlink()
    assert finetunings.commit(record, staged, folder) == record
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
