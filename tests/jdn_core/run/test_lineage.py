"""Pairs at a constant rate: measured by their average, gone on with from raw weights and momentum."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from jdn_core.detector.folder import load_detector
from jdn_core.detector.trunk import TRUNK_FILE, Trunk, has_trunk, load_trunk
from jdn_core.morphism.evolve import evolve, prunings
from jdn_core.processes import stopping
from jdn_core.processes.progress import listening
from jdn_core.processes.stopping import Stopped
from jdn_core.run import assemble, steps
from jdn_core.run.folder import Run
from jdn_core.run.inspection import inspect
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.space import actions
from jdn_core.storage import durable
from tests.jdn_core.tiny import equal
from tests.tiny_run import shapes, tiny_settings

_LINEAGE = {"schedule": "constant", "average": 1.0}
MEASURED = "weights.safetensors"


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose base, pool, pair 0 and pair 1, a teacher's mutation, are there."""
    folder = tmp_path_factory.mktemp("lineage")
    settings = tiny_settings(shapes(folder / "shapes"), base=_LINEAGE, evaluation=_LINEAGE)
    run = Run(settings, folder / "run")
    run.folder.mkdir()
    steps.ensure_base(run)
    for index in range(2):
        steps.ensure_phase(run, index)
    steps.ensure_base_record(run)
    evaluate(run, next_pair(run))
    return run


@pytest.fixture
def copied(lineage: Run, tmp_path: Path) -> Run:
    return Run(lineage.settings, shutil.copytree(lineage.folder, tmp_path / "run"))


@pytest.fixture
def _no_wish() -> Iterator[None]:
    yield
    stopping.clear()


def next_pair(run: Run) -> Pair:
    pair = HillClimber(assemble.climb_rules(run.settings), run.records.all()).ask()
    assert pair is not None
    return pair


def evaluate(run: Run, pair: Pair) -> PairRecord:
    student, teacher = steps.make_student(run, pair), steps.ensure_teacher(run, pair.teacher)
    return steps.ensure_record(run, pair, student, teacher)


def weights(trunk: Trunk) -> dict[str, Tensor]:
    return dict(trunk.detector.state_dict())


def test_a_record_has_the_measured_average_and_the_trunk(lineage: Run) -> None:
    base, first = lineage.records.all()
    for record in (base, first):
        folder = lineage.records.path(record.pair.key)
        assert record.files[TRUNK_FILE] == durable.sha256_of(folder / TRUNK_FILE)
        raw, measured = load_trunk(folder), load_detector(folder)
        assert raw.momentum.keys() == dict(raw.detector.named_parameters()).keys()
        assert not equal(weights(raw), measured.state_dict())
    assert base.files[TRUNK_FILE] == durable.sha256_of(lineage.base / TRUNK_FILE)
    assert inspect(lineage).problems == []


def test_a_teachers_mutation_begins_with_raw_weights_and_momentum_of_its_parent(copied: Run) -> None:
    record = copied.records.all()[1]
    assert record.pair.action.startswith("teacher:")
    student, parent = load_trunk(steps.make_student(copied, record.pair)), load_trunk(copied.base)
    assert equal(weights(student), weights(parent))
    assert equal(dict(student.momentum), dict(parent.momentum))


def test_what_pruning_would_leave_is_told_of_the_raw_weights(lineage: Run) -> None:
    record = lineage.records.all()[1]
    assert record.evaluation is not None
    folder = lineage.records.path(record.pair.key)
    raw = load_trunk(folder).detector
    assert "prune_layer" in record.evaluation.prunings
    for key, packed in record.evaluation.prunings.items():
        assert evolve(raw, actions.parse(key)).spec.backbone.pack() == packed


def test_every_pair_becomes_the_student_that_was_proposed(copied: Run) -> None:
    for _ in range(3):
        pair = next_pair(copied)
        record = evaluate(copied, pair)
        folder = copied.records.path(pair.key)
        assert record.state == "done"
        assert load_detector(folder).spec == pair.student
        assert load_trunk(folder).detector.spec == pair.student


@pytest.mark.usefixtures("_no_wish")
def test_a_pair_that_was_stopped_ends_with_the_same_average_and_trunk(lineage: Run, copied: Run) -> None:
    record = lineage.records.all()[1]
    shutil.rmtree(copied.records.path(record.pair.key))
    cut = Run(copied.settings, copied.folder)
    with pytest.raises(Stopped), listening(lambda *_: stopping.request()):
        evaluate(cut, record.pair)
    assert list((cut.folder / "work" / "checkpoints").rglob("epoch-0-step-1.safetensors"))
    stopping.clear()
    again = evaluate(cut, record.pair)
    assert {name: again.files[name] for name in (MEASURED, TRUNK_FILE)} == {
        name: record.files[name] for name in (MEASURED, TRUNK_FILE)
    }


def test_a_cosine_child_of_a_trunk_inherits_it_and_leaves_none(lineage: Run, copied: Run) -> None:
    assert lineage.settings.data.root is not None
    cosine = Run(tiny_settings(lineage.settings.data.root, base=_LINEAGE), copied.folder)
    pair = next_pair(cosine)
    student = steps.make_student(cosine, pair)
    assert has_trunk(student)
    record = steps.ensure_record(cosine, pair, student, steps.ensure_teacher(cosine, pair.teacher))
    assert TRUNK_FILE not in record.files
    assert record.evaluation is not None
    kept = load_detector(cosine.records.path(pair.key))
    shares = cosine.settings.search.prune_shares
    ahead = {key: backbone.pack() for key, backbone in prunings(kept, shares).items()}
    assert record.evaluation.prunings == ahead


def test_a_cool_down_begins_with_the_raw_weights(lineage: Run, tmp_path: Path) -> None:
    assert lineage.settings.data.root is not None
    still = tiny_settings(lineage.settings.data.root, base=_LINEAGE, evaluation={**_LINEAGE, "lr": 1e-30})
    record = lineage.records.all()[1]
    training = steps.finish(Run(still, lineage.folder), record, epochs=1, folder=tmp_path / "finished")
    raw = load_trunk(lineage.records.path(record.pair.key)).detector
    finished = load_detector(tmp_path / "finished")
    assert equal(dict(finished.named_parameters()), dict(raw.named_parameters()))
    assert not has_trunk(tmp_path / "finished")
    assert training.losses["loss_classifier"]
