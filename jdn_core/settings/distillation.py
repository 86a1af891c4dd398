"""Settings of what the student learns from the teacher."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from jdn_core.settings.values import Weight


class DistillationSettings(BaseModel, frozen=True, extra="forbid", title="Distillation"):
    """What the student learns from the teacher (paper, section 3.2)."""

    when: Literal["better", "always"] = Field(
        "always",
        description="Which pairs are distilled: all, or those whose teacher has a better AP than the parent, "
        "at the largest resolution (ours).",
    )
    feature: Weight = Field(1.0, description="Weight of L_feat.")
    feature_form: Literal["rois", "boxes"] = Field(
        "rois",
        description="Features of the shared proposals, or of all cells inside the ground-truth boxes, as "
        "masks of older methods do (paper, Table 11).",
    )
    feature_scale: Literal["raw", "channels"] = Field(
        "raw",
        description="Features as they are, or each channel of both sides brought to mean 0 and variance 1 "
        "over the proposals first, so that one weight suits every detector (ours).",
    )
    classification: Weight = Field(1.0, description="Weight of L_cls.")
    localisation: Weight = Field(1.0, description="Weight of L_loc.")
    localisation_form: Literal["class_aware", "l1"] = Field(
        "class_aware", description="Deltas weighted by the teacher's classes, or plain L1."
    )
    both_sides: bool = Field(
        False, description="Adaptors on the teacher's side too; allows the trivial zero solution."
    )
    sparsity: Weight = Field(
        1e-5, description="lambda of the L1 on BN weights, in every training of the student."
    )

    @property
    def has_losses(self) -> bool:
        """Returns whether any loss between student and teacher weighs something."""
        return bool(self.feature or self.classification or self.localisation)
