"""The losses against slow loops in float64, their gradients, and their zeros."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from jdn_core.distillation.losses import (
    bn_sparsity,
    cells_inside,
    class_aware_localisation_loss,
    classification_loss,
    feature_loss,
    l1_localisation_loss,
    masked_feature_loss,
    standardised,
)

N, K = 5, 3


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def deltas(*, seed: int) -> Tensor:
    return draw(N, 4 * (K + 1), seed=seed)


def test_the_feature_loss_is_the_mean_squared_difference() -> None:
    student, teacher = draw(N, 2, 3, 3, seed=1), draw(N, 2, 3, 3, seed=2)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum((s - t) ** 2 for s, t in pairs) / (N * 2 * 9)
    assert feature_loss(student, teacher).item() == pytest.approx(expected)


def test_of_standardised_features_the_loss_is_what_correlation_lacks_and_no_scale_matters() -> None:
    student, teacher = draw(N, 2, 3, 3, seed=1), draw(N, 2, 3, 3, seed=2)
    correlated = [torch.corrcoef(torch.stack([student[:, c].ravel(), teacher[:, c].ravel()])) for c in (0, 1)]
    expected = sum(2 * (1 - r[0, 1].item()) for r in correlated) / 2
    for scale, shift in ((1.0, 0.0), (30.0, -5.0)):
        loss = feature_loss(standardised(student), standardised(scale * teacher + shift))
        assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert torch.autograd.gradcheck(
        lambda s: feature_loss(standardised(s), teacher), student.requires_grad_()
    )


def test_a_constant_channel_and_no_proposal_are_zero_when_standardised() -> None:
    torch.testing.assert_close(standardised(torch.full((2, 3, 4, 4), 7.0)), torch.zeros(2, 3, 4, 4))
    assert standardised(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)


def test_the_classification_loss_is_the_cross_entropy_under_the_teacher() -> None:
    student, teacher = draw(N, K + 1, seed=1), draw(N, K + 1, seed=2)
    expected = 0.0
    for s, t in zip(student.exp(), teacher.exp(), strict=True):
        for c in range(K + 1):
            expected -= (t[c] / t.sum()).item() * (s[c] / s.sum()).log().item() / N
    assert classification_loss(student, teacher).item() == pytest.approx(expected)


def test_the_localisation_loss_weighs_foreground_classes_by_the_teachers_confidence() -> None:
    student, teacher, logits = deltas(seed=1), deltas(seed=2), draw(N, K + 1, seed=3)
    expected = 0.0
    for i in range(N):
        confidence = logits[i].exp() / logits[i].exp().sum()
        for d in range(4):
            gaps = (teacher[i] - student[i])[d::4]
            expected += abs(sum((confidence[c] * gaps[c]).item() for c in range(1, K + 1))) / N
    assert class_aware_localisation_loss(student, teacher, logits).item() == pytest.approx(expected)


def test_the_plain_localisation_loss_is_the_mean_over_proposals_and_foreground_classes() -> None:
    student, teacher = deltas(seed=1), deltas(seed=2)
    expected = sum(
        abs(float(teacher[i, 4 * c + d] - student[i, 4 * c + d])) / (N * K)
        for i in range(N)
        for c in range(1, K + 1)
        for d in range(4)
    )
    assert l1_localisation_loss(student, teacher).item() == pytest.approx(expected)


def test_a_teacher_sure_of_one_class_compares_the_deltas_of_that_class_alone() -> None:
    student, teacher = deltas(seed=1), deltas(seed=2)
    logits = torch.zeros(N, K + 1, dtype=torch.float64)
    logits[:, 2] = 1e3
    expected = (teacher - student)[:, 8:12].abs().sum() / N
    assert class_aware_localisation_loss(student, teacher, logits).item() == pytest.approx(expected.item())


def test_the_background_deltas_do_not_count() -> None:
    student, teacher, logits = deltas(seed=1), deltas(seed=2), draw(N, K + 1, seed=3)
    student.requires_grad_()
    loss = class_aware_localisation_loss(student, teacher, logits) + l1_localisation_loss(student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.count_nonzero(gradient[:, :4]) == 0
    assert torch.count_nonzero(gradient[:, 4:]) == N * 4 * K


PAIRED: list[Callable[[Tensor, Tensor], Tensor]] = [
    classification_loss,
    l1_localisation_loss,
    lambda student, teacher: class_aware_localisation_loss(student, teacher, teacher[:, : K + 1]),
    lambda student, teacher: feature_loss(student.view(-1, 4, 2, 2), teacher.view(-1, 4, 2, 2)),
]


@pytest.mark.parametrize("loss", PAIRED)
def test_gradients_are_exact_and_reach_the_student_alone(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    student = deltas(seed=1).requires_grad_()
    teacher = deltas(seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), student)
    loss(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("loss", PAIRED)
def test_without_proposals_a_loss_is_zero_with_a_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    student = torch.zeros(0, 4 * (K + 1), requires_grad=True)
    value = loss(student, torch.zeros(0, 4 * (K + 1)))
    value.backward()
    assert value.item() == 0.0
    assert student.grad is not None


@pytest.mark.parametrize("loss", PAIRED[1:])
def test_a_perfect_copy_costs_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    same = deltas(seed=1)
    assert loss(same, same.clone()).item() == 0.0


def test_sparsity_sums_the_sizes_of_all_bn_weights() -> None:
    first, second = nn.BatchNorm2d(2), nn.BatchNorm2d(3)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([-1.0, 0.5]))
    value = bn_sparsity(nn.Sequential(first, nn.Conv2d(2, 3, 1), nn.Sequential(second)))
    (gradient,) = torch.autograd.grad(value, first.weight)
    assert value.item() == pytest.approx(4.5)
    assert gradient.tolist() == [-1.0, 1.0]
    assert bn_sparsity(nn.Conv2d(1, 1, 1)).item() == 0.0


def test_the_masked_feature_loss_is_the_mean_over_the_masks_cells() -> None:
    student, teacher = ([draw(1, 2, 4, 4, seed=i), draw(1, 2, 2, 2, seed=i + 2)] for i in (1, 5))
    masks = [torch.zeros(1, 4, 4, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool)]
    masks[0][0, 1, 3] = True
    first = ((student[0] - teacher[0]) ** 2)[0, :, 1, 3].sum()
    expected = (first + ((student[1] - teacher[1]) ** 2).sum()) / (5 * 2)
    torch.testing.assert_close(masked_feature_loss(student, teacher, masks), expected)
    nothing = [torch.zeros_like(mask) for mask in masks]
    assert masked_feature_loss(student, teacher, nothing).item() == 0.0


def test_a_cell_is_inside_where_its_middle_is() -> None:
    boxes = [torch.tensor([[0.0, 0, 16, 8], [24, 8, 32, 16]]), torch.zeros(0, 4)]
    found = cells_inside(boxes, (2, 4), (16, 32))
    assert found[0].tolist() == [[True, True, False, False], [False, False, False, True]]
    assert not found[1].any()
