"""A lineage of short trainings at a constant rate, with weights and momentum handed on, is one training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jdn_core.data.coco.dataset import load
from jdn_core.data.layouts import find_split
from jdn_core.data.loading import Batch, BatchLoader, Plan
from jdn_core.data.shapes import generate
from jdn_core.detector.trunk import inside
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.loop import Course, Trained, train
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import training_plan
from tests.jdn_core.tiny import equal

STEPS = 3  # an epoch
CONSTANT = TrainingSettings(epochs=6, batch=4, lr=0.02, schedule="constant", warmup=0)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchLoader]:
    folder = tmp_path_factory.mktemp("shapes")
    generate(folder, images=15, size=32, seed=0)
    with BatchLoader(load(*find_split(folder, "train")), cache_mb=16) as made:
        yield made


class Counter(nn.Module):
    """Counts objects; keeps the state that it had at each iteration; may fail at one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.line = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 1)
        self.stop = -1
        self.seen: list[dict[str, Tensor]] = []

    def forward(self, batch: Batch, iteration: int) -> dict[str, Tensor]:
        if iteration == self.stop:
            raise InterruptedError
        self.seen.append(state_of(self))
        counts = self.line(torch.relu(self.bn(self.conv(batch.images))).mean(dim=(2, 3))).squeeze(1)
        wanted = torch.tensor([float(len(target["labels"])) for target in batch.targets])
        return {"loss": (counts - wanted).square().mean()}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def fit(
    module: Counter,
    loader: BatchLoader,
    regime: TrainingSettings,
    *,
    done: int = 0,
    momentum: Mapping[str, Tensor] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Trains over the epochs after those that are done, with the images that one long training shows then."""
    stream = Stream((0, "test"))

    def plan_of(epoch: int) -> Plan:
        draws = stream.child("epoch", done + epoch)
        return training_plan(12, batch=4, resolutions=[Resolution(32, 32)], flip=0.5, stream=draws)

    course = Course("test", regime, plan_of, stream)
    return train(module, [module], course=course, loader=loader, checkpoints=checkpoints, momentum=momentum)


@pytest.mark.parametrize("average", [0.0, 1.0])
def test_pieces_that_hand_on_weights_and_momentum_are_one_training_bit_for_bit(
    loader: BatchLoader, average: float
) -> None:
    long, module = Counter(), Counter()
    whole = fit(long, loader, CONSTANT.model_copy(update={"average": average}))
    piece = CONSTANT.model_copy(update={"epochs": 2, "average": average})
    last: Mapping[str, Tensor] = {}
    for done in (0, 2, 4):
        trained = fit(module, loader, piece, done=done, momentum=inside(last, "momentum."))
        last = trained.last
        module.load_state_dict(inside(last, "model."))
    assert equal(last, whole.last)
    assert all(equal(one, other) for one, other in zip(module.seen, long.seen, strict=True))


def test_fresh_momentum_in_each_piece_is_another_training(loader: BatchLoader) -> None:
    long, module = Counter(), Counter()
    whole = fit(long, loader, CONSTANT)
    for done in (0, 3):
        last = fit(module, loader, CONSTANT.model_copy(update={"epochs": 3}), done=done).last
    assert not equal(last, whole.last)


def test_the_average_over_an_epoch_is_that_of_its_formula(loader: BatchLoader) -> None:
    module = Counter()
    trained = fit(module, loader, CONSTANT.model_copy(update={"average": 1.5}))
    states = [*module.seen[1:], inside(trained.last, "model.")]
    wanted = states[0]
    for step, state in enumerate(states):
        share = 1 / min(step + 1, 1.5 * STEPS)
        wanted = {name: wanted[name] + (tensor - wanted[name]) * share for name, tensor in state.items()}
    found = module.state_dict()
    for name in ("conv.weight", "bn.weight", "bn.running_mean", "bn.running_var", "line.bias"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-6)
    assert int(found["bn.num_batches_tracked"]) == 6 * STEPS


def test_an_average_changes_no_step_of_the_training(loader: BatchLoader) -> None:
    plain, averaged = Counter(), Counter()
    one = fit(plain, loader, CONSTANT)
    other = fit(averaged, loader, CONSTANT.model_copy(update={"average": 1.0}))
    assert equal(one.last, other.last)
    assert one.losses == other.losses
    assert equal(inside(one.last, "model."), plain.state_dict())
    assert not torch.equal(averaged.conv.weight, plain.conv.weight)


@pytest.mark.parametrize("stop", [1, 4, 17])
def test_a_training_with_average_and_momentum_goes_on_bit_equal(
    loader: BatchLoader, tmp_path: Path, stop: int
) -> None:
    regime, momentum = CONSTANT.model_copy(update={"average": 1.0}), {"conv.bias": torch.ones(8)}
    whole, cut, again = Counter(), Counter(), Counter()
    wanted = fit(whole, loader, regime, momentum=momentum)
    cut.stop = stop
    checkpoints = Checkpoints(tmp_path, identity="a", every=0)
    with pytest.raises(InterruptedError):
        fit(cut, loader, regime, momentum=momentum, checkpoints=checkpoints)
    found = fit(again, loader, regime, momentum=momentum, checkpoints=checkpoints)
    assert len(again.seen) == 6 * STEPS - stop
    assert equal(found.last, wanted.last)
    assert equal(again.state_dict(), whole.state_dict())


def test_checkpoints_have_an_average_only_where_there_is_one(loader: BatchLoader, tmp_path: Path) -> None:
    kinds = []
    for average in (0.0, 1.0):
        checkpoints = Checkpoints(tmp_path / str(average), identity="a")
        fit(Counter(), loader, CONSTANT.model_copy(update={"average": average}), checkpoints=checkpoints)
        found = checkpoints.load()
        assert found is not None
        kinds.append({name.partition(".")[0] for name in found.tensors})
    assert kinds == [{"model", "momentum"}, {"model", "momentum", "average"}]


def test_momentum_begins_where_it_was_left(loader: BatchLoader) -> None:
    """One step with a rate too small to move: momentum becomes 0.9 of what it was, and the gradient."""
    plain, pushed = Counter(), Counter()
    still = CONSTANT.model_copy(update={"epochs": 1, "lr": 1e-30})
    before = {name: torch.randn_like(tensor) for name, tensor in pushed.named_parameters()}
    kept = copy.deepcopy(before)
    fresh, handed = fit(plain, loader, still).last, fit(pushed, loader, still, momentum=before).last
    assert equal(before, kept)
    for name, tensor in before.items():
        gap = handed[f"momentum.{name}"] - fresh[f"momentum.{name}"]
        torch.testing.assert_close(gap, 0.9**STEPS * tensor, rtol=1e-4, atol=1e-4)
