from __future__ import annotations

import pytest
import torch

from jdn_core.detector.build import Detector, blank, build
from jdn_core.detector.heads import box_losses
from tests.jdn_core.tiny import SIZES, grown, images, targets, tiny_spec

LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}


def test_training_step_trains_every_parameter() -> None:
    detector = build(tiny_spec())
    output = detector.training_step(images(), SIZES, targets())
    torch.stack(list(output.losses.values())).sum().backward()
    assert output.losses.keys() == LOSSES
    assert [name for name, parameter in detector.named_parameters() if parameter.grad is None] == []


def test_training_step_shares_what_it_pooled() -> None:
    detector = build(tiny_spec())
    output = detector.training_step(images(), SIZES, targets())
    rois = sum(map(len, output.proposals))
    assert list(output.features) == ["0", "1", "2", "3", "pool"]
    assert output.pooled.shape == (rois, 16, 7, 7)
    assert (output.logits.shape, output.deltas.shape) == ((rois, 3), (rois, 12))
    assert not any(proposal.requires_grad for proposal in output.proposals)
    again = detector.roi_outputs(output.features, output.proposals, SIZES)
    assert torch.equal(again[1], output.logits)


def test_images_without_boxes_train_the_background_alone() -> None:
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 2
    losses = build(tiny_spec()).training_step(images(), SIZES, empty).losses
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0


def test_box_losses_of_no_rois_are_zeros_with_a_graph() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    losses = box_losses(logits, torch.zeros(0, 12, requires_grad=True), [torch.zeros(0)], [torch.zeros(0, 4)])
    assert [loss.item() for loss in losses] == [0, 0]
    losses[0].backward()
    assert logits.grad is not None


def test_the_same_seed_gives_the_same_losses() -> None:
    detector = build(tiny_spec())

    def step(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return [loss.item() for loss in detector.training_step(images(), SIZES, targets()).losses.values()]

    assert step(5) == step(5)
    assert step(5) != step(6)


def test_padding_is_zero_after_normalisation() -> None:
    detector = build(tiny_spec())
    normal = detector.normalise(images(), SIZES)
    assert (normal[0, :, 60:] == 0).all()
    assert (normal[0, :, :, 80:] == 0).all()
    torch.testing.assert_close(normal[1, 2], (images()[1, 2] - 0.406) / 0.225)


def test_detections_lie_in_the_image_and_name_a_class() -> None:
    found = grown(tiny_spec()).detect(images(), SIZES)
    assert len(found) == 2
    for detections, (height, width) in zip(found, SIZES, strict=True):
        assert len(detections["boxes"]) > 0
        assert detections["boxes"].min() >= 0
        assert (detections["boxes"][:, 2:] <= torch.tensor([width, height])).all()
        assert set(detections["labels"].tolist()) <= {1, 2}
        assert not detections["scores"].requires_grad


def test_detect_refuses_training_mode() -> None:
    with pytest.raises(RuntimeError, match="eval mode"):
        build(tiny_spec()).detect(images(), SIZES)


def test_blank_draws_nothing_and_has_the_same_tensors() -> None:
    state = torch.get_rng_state()
    detector = blank(tiny_spec())
    assert torch.equal(torch.get_rng_state(), state)
    assert _layout(detector) == _layout(build(tiny_spec()))


def _layout(detector: Detector) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    return {name: (tuple(t.shape), t.stride()) for name, t in detector.state_dict().items()}
