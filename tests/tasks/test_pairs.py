"""The jobs and the tasks of a search: inherited weights, failures as records, foreign stages refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from jdn_core.detector.folder import load_detector
from jdn_core.errors import DataError, InputMissing, SearchFailed, SettingsError
from jdn_core.pool.folder import load_pool_spec
from jdn_core.processes import devices
from jdn_core.processes.attempts import Failure
from jdn_core.processes.devices import shares
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble, datasets, steps
from jdn_core.run.checks import check_inputs, refuse_failures
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings, parse
from jdn_core.storage import durable
from tasks import pairs, pool
from tests.tiny_run import shapes, tiny_settings, trained_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose base, pool and pair 0 are there."""
    folder = tmp_path_factory.mktemp("trained")
    return trained_run(tiny_settings(shapes(folder / "shapes")), folder / "run")


def like(run: Run, **sections: dict[str, Any]) -> Run:
    """The same folder under settings that differ in a section."""
    assert run.settings.data.root is not None
    return Run(tiny_settings(run.settings.data.root, **sections), run.folder)


def climber(run: Run) -> HillClimber:
    return HillClimber(assemble.climb_rules(run.settings), run.records.all())


def evaluate(run: Run, pair: Pair) -> PairRecord:
    return steps.ensure_record(
        run, pair, steps.make_student(run, pair), steps.ensure_teacher(run, pair.teacher)
    )


def test_pair_0_is_the_base_untrained_and_is_measured_once(trained: Run) -> None:
    (record,) = trained.records.all()
    assert record.evaluation is not None
    assert record.evaluation.weights == durable.sha256_of(trained.base / "weights.safetensors")
    assert set(record.files) == {"detector.json", "weights.safetensors", "detections.png"}
    assert steps.ensure_base_record(trained) == record


def test_a_teachers_mutation_inherits_the_students_weights(trained: Run) -> None:
    pair = climber(trained).ask()
    assert pair is not None
    assert pair.action.startswith("teacher:")
    student = load_detector(steps.make_student(trained, pair)).state_dict()
    parent = load_detector(trained.base).state_dict()
    assert all(torch.equal(tensor, parent[name]) for name, tensor in student.items())


def test_bn_reset_is_kept_for_later_pairs(trained: Run) -> None:
    subnet = trained.settings.subnet_space.smallest
    folder = steps.ensure_teacher(trained, subnet)
    stamp = (folder / "weights.safetensors").stat().st_mtime_ns
    assert steps.ensure_teacher(trained, subnet) == folder
    assert (folder / "weights.safetensors").stat().st_mtime_ns == stamp


def test_a_loss_that_explodes_is_a_failed_record_and_too_many_stop_the_search(
    trained: Run, tmp_path: Path
) -> None:
    wild = like(
        trained,
        evaluation={"lr": 1e30, "clip_norm": 1e30},
        search={"max_failures": 2, "frozen_student_iterations": 9},
    )
    run = Run(wild.settings, tmp_path)
    for stage in ("base", "pool"):
        (tmp_path / stage).symlink_to(trained.folder / stage)
    steps.ensure_base_record(run)
    climbing, standing = climber(run), Standing(run.settings.score, run.records.all())
    for _ in range(2):
        refuse_failures(standing, 2)
        pair = climbing.ask()
        assert pair is not None
        record = evaluate(run, pair)
        climbing.tell(record)
        assert record.state == "failed"
        assert record.reason.startswith("nan: epoch 1 step ")
        assert pairs.score_pair.fn(standing, record) == (record, None)
    with pytest.raises(SearchFailed, match=r"the last 2 pairs failed:\npair 1: nan: epoch 1 step"):
        refuse_failures(standing, 2)
    assert [graded.record.pair.index for graded in pairs.update_top_k.fn(run, standing)] == [0]


