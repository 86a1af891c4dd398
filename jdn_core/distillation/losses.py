"""Losses between student and teacher as free functions of tensors (paper, section 3.2; FACTS, section 4).

Every loss is a scalar, detaches what the teacher gave, and is zero, with a gradient path, where there is no
proposal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BOX = 4  # numbers in a box's deltas


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes L_feat: mean squared error of RoI-aligned features.

    The mean is over proposals, channels and cells alike, so that neither the neck's width nor the RoI's side
    sets the loss's scale (ours).

    Args:
        student: [N, C, S, S], through its adaptor.
        teacher: [N, C, S, S] of the same proposals.
    """
    # Not reduction="mean", which is NaN where there is no proposal.
    return functional.mse_loss(student, teacher.detach(), reduction="sum") / max(student.numel(), 1)


def classification_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes L_cls = -(1/N) sum_i P_t^i log P_s^i: cross-entropy under the teacher, no temperature.

    Args:
        student: logits [N, K + 1].
        teacher: logits [N, K + 1] of the same proposals.
    """
    likelihood = teacher.detach().softmax(dim=1) * student.log_softmax(dim=1)
    return -likelihood.sum() / max(len(student), 1)


def class_aware_localisation_loss(student: Tensor, teacher: Tensor, teacher_logits: Tensor) -> Tensor:
    """Computes L_loc = (1/N) sum_i | sum_c p_t^c (reg_t^c - reg_s^c) |_1 over the foreground classes c.

    A class counts as much as the teacher believes in it; the loss fades where the teacher sees background.

    Args:
        student: deltas per class [N, 4 (K + 1)], in units of the box coder; class 0 is the background.
        teacher: [N, 4 (K + 1)] of the same proposals.
        teacher_logits: [N, K + 1].
    """
    confidence = teacher_logits.detach().softmax(dim=1)[:, 1:]
    difference = _foreground(teacher.detach()) - _foreground(student)
    # The sum over classes stands inside the norm, as in the paper: errors of two classes may cancel.
    return torch.einsum("nk,nkd->nd", confidence, difference).abs().sum() / max(len(student), 1)


def l1_localisation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes the ablation's L_loc = (1/N) sum_i (1/K) sum_c | reg_t^c - reg_s^c |_1.

    All foreground classes count alike; the mean over them is ours, so that K does not set the loss's scale.

    Args:
        student: deltas per class [N, 4 (K + 1)], in units of the box coder; class 0 is the background.
        teacher: [N, 4 (K + 1)] of the same proposals.
    """
    difference = _foreground(teacher.detach()) - _foreground(student)
    proposals, classes, _ = difference.shape
    return difference.abs().sum() / max(proposals * classes, 1)


def bn_sparsity(backbone: nn.Module) -> Tensor:
    """Computes L_BN: sum of |gamma| over the BN layers of the student's backbone (network slimming)."""
    gammas: list[Tensor] = [
        module.weight for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)
    ]
    return torch.cat(gammas).abs().sum() if gammas else torch.zeros(())


def _foreground(deltas: Tensor) -> Tensor:
    """Maps [N, 4 (K + 1)] to [N, K, 4], without the background's."""
    return deltas.view(len(deltas), deltas.shape[1] // BOX, BOX)[:, 1:]
