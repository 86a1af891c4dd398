"""The distiller: who learns, who does not, and that learning works."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from jdn_core.detector.build import Detector, build
from jdn_core.distillation.distiller import Distiller
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import family
from tests.jdn_core.distillation.conftest import Shared

NAMES = ["loss_feature", "loss_cls_kd", "loss_loc_kd"]


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def moves(module: nn.Module) -> set[str]:
    """Names of the parameters that a gradient reached and is not zero everywhere."""
    named = module.named_parameters()
    return {name for name, p in named if p.grad is not None and torch.count_nonzero(p.grad)}


def test_student_and_adaptors_learn_and_the_teacher_does_not(
    student: Detector, teacher: Detector, shared: Shared
) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    distiller = Distiller(teacher, student.spec, DistillationSettings()).train()
    losses = distiller(shared.step(student), shared.images, shared.sizes)
    total(losses).backward()
    assert list(losses) == NAMES
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    assert {"backbone.stem.conv.weight", "neck.layer_blocks.0.0.weight", "roi.box_head.fc6.weight"} <= moves(
        student
    )
    assert moves(distiller)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_the_teacher_is_held_and_not_owned(student: Detector, teacher: Detector) -> None:
    distiller = Distiller(teacher, student.spec, DistillationSettings()).train()
    names = {name.partition(".")[0] for name in distiller.state_dict()}
    assert names == {"adaptors"}
    assert not any(module.training for module in distiller.teacher.modules())


@pytest.mark.parametrize("form", ["class_aware", "l1"])
@pytest.mark.parametrize("scale", ["raw", "channels"])
@pytest.mark.parametrize("both_sides", [False, True])
def test_without_proposals_every_loss_is_zero(
    student: Detector,
    teacher: Detector,
    shared: Shared,
    form: Literal["class_aware", "l1"],
    scale: Literal["raw", "channels"],
    both_sides: bool,
) -> None:
    settings = DistillationSettings(localisation_form=form, feature_scale=scale, both_sides=both_sides)
    distiller = Distiller(teacher, student.spec, settings)
    features = student.features(shared.images, shared.sizes)
    nothing = [torch.zeros(0, 4)] * 2
    pooled, logits, deltas = student.roi_outputs(features, nothing, shared.sizes)
    output = replace(shared.step(student), proposals=nothing, pooled=pooled, logits=logits, deltas=deltas)
    losses = distiller(output, shared.images, shared.sizes)
    total(losses).backward()
    assert [loss.item() for loss in losses.values()] == [0.0, 0.0, 0.0]


def test_the_weights_of_the_settings_scale_the_losses(
    student: Detector, teacher: Detector, shared: Shared
) -> None:
    output = shared.step(student)
    distiller = Distiller(teacher, student.spec, DistillationSettings())
    plain = distiller(output, shared.images, shared.sizes)
    distiller.settings = DistillationSettings(feature=2.0, classification=0.0, localisation=0.5)
    weighted = distiller(output, shared.images, shared.sizes)
    for name, weight in zip(NAMES, (2.0, 0.0, 0.5), strict=True):
        torch.testing.assert_close(weighted[name], weight * plain[name])


def test_the_plain_form_of_localisation_is_another_loss(
    student: Detector, teacher: Detector, shared: Shared
) -> None:
    output = shared.step(student)
    aware, plain = (
        Distiller(teacher, student.spec, DistillationSettings(localisation_form=form))(
            output, shared.images, shared.sizes
        )
        for form in ("class_aware", "l1")
    )
    assert aware["loss_loc_kd"] != plain["loss_loc_kd"]
    torch.testing.assert_close(aware["loss_cls_kd"], plain["loss_cls_kd"])


def test_adaptors_on_both_sides_learn_both(student: Detector, teacher: Detector, shared: Shared) -> None:
    distiller = Distiller(teacher, student.spec, DistillationSettings(both_sides=True))
    distiller(shared.step(student), shared.images, shared.sizes)["loss_feature"].backward()
    assert {name.partition(".")[0] for name in moves(distiller)} == {"adaptors", "teacher_adaptors"}
    assert not moves(teacher)


def test_a_teacher_shown_to_itself_costs_no_localisation(teacher: Detector, shared: Shared) -> None:
    distiller = Distiller(teacher, teacher.spec, DistillationSettings())
    losses = distiller(shared.step(teacher), shared.images, shared.sizes)
    assert losses["loss_loc_kd"].item() == 0.0


def test_a_student_comes_closer_to_its_teacher_in_every_loss(
    student: Detector, teacher: Detector, shared: Shared
) -> None:
    distiller = Distiller(teacher, student.spec, DistillationSettings())
    optimizer = torch.optim.SGD([*student.parameters(), *distiller.parameters()], lr=0.02, momentum=0.9)
    history = []
    for _ in range(25):
        torch.manual_seed(0)
        losses = distiller(shared.step(student), shared.images, shared.sizes)
        optimizer.zero_grad()
        total(losses).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 10.0)
        optimizer.step()
        history.append(losses)
    for name in ("loss_feature", "loss_loc_kd"):
        assert history[-1][name] < 0.8 * history[0][name], name
    assert history[-1]["loss_cls_kd"] < history[0]["loss_cls_kd"]


def test_other_classes_are_refused(teacher: Detector, student_spec: DetectorSpec) -> None:
    other = replace(student_spec, classes=((1, "circle"), (7, "star")))
    with pytest.raises(ValueError, match="same classes"):
        Distiller(teacher, other, DistillationSettings())


def test_another_side_of_rois_is_refused(teacher: Detector, student_spec: DetectorSpec) -> None:
    other = replace(student_spec, region=replace(student_spec.region, pooled=5))
    with pytest.raises(ValueError, match="got 5, 7"):
        Distiller(teacher, other, DistillationSettings())


def test_building_a_distiller_twice_from_one_seed_gives_the_same_adaptors(
    teacher: Detector, student_spec: DetectorSpec
) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(Distiller(teacher, student_spec, DistillationSettings()).state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_a_student_of_another_family_and_a_narrower_neck_distils(
    teacher: Detector, student_spec: DetectorSpec, shared: Shared
) -> None:
    student = build(replace(student_spec, backbone=family("x101", width=1 / 8), neck=8)).train()
    distiller = Distiller(teacher, student.spec, DistillationSettings())
    losses = distiller(shared.step(student), shared.images, shared.sizes)
    assert total(losses).isfinite()


@pytest.mark.parametrize("form", ["rois", "boxes"])
def test_by_channels_the_scale_of_the_teachers_features_does_not_matter(
    student: Detector, teacher: Detector, shared: Shared, form: Literal["rois", "boxes"]
) -> None:
    output = shared.step(student)

    def loss(scale: float, of: Literal["raw", "channels"]) -> float:
        torch.manual_seed(0)  # of the adaptors
        scaled = copy.deepcopy(teacher)
        for block in scaled.neck.layer_blocks:  # what the pyramid's levels end with, linear
            block[0].weight.data.mul_(scale)
            block[0].bias.data.mul_(scale)
        distiller = Distiller(scaled, student.spec, DistillationSettings(feature_form=form, feature_scale=of))
        return distiller(output, shared.images, shared.sizes, shared.targets)["loss_feature"].item()

    assert loss(10.0, "channels") == pytest.approx(loss(1.0, "channels"), rel=1e-3)
    assert loss(10.0, "raw") > 2 * loss(1.0, "raw")


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("scale", ["raw", "channels"])
def test_features_inside_boxes_teach_the_neck(
    student: Detector,
    teacher: Detector,
    shared: Shared,
    both_sides: bool,
    scale: Literal["raw", "channels"],
) -> None:
    settings = DistillationSettings(feature_form="boxes", feature_scale=scale, both_sides=both_sides)
    distiller = Distiller(teacher, student.spec, settings)
    losses = distiller(shared.step(student), shared.images, shared.sizes, shared.targets)
    losses["loss_feature"].backward()
    assert losses["loss_feature"] > 0
    assert "neck.layer_blocks.0.0.weight" in moves(student)
    assert "roi.box_head.fc6.weight" not in moves(student)
    assert moves(distiller)
