"""Losses between student and teacher as free functions of tensors (paper, section 3.2; FACTS, section 4).

Every loss is a scalar, detaches what the teacher gave, and is zero, with a gradient path, where there is no
proposal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

BOX = 4  # numbers in a box's deltas
EPSILON = 1e-6  # variance under which a channel counts as constant


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


def standardised(features: Tensor) -> Tensor:
    """Brings each channel to mean 0 and variance 1 over proposals and cells, or images and cells.

    The mean squared error of two such features is 2 (1 - r), with Pearson's correlation r of a channel (ours,
    after Cao et al., "PKD", 2022): it asks for the teacher's pattern and not for its scale, which grows with
    the detector.

    Args:
        features: [N, C, H, W]; N may be 0.
    """
    over = (0, 2, 3)
    cells = max(features[:, 0].numel(), 1)  # not mean(), which is NaN where there is no proposal
    centred = features - features.sum(over, keepdim=True) / cells
    variance = centred.square().sum(over, keepdim=True) / cells
    return centred * (variance + EPSILON).rsqrt()


def masked_feature_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor]
) -> Tensor:
    """Computes the ablation's L_feat: mean squared error of whole pyramid levels inside masks.

    The mean is over the masks' cells of all levels, and over channels (ours).

    Args:
        student: per level [B, C, H, W], through its adaptor.
        teacher: per level [B, C, H, W] of the same images.
        masks: per level bool [B, H, W].
    """
    parts = zip(student, teacher, masks, strict=True)
    total = torch.stack([((s - t.detach()).square().sum(dim=1) * m).sum() for s, t, m in parts]).sum()
    cells = sum(int(mask.sum()) for mask in masks)
    return total / max(cells * student[0].shape[1], 1)


def cells_inside(boxes: Sequence[Tensor], cells: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """Returns which cells of a level have their middle in a box.

    Args:
        boxes: per image [N, 4], xyxy in pixels of the frame; N may be 0.
        cells: height and width of the level.
        frame: height and width of the images.

    Returns:
        bool [B, height, width].
    """

    def middles(count: int, side: int, like: Tensor) -> Tensor:
        return (torch.arange(count, device=like.device) + 0.5) * (side / count)

    masks = []
    for each in boxes:
        ys, xs = middles(cells[0], frame[0], each), middles(cells[1], frame[1], each)
        left, top, right, bottom = each.unbind(dim=1)
        in_x = (xs >= left[:, None]) & (xs < right[:, None])
        in_y = (ys >= top[:, None]) & (ys < bottom[:, None])
        masks.append((in_y[:, :, None] & in_x[:, None, :]).any(dim=0))
    return torch.stack(masks)


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
