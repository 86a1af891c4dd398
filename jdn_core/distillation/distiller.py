"""A frozen teacher beside a student in training, asked on the student's proposals (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from jdn_core.detector.build import Detector, Size, TrainingOutput
from jdn_core.detector.neck import LEVELS
from jdn_core.distillation.adaptors import Adaptors
from jdn_core.distillation.losses import (
    cells_inside,
    class_aware_localisation_loss,
    classification_loss,
    feature_loss,
    l1_localisation_loss,
    masked_feature_loss,
    standardised,
)
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.space.architecture import DetectorSpec


class Distiller(nn.Module):
    """Losses between a student and a teacher; its parameters are the adaptors, trained with the student.

    The teacher is frozen and in eval mode, in every mode of this module. It is held, not owned: neither
    ``parameters()`` nor ``state_dict()`` names it, and it stays on the device that it was given on.

    Attributes:
        teacher: asked on the student's proposals; its BN statistics are reset beforehand.
        adaptors: of the student's RoI features, to the teacher's neck.
        teacher_adaptors: of the teacher's, where the settings want both sides.
    """

    def __init__(self, teacher: Detector, student: DetectorSpec, settings: DistillationSettings) -> None:
        """Freezes the teacher. ``student`` describes the student, for a pool its largest subnet.

        Raises:
            ValueError: student and teacher tell other classes apart, or pool RoIs to other sides.
        """
        super().__init__()
        _check(student, teacher.spec)
        self._held = (teacher.eval().requires_grad_(False),)  # a tuple, so that no module registers it
        self.settings = settings
        self.adaptors = Adaptors(student.neck, teacher.spec.neck)
        both = settings.both_sides
        self.teacher_adaptors = Adaptors(teacher.spec.neck, teacher.spec.neck) if both else None

    @property
    def teacher(self) -> Detector:
        return self._held[0]

    def forward(
        self,
        output: TrainingOutput,
        images: Tensor,
        sizes: Sequence[Size],
        targets: Sequence[Mapping[str, Tensor]] = (),
    ) -> dict[str, Tensor]:
        """Returns weighted ``loss_feature``, ``loss_cls_kd``, ``loss_loc_kd``; zeros if there is no proposal.

        Args:
            output: of the student's training step on these images.
            images: [B, 3, H, W] in 0..1.
            sizes: real (height, width) of each.
            targets: per image ``boxes`` [N, 4], which features inside boxes need.
        """
        with torch.no_grad():
            features = self.teacher.features(images, sizes)
            pooled, logits, deltas = self.teacher.roi_outputs(features, output.proposals, sizes)
        weights = self.settings
        match weights.localisation_form:
            case "class_aware":
                localisation = class_aware_localisation_loss(output.deltas, deltas, logits)
            case "l1":
                localisation = l1_localisation_loss(output.deltas, deltas)
            case form:
                assert_never(form)
        match weights.feature_form:
            case "rois":
                feature = self._feature_loss(output, pooled)
            case "boxes":
                feature = self._loss_inside(
                    targets, output, features, frame=(images.shape[2], images.shape[3])
                )
            case features_of:
                assert_never(features_of)
        return {
            "loss_feature": weights.feature * feature,
            "loss_cls_kd": weights.classification * classification_loss(output.logits, logits),
            "loss_loc_kd": weights.localisation * localisation,
        }

    def _feature_loss(self, output: TrainingOutput, pooled: Tensor) -> Tensor:
        levels = self.teacher.roi.box_roi_pool.level_of(output.proposals)
        student = self._scaled(self.adaptors(output.pooled, levels))
        if self.teacher_adaptors is None:
            return feature_loss(student, self._scaled(pooled))
        # Both sides learn, so neither is detached.
        gap = student - self._scaled(self.teacher_adaptors(pooled, levels))
        return feature_loss(gap, torch.zeros_like(gap))

    def _loss_inside(
        self,
        targets: Sequence[Mapping[str, Tensor]],
        output: TrainingOutput,
        features: Mapping[str, Tensor],
        *,
        frame: tuple[int, int],
    ) -> Tensor:
        """Computes the feature loss of whole levels inside the ground-truth boxes."""
        boxes = [target["boxes"] for target in targets]
        adapted = zip(self.adaptors, LEVELS, strict=True)
        student = [self._scaled(adapt(output.features[name])) for adapt, name in adapted]
        teacher = [features[name] for name in LEVELS]
        masks = [cells_inside(boxes, (level.shape[2], level.shape[3]), frame) for level in teacher]
        if self.teacher_adaptors is None:
            return masked_feature_loss(student, [self._scaled(level) for level in teacher], masks)
        both = zip(student, self.teacher_adaptors, teacher, strict=True)
        gaps = [one - self._scaled(adapt(level)) for one, adapt, level in both]
        return masked_feature_loss(gaps, [torch.zeros_like(gap) for gap in gaps], masks)

    def _scaled(self, features: Tensor) -> Tensor:
        match self.settings.feature_scale:
            case "raw":
                return features
            case "channels":
                return standardised(features)
            case scale:
                assert_never(scale)


def _check(student: DetectorSpec, teacher: DetectorSpec) -> None:
    if student.classes != teacher.classes:
        raise ValueError(
            f"student and teacher must have the same classes, got {student.classes}, {teacher.classes}"
        )
    if student.region.pooled != teacher.region.pooled:
        sides = f"{student.region.pooled}, {teacher.region.pooled}"
        raise ValueError(f"student and teacher must pool RoIs to the same side, got {sides}")
