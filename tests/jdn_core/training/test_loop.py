"""The loop on a small detector and drawn shapes: it learns, goes on where it stopped, applies no bad step."""

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
from jdn_core.detector.build import Detector, build
from jdn_core.errors import Diverged
from jdn_core.processes import stopping
from jdn_core.processes.progress import listening
from jdn_core.processes.stopping import Stopped
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.loop import Course, train
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import training_plan
from tests.jdn_core.tiny import tiny_spec

REGIME = TrainingSettings(epochs=3, batch=4, lr=0.02, schedule="cosine", warmup=2)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchLoader]:
    folder = tmp_path_factory.mktemp("shapes")
    generate(folder, images=15, size=64, seed=0)
    with BatchLoader(load(*find_split(folder, "train")), cache_mb=16) as made:
        yield made


def course(loader: BatchLoader, regime: TrainingSettings = REGIME) -> Course:
    stream = Stream((0, "test"))

    def plan_of(epoch: int) -> Plan:
        draws = stream.child("epoch", epoch)
        images = len(loader.dataset.images)
        return training_plan(images, batch=4, resolutions=[Resolution(64, 64)], flip=0.5, stream=draws)

    return Course("test", regime, plan_of, stream)


def student(loader: BatchLoader) -> Detector:
    torch.manual_seed(0)
    classes = tuple((category.id, category.name) for category in loader.dataset.categories)
    spec = tiny_spec()
    return build(type(spec)(spec.backbone, classes, spec.neck, spec.head, spec.region, spec.resolution))


class Losses:
    """The detector's own losses; may fail, turn into NaN, or ask for a stop at one iteration."""

    def __init__(self, detector: Detector, *, stop: int = -1, poison: int = -1, ask: int = -1) -> None:
        self.detector, self.stop, self.poison, self.ask = detector, stop, poison, ask

    def __call__(self, batch: Batch, iteration: int) -> Mapping[str, Tensor]:
        if iteration == self.stop:
            raise InterruptedError
        if iteration == self.ask:
            stopping.request()
        losses = self.detector.training_step(batch.images, batch.sizes, batch.targets).losses
        return {
            name: value * (float("nan") if iteration == self.poison else 1) for name, value in losses.items()
        }


def test_losses_fall_and_progress_is_told(loader: BatchLoader) -> None:
    detector, told = student(loader), []
    with listening(lambda *report: told.append(report)):
        history = train(detector, [Losses(detector)], course=course(loader), loader=loader).losses
    sums = [sum(epoch) for epoch in zip(*history.values(), strict=True)]
    assert sums[-1] < sums[0]
    assert [report[:3] for report in told] == [
        (
            "test",
            done,
            9,
        )
        for done in range(1, 10)
    ]


def test_bfloat16_learns_like_float32_and_keeps_weights_exact(loader: BatchLoader) -> None:
    exact, narrow = student(loader), student(loader)
    half = REGIME.model_copy(update={"precision": "bfloat16"})
    wanted = train(exact, [Losses(exact)], course=course(loader), loader=loader).losses
    found = train(narrow, [Losses(narrow)], course=course(loader, half), loader=loader).losses
    assert found != wanted
    assert found["loss_objectness"] == pytest.approx(wanted["loss_objectness"], rel=0.05)
    assert {tensor.dtype for tensor in narrow.parameters()} == {torch.float32}


def test_a_training_that_was_cut_short_ends_bit_equal(loader: BatchLoader, tmp_path: Path) -> None:
    whole, cut = student(loader), student(loader)
    history = train(whole, [Losses(whole)], course=course(loader), loader=loader).losses
    checkpoints = Checkpoints(tmp_path, identity="a")
    with pytest.raises(InterruptedError):
        train(cut, [Losses(cut, stop=7)], course=course(loader), loader=loader, checkpoints=checkpoints)
    again = student(loader)
    resumed = train(
        again, [Losses(again)], course=course(loader), loader=loader, checkpoints=checkpoints
    ).losses
    assert resumed == history
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


@pytest.fixture
def _no_wish() -> Iterator[None]:
    yield
    stopping.clear()


@pytest.mark.usefixtures("_no_wish")
def test_a_training_that_is_stopped_at_any_step_redoes_none_and_ends_bit_equal(
    loader: BatchLoader, tmp_path: Path
) -> None:
    whole = student(loader)
    history = train(whole, [Losses(whole)], course=course(loader), loader=loader).losses
    checkpoints = Checkpoints(tmp_path, identity="a")
    told: list[int] = []
    for step in range(9):
        stopping.clear()
        cut = student(loader)
        losses = Losses(cut, ask=step)
        with pytest.raises(Stopped), listening(lambda _, done, *rest: told.append(done)):
            train(cut, [losses], course=course(loader), loader=loader, checkpoints=checkpoints)
    stopping.clear()
    again = student(loader)
    resumed = train(
        again, [Losses(again, stop=8)], course=course(loader), loader=loader, checkpoints=checkpoints
    ).losses
    assert told == list(range(1, 10))
    assert resumed == history
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.usefixtures("_no_wish")
def test_a_stop_before_the_first_step_writes_nothing(loader: BatchLoader, tmp_path: Path) -> None:
    stopping.request()
    detector, checkpoints = student(loader), Checkpoints(tmp_path, identity="a")
    with pytest.raises(Stopped):
        train(detector, [Losses(detector)], course=course(loader), loader=loader, checkpoints=checkpoints)
    assert not list(tmp_path.iterdir())


