"""Arms by their keys, costs by counting, and results that come back as they were kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jdn_core.errors import CheckpointError, UsageError
from jdn_core.evaluation.bootstrap import ClassMatches, Matches
from jdn_core.evaluation.complexity import complexity
from jdn_core.pool.shrinking import Phase
from jdn_core.settings.pool import PhaseSettings
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace
from jdn_core.studies import catalogue, results
from jdn_core.studies.arms import Arm, Base, Fresh, Piece, Pruning, Searched
from jdn_core.studies.costs import Cost, phase_cost, training_cost
from jdn_core.studies.quick import quick
from jdn_core.studies.results import ArmResult, Numbers
from jdn_core.training.randomness import Stream
from tests.tiny_run import tiny_settings

FRAMES = (Resolution(48, 48), Resolution(64, 64))
SPEC = DetectorSpec(family("r18", width=0.125), ((1, "thing"),), neck=16, head=16, resolution=FRAMES[-1])
SPACE = SubnetSpace(((1, 2), (1, 1), (1, 1), (1, 1)), (1.0,), width=0.125, neck=16, head=16)
REGIME = TrainingSettings(epochs=3, batch=4)
SETTINGS = tiny_settings(Path("nowhere"))


def piece(**changes: object) -> Piece:
    return replace(Piece(REGIME, SETTINGS.distillation), **changes)


def test_a_key_is_of_all_but_the_name() -> None:
    arm = Arm("one", Base(), Pruning(0.1), (piece(),))
    assert replace(arm, name="two").key == arm.key
    others = (
        replace(arm, source=Fresh()),
        replace(arm, pruning=Pruning(0.2)),
        replace(arm, pieces=(piece(teacher=SPACE.largest),)),
        replace(arm, chosen_by="score"),
    )
    assert len({arm.key, *(other.key for other in others)}) == 5


def test_only_what_has_a_teacher_or_a_search_needs_a_pool() -> None:
    assert not Arm("plain", Base(), pieces=(piece(),)).needs_pool
    assert Arm("taught", Base(), pieces=(piece(teacher=SPACE.largest),)).needs_pool
    assert Arm("searched", Searched(3)).needs_pool


def test_a_training_costs_its_images_through_student_and_teacher() -> None:
    each = sum(complexity(SPEC, frame).macs for frame in FRAMES) / 2
    alone = training_cost([SPEC], REGIME, images=18, frames=FRAMES)
    assert alone == pytest.approx(3 * 16 * each)  # two of eighteen fill no batch
    assert training_cost([SPEC, SPEC], REGIME, images=18, frames=FRAMES) == pytest.approx(2 * alone)


def test_a_phase_costs_the_subnets_that_it_draws() -> None:
    training = PhaseSettings(name="p", epochs=1, batch=4, sampling="sandwich")
    phase = Phase(SPACE, training)
    small, large = (
        sum(complexity(SPACE.detector_spec(each, SPEC), frame).macs for frame in FRAMES) / 2
        for each in (SPACE.smallest, SPACE.largest)
    )
    found = phase_cost(phase, SPEC, stream=Stream((0,)), images=4, frames=FRAMES)
    assert found in (pytest.approx(4 * (2 * large + small)), pytest.approx(4 * (large + 2 * small)))


def matches() -> Matches:
    hit = np.array([[True, False]] * 10)
    each = ClassMatches(np.array([1, 2]), np.array([0, 1]), np.array([0, 1]), hit, ~hit)
    return Matches((3, 5), (each, each))


def kept(folder: Path) -> ArmResult:
    staged = results.staging(folder)
    results.write_matches(matches(), staged)
    numbers = Numbers(FRAMES[0], 7, {"48x48": 9}, {"48x48": 0.25}, 0.5, 0.9, (0.0, 1.5))
    return results.commit(ArmResult("k", 3, Cost(10, 2.5), numbers), staged, folder)


def test_a_result_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    result = kept(tmp_path / "arm")
    assert results.read(tmp_path / "arm", key="k") == result
    assert results.read(tmp_path / "arm", key="another") is None
    assert results.read(tmp_path / "nothing", key="k") is None
    found = results.read_matches(tmp_path / "arm", result)
    assert found.images == (3, 5)
    for got, put in zip(found.classes, matches().classes, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got, put, strict=True))


def test_damage_is_noticed(tmp_path: Path) -> None:
    result = kept(tmp_path / "arm")
    file = tmp_path / "arm" / results.MATCHES_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        results.read_matches(tmp_path / "arm", result)
    (tmp_path / "arm" / results.ARM_FILE).write_text("{}\n")
    assert results.read(tmp_path / "arm", key="k") is None
    assert not (tmp_path / "arm").exists()
    assert kept(tmp_path / "arm") == result


def test_a_study_is_found_by_name_or_label() -> None:
    assert catalogue.find("distillation") is catalogue.find("t3")
    assert catalogue.find("T5").name == "joint"
    with pytest.raises(UsageError, match="distilation: no such study; did you mean distillation"):
        catalogue.find("distilation")


def test_quick_settings_are_the_smallest_that_still_make_batches() -> None:
    given = tiny_settings(Path("nowhere"), base={"epochs": 9, "batch": 40}, data={"max_train_images": 100})
    found = quick(given)
    assert (found.base.epochs, found.evaluation.epochs, found.search.iterations) == (1, 1, 2)
    assert [phase.epochs for phase in found.pool.phases] == [1, 1]
    assert found.data.max_train_images == 40
    assert quick(found) == found
