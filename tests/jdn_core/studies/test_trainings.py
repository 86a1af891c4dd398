"""Arms trained for real, only small: what they begin with, what they cost, and what they end as."""

from __future__ import annotations

import pytest
import torch

from jdn_core.detector.folder import load_detector
from jdn_core.evaluation.complexity import complexity
from jdn_core.run import steps
from jdn_core.studies import answer, trained, trainings
from jdn_core.studies.arms import Arm, Base, Bred, Fresh, Piece, Pruning, Taken
from jdn_core.studies.folder import StudyFolder
from jdn_core.studies.results import ArmResult
from jdn_core.studies.study import LOSSES, regime_of, weighing
from tests.tiny_run import shapes, tiny_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A folder with the base and the pool of one seed; rates are constant, as lineages want them."""
    folder = tmp_path_factory.mktemp("studies")
    constant = {"schedule": "constant", "average": 1.0}
    settings = tiny_settings(
        shapes(folder / "shapes"), base=constant, evaluation=constant, data={"holdout": 0.5}
    )
    studies = StudyFolder(settings, folder / "out")
    run = studies.run(0)
    run.folder.mkdir(parents=True)
    steps.ensure_base(run)
    for index in range(2):
        steps.ensure_phase(run, index)
    return studies


def plain(studies: StudyFolder, **changes: int) -> Piece:
    return Piece(regime_of(studies.settings.evaluation, **changes), weighing(studies.settings))


def trained_arm(studies: StudyFolder, arm: Arm) -> ArmResult:
    result = trainings.ensure_arm(studies, 0, arm)
    assert result.numbers is not None, result.reason
    return result


def same(studies: StudyFolder, one: Arm, other: Arm) -> bool:
    """Whether two arms have the same weights, bit for bit."""
    states = [load_detector(studies.arm(0, arm)).state_dict() for arm in (one, other)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_base_and_the_same_trained_anew_are_equal(studies: StudyFolder) -> None:
    base = Arm("base", Base())
    again = Arm(
        "again", Fresh(), pieces=(Piece(regime_of(studies.settings.base), weighing(studies.settings)),)
    )
    first, second = trained_arm(studies, base), trained_arm(studies, again)
    assert same(studies, base, again)
    assert first.numbers == second.numbers
    assert first.cost.image_macs == pytest.approx(second.cost.image_macs)


def test_pieces_go_on_from_each_other_and_cost_their_sum(studies: StudyFolder) -> None:
    piece = plain(studies)
    one, two = Arm("one", Base(), pieces=(piece,)), Arm("two", Base(), pieces=(piece, piece))
    base, first, second = (trained_arm(studies, arm).cost for arm in (Arm("base", Base()), one, two))
    assert second.image_macs - first.image_macs == pytest.approx(first.image_macs - base.image_macs)
    assert not same(studies, one, two)


def test_one_piece_of_two_epochs_costs_what_two_of_one_cost(studies: StudyFolder) -> None:
    twice = Arm("twice", Base(), pieces=(plain(studies), plain(studies)))
    whole = Arm("whole", Base(), pieces=(plain(studies, epochs=2),))
    costs = [trained_arm(studies, arm).cost.image_macs for arm in (twice, whole)]
    assert costs[0] == pytest.approx(costs[1])


def test_a_teacher_costs_its_forward_passes(studies: StudyFolder) -> None:
    settings = studies.settings
    taught = Piece(regime_of(settings.evaluation), weighing(settings, *LOSSES), settings.subnet_space.largest)
    alone, with_teacher = (
        trained_arm(studies, Arm(name, Base(), pieces=(piece,))).cost.image_macs
        for name, piece in (("alone", plain(studies)), ("taught", taught))
    )
    assert with_teacher > alone


def test_channels_are_removed_by_share_or_down_to_a_cost(studies: StudyFolder) -> None:
    base = load_detector(studies.run(0).base).spec
    macs = complexity(base, base.resolution).macs
    pruned = trained_arm(studies, Arm("pruned", Base(), Pruning(0.3)))
    assert pruned.numbers is not None
    assert pruned.numbers.macs_by[str(base.resolution)] < macs
    bound = round(0.8 * macs)
    bounded = trained_arm(studies, Arm("bounded", Base(), Pruning(0.05, max_macs=bound)))
    assert bounded.numbers is not None
    assert 0.7 * macs < bounded.numbers.macs_by[str(base.resolution)] <= bound


def test_subnets_are_taken_out_of_the_pool_or_searched_for(studies: StudyFolder) -> None:
    space = studies.settings.subnet_space
    reset, raw = Arm("reset", Taken(space.largest, 1)), Arm("raw", Taken(space.largest, 1, bn_reset=False))
    bred = Arm("bred", Bred(1, 2, 10**9))
    costs = [trained_arm(studies, arm).cost.image_macs for arm in (reset, raw, bred)]
    assert len(set(costs)) == 1
    assert not same(studies, reset, raw)
    assert trained_arm(studies, Arm("early", Taken(space.largest, 0))).cost.image_macs < costs[0]


def test_a_narrower_and_a_subnets_architecture_begin_untrained(studies: StudyFolder) -> None:
    space = studies.settings.subnet_space
    for source in (Fresh(0.5), Fresh(subnet=space.smallest)):
        result = trained_arm(studies, Arm("fresh", source, pieces=(plain(studies),)))
        wanted = trainings.fresh_spec(studies.run(0), source)
        assert load_detector(studies.arm(0, Arm("fresh", source, pieces=(plain(studies),)))).spec == wanted
        assert result.cost.image_macs > 0


def test_a_failure_is_a_result_and_is_left_out(studies: StudyFolder) -> None:
    hot = Piece(
        regime_of(studies.settings.evaluation).model_copy(update={"lr": 1e30}), weighing(studies.settings)
    )
    arm = Arm("hot", Base(), pieces=(hot,))
    result = trainings.ensure_arm(studies, 0, arm)
    assert result.numbers is None
    assert result.reason.startswith("nan: epoch 1")
    assert trainings.ensure_arm(studies, 0, arm) == result
    (row,) = answer.rows([{"hot": (arm, result)}])
    assert (row["seeds"], row["ap"], row["failures"]) == (0, None, [result.reason])


def test_the_answer_of_the_same_results_is_the_same(studies: StudyFolder) -> None:
    (study,) = (each for each in trained.STUDIES if each.name == "pruning")
    (stage,) = study.stages
    arms = {arm.name: (arm, trained_arm(studies, arm)) for arm in stage(studies.run(0).settings, {})}
    first, second = (answer.conclude(studies, study, [arms]) for _ in range(2))
    assert first == second
    assert first["measured_on"]["photos"] == "held-out photos"
    assert [row["arm"] for row in first["rows"]] == list(arms)
    assert first["verdict"] == "undecided at 1 seed"