def test_a_long_epoch_has_checkpoints_inside(loader: BatchLoader, tmp_path: Path) -> None:
    whole, cut, again = student(loader), student(loader), student(loader)
    train(whole, [Losses(whole)], course=course(loader), loader=loader)
    checkpoints = Checkpoints(tmp_path, identity="a", every=0)
    with pytest.raises(InterruptedError):
        train(cut, [Losses(cut, stop=5)], course=course(loader), loader=loader, checkpoints=checkpoints)
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {
        "epoch-1-step-1.safetensors",
        "epoch-1-step-2.safetensors",
    }
    found = checkpoints.load()
    assert found is not None
    assert (found.epochs, found.steps) == (1, 2)
    train(again, [Losses(again)], course=course(loader), loader=loader, checkpoints=checkpoints)
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


def test_a_damaged_checkpoint_falls_back_to_the_one_before(loader: BatchLoader, tmp_path: Path) -> None:
    detector, checkpoints = student(loader), Checkpoints(tmp_path, identity="a")
    with pytest.raises(InterruptedError):
        train(
            detector,
            [Losses(detector, stop=7)],
            course=course(loader),
            loader=loader,
            checkpoints=checkpoints,
        )
    newest = tmp_path / "epoch-2.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    found = checkpoints.load()
    assert found is not None
    assert found.epochs == 1
    assert {len(values) for values in found.history.values()} == {1}


def test_checkpoints_of_something_else_are_not_taken_up(loader: BatchLoader, tmp_path: Path) -> None:
    detector, mine = student(loader), Checkpoints(tmp_path, identity="mine")
    with pytest.raises(InterruptedError):
        train(detector, [Losses(detector, stop=4)], course=course(loader), loader=loader, checkpoints=mine)
    assert mine.load() is not None
    assert Checkpoints(tmp_path, identity="yours").load() is None


def test_a_loss_that_is_not_finite_stops_before_the_step(loader: BatchLoader) -> None:
    detector = student(loader)
    with pytest.raises(
        Diverged, match=r"test: the loss is not finite at epoch 2 step 2 lr 0\.0\d+ last finite loss \d"
    ):
        train(detector, [Losses(detector, poison=4)], course=course(loader), loader=loader)
    assert all(torch.isfinite(parameter).all() for parameter in detector.parameters())


class Brightness(nn.Module):
    """A model without BN whose loss is a mean over images: of a line through their mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)
        self.seen: list[int] = []

    def forward(self, batch: Batch, _: int) -> dict[str, Tensor]:
        self.seen.append(len(batch.images))
        wanted = torch.tensor([float(len(target["labels"])) for target in batch.targets])
        return {"loss": (self.line(batch.images.mean(dim=(2, 3))).squeeze(1) - wanted).square().mean()}


@pytest.mark.parametrize(("most", "seen"), [(1, [1] * 4), (2, [2, 2]), (3, [2, 2]), (4, [4])])
def test_a_batch_in_parts_trains_like_the_whole(loader: BatchLoader, most: int, seen: list[int]) -> None:
    torch.manual_seed(0)
    whole = Brightness()
    parts = copy.deepcopy(whole)
    history = train(whole, [whole], course=course(loader), loader=loader).losses
    limited = REGIME.model_copy(update={"device_batch": most})
    added = train(parts, [parts], course=course(loader, limited), loader=loader).losses
    assert parts.seen == seen * 9
    assert added["loss"] == pytest.approx(history["loss"], rel=1e-5)
    torch.testing.assert_close(parts.line.weight, whole.line.weight, rtol=1e-5, atol=1e-6)


def test_passes_are_averaged(loader: BatchLoader) -> None:
    once = Brightness()
    twice = copy.deepcopy(once)
    history = train(once, [once], course=course(loader), loader=loader).losses
    averaged = train(twice, [twice, twice], course=course(loader), loader=loader).losses
    assert twice.seen == [4] * 18
    assert averaged["loss"] == pytest.approx(history["loss"], rel=1e-6)
    torch.testing.assert_close(twice.line.weight, once.line.weight)


def test_a_part_that_is_stopped_goes_on_bit_equal(loader: BatchLoader, tmp_path: Path) -> None:
    regime = REGIME.model_copy(update={"device_batch": 2})
    whole, cut, again = student(loader), student(loader), student(loader)
    train(whole, [Losses(whole)], course=course(loader, regime), loader=loader)
    checkpoints = Checkpoints(tmp_path, identity="a", every=0)
    with pytest.raises(InterruptedError):
        train(
            cut, [Losses(cut, stop=4)], course=course(loader, regime), loader=loader, checkpoints=checkpoints
        )
    train(again, [Losses(again)], course=course(loader, regime), loader=loader, checkpoints=checkpoints)
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())
