"""The base out of another library's checkpoint: taken as it is, trained on, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet

from jdn_core.detector.build import build
from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.detector.folder import load_detector
from jdn_core.detector.naming import DETECTRON2, MMDETECTION
from jdn_core.detector.pretrained import adapt
from jdn_core.errors import CheckpointError, InputMissing, SettingsError
from jdn_core.run import assemble, steps
from jdn_core.run.folder import TRAINING_FILE, Run
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tests.jdn_core.detector.foreign import save, state_of, trained
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data") / "shapes")


def _settings(
    root: Path, file: Path | None, *, epochs: int = 0, width: float = 0.125, **checkpoint: Any
) -> Settings:
    detector = {"pretrained": file and str(file), "checkpoint": checkpoint, "width": width}
    return tiny_settings(root, base={"epochs": epochs}, detector=detector)


def _mmdetection(root: Path, path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint with the classes of the dataset, and the weights that it means."""
    spec = adapt(assemble.base_spec(tiny_settings(root)), MMDETECTION.conventions)
    detector = trained(spec)
    names = tuple(name for _, name in spec.classes)
    contents = {"state_dict": state_of(detector, MMDETECTION), "meta": {"CLASSES": names}}
    for leaf in ("weight", "bias"):  # MMDetection has no deltas for the background
        getattr(detector.roi.box_predictor.bbox_pred, leaf).data[:4] = 0
    return save(contents, path), detector.state_dict()


def test_without_epochs_a_detector_is_taken_as_it_is(root: Path, tmp_path: Path) -> None:
    file, state = _mmdetection(root, tmp_path / "mmdet.pth")
    run = Run(_settings(root, file), tmp_path / "run")
    folder = steps.ensure_base(run)
    loaded = load_detector(folder)
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert (loaded.spec.region.aligned, loaded.spec.region.rounded_anchors) == (True, False)
    assert durable.read_json(folder / TRAINING_FILE)["losses"] == {}
    record = steps.ensure_base_record(run)
    assert record.evaluation is not None
    assert record.pair.student == loaded.spec


def test_a_detector_is_trained_on(root: Path, tmp_path: Path) -> None:
    file, state = _mmdetection(root, tmp_path / "mmdet.pth")
    folder = steps.ensure_base(Run(_settings(root, file, epochs=1), tmp_path / "run"))
    loaded = load_detector(folder)
    changed = {name for name, tensor in loaded.state_dict().items() if not torch.equal(tensor, state[name])}
    assert {
        "backbone.stem.bn.weight",
        "backbone.stem.bn.running_mean",
        "roi.box_predictor.cls_score.bias",
    } <= changed
    assert len(durable.read_json(folder / TRAINING_FILE)["losses"]["loss_classifier"]) == 1


def test_a_fresh_class_head_is_the_one_of_a_run_without_a_checkpoint(root: Path, tmp_path: Path) -> None:
    file, _ = _mmdetection(root, tmp_path / "mmdet.pth")
    settings = _settings(root, file, epochs=1, head="new")
    torch.manual_seed(5)
    fresh = build(assemble.base_spec(settings)).roi.box_predictor
    torch.manual_seed(5)
    found = assemble.base_detector(assemble.base_spec(settings), settings).roi.box_predictor
    assert torch.equal(found.cls_score.weight, fresh.cls_score.weight)
    assert torch.equal(found.bbox_pred.weight, fresh.bbox_pred.weight)


def test_a_backbone_alone_needs_epochs(root: Path, tmp_path: Path) -> None:
    file = save(ResNet(BasicBlock, [2, 2, 2, 2]).state_dict(), tmp_path / "resnet18.pth")
    settings = _settings(root, file, width=1.0)
    with pytest.raises(
        SettingsError, match=r"base\.epochs: must be >= 1, because resnet18\.pth is a backbone"
    ):
        assemble.base_detector(assemble.base_spec(settings), settings)
    settings = _settings(root, file, width=1.0, epochs=1)
    assert assemble.base_detector(assemble.base_spec(settings), settings).spec.region.aligned is False


def test_another_width_is_refused_with_the_shapes(root: Path, tmp_path: Path) -> None:
    file, _ = _mmdetection(root, tmp_path / "mmdet.pth")
    settings = _settings(root, file, width=0.25)
    with pytest.raises(CheckpointError, match=r"backbone\.bn1\.bias: shape must be \[16\], got \[8\]"):
        steps.ensure_base(Run(settings, tmp_path / "run"))
    assert not (tmp_path / "run" / "base").exists()


def test_a_missing_checkpoint_is_an_input_that_is_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such file"):
        assemble.base_spec(_settings(root, tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("told", "mean", "stride_in", "channels"),
    [
        ({}, DETECTRON2.conventions.mean, "1x1", "bgr"),
        ({"channels": "rgb", "stride_in": "3x3"}, None, "3x3", "rgb"),
        ({"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}, (1.0, 2.0, 3.0), "1x1", "bgr"),
    ],
)
def test_settings_know_a_checkpoint_better_than_its_library(
    told: dict[str, Any], mean: object, stride_in: str, channels: str, root: Path, tmp_path: Path
) -> None:
    detector = trained(adapt(assemble.base_spec(tiny_settings(root)), DETECTRON2.conventions))
    file = save(state_of(detector, DETECTRON2), tmp_path / "d2.pth")
    checkpoint = read_checkpoint(file)
    found = assemble.conventions(_settings(root, file, **told).detector.checkpoint, checkpoint)
    assert (found.mean, found.stride_in, found.channels) == (mean, stride_in, channels)
    assert found.bn_eps == 1e-5