def test_what_fails_for_good_in_a_worker_is_a_record_too(trained: Run, tmp_path: Path) -> None:
    run = Run(trained.settings, tmp_path)
    for stage in ("base", "pool", "pairs"):
        shutil.copytree(trained.folder / stage, tmp_path / stage)
    pair = climber(run).ask()
    assert pair is not None
    shutil.rmtree(run.pool)
    with Workers(shares(1, device="cpu", threads=1)) as workers:
        student = pairs.mutate_pair.fn(run, pair, workers)
        with pytest.raises(InputMissing, match=r"pool\.json"):
            pairs.reset_bn.fn(run, pair.teacher, workers)
        record = pairs.fast_evaluate.fn(run, pair, student, Failure("oom: peak 9 of 8 GiB"), workers)
    assert isinstance(student, Path)
    assert (record.state, record.reason) == ("failed", "oom: peak 9 of 8 GiB")
    assert steps.ensure_record(run, pair, student, student) == record


def test_a_pool_tells_of_its_whole_training(trained: Run) -> None:
    origin, settings = load_pool_spec(trained.pool).origin, trained.settings
    told = parse(origin.settings)
    assert (told.seed, told.pool, told.data.frames) == (settings.seed, settings.pool, settings.data.frames)
    assert origin.dataset == datasets.dataset(settings.data, "train").fingerprint
    assert list(origin.curves) == sorted(phase.name for phase in settings.pool.phases)
    for phase in settings.pool.phases:
        assert {len(values) for values in origin.curves[phase.name].values()} == {phase.epochs}
    assert str(settings.data.root) not in (trained.pool / "pool.json").read_text()


def test_a_pool_of_another_space_is_refused(trained: Run) -> None:
    space = {"depths": [[1, 1]] * 4, "widths": [1.0], "width": 0.125, "neck": 16, "head": 16}
    phase = {"name": "supernet", "epochs": 1, "batch": 4}
    other = like(trained, pool={"space": space, "phases": [phase]})
    with pytest.raises(SettingsError, match=r"settings: pool\.space: the pool has SubnetSpace"):
        pool.check_pool.fn(other)


def test_a_pool_under_another_normalisation_than_the_base_is_refused(trained: Run, tmp_path: Path) -> None:
    for stage in ("base", "pool"):
        shutil.copytree(trained.folder / stage, tmp_path / stage)
    run = Run(trained.settings, tmp_path)
    pool.check_pool.fn(run)
    data = durable.read_json(tmp_path / "pool" / "pool.json")
    data["template"]["mean"] = [0.0, 0.0, 0.0]
    durable.write_json(tmp_path / "pool" / "pool.json", data)
    said = r"^pool\.json: template\.mean: must be the base's \(0\.485, .*take a pool trained under"
    for refuse in (lambda: pool.check_pool.fn(run), lambda: check_inputs(run.settings, tmp_path)):
        with pytest.raises(SettingsError, match=said):
            refuse()


def test_a_base_of_other_classes_is_refused(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.base, tmp_path / "base")
    data = durable.read_json(tmp_path / "base" / "detector.json")
    data["classes"][0][1] = "kernel"
    durable.write_json(tmp_path / "base" / "detector.json", data)
    with pytest.raises(DataError, match=r"^base/detector\.json: classes: must be .* \(1, 'kernel'\)"):
        steps.ensure_base_record(Run(trained.settings, tmp_path))


def test_a_batch_larger_than_the_data_names_every_such_setting(trained: Run) -> None:
    large = like(trained, base={"batch": 64}, evaluation={"batch": 17})
    with pytest.raises(SettingsError) as caught:
        datasets.check_data(large.settings)
    assert [problem.where for problem in caught.value.problems] == ["base.batch", "evaluation.batch"]


def test_a_run_without_data_says_how_to_name_it() -> None:
    with pytest.raises(InputMissing, match=r"name its folder with --data DIR or data\.root"):
        datasets.dataset(Settings().data, "train")


def test_a_device_that_is_not_there_is_a_problem_of_the_settings() -> None:
    if torch.cuda.is_available():
        assert devices.choose("auto").type == "cuda"
    else:
        assert devices.choose("auto").type == "cpu"
        with pytest.raises(SettingsError, match=r"torch sees no GPU here, got 'cuda'"):
            devices.choose("cuda")
