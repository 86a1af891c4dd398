from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from jdn_core.detector.checkpoint_file import Checkpoint
from jdn_core.detector.class_head import choose_rows, labels
from jdn_core.detector.naming import DELTAS, LOGITS, TORCHVISION, Conventions
from jdn_core.errors import CheckpointError
from jdn_core.settings.detector import CheckpointSettings

CHECKPOINT = Checkpoint("a.pth", TORCHVISION, {}, None, Conventions())
BY_NAME = CheckpointSettings()


def _head(classes: int, boxes: int) -> dict[str, Tensor]:
    """Logits 0, 1, 2 ...; the deltas of box i are i, i + 0.1, i + 0.2, i + 0.3."""
    deltas = torch.arange(boxes)[:, None] + torch.arange(4) / 10
    state = {f"{LOGITS}.bias": torch.arange(classes + 1.0), f"{DELTAS}.bias": deltas.flatten()}
    return state | {name.replace("bias", "weight"): value[:, None] for name, value in state.items()}


@pytest.mark.parametrize(
    ("found", "names", "wanted"),
    [(90, ("Person", "toothbrush"), [1, 90]), (80, ("toothbrush", "car"), [80, 3])],
)
def test_cocos_classes_are_known_by_their_number(
    found: int, names: tuple[str, ...], wanted: list[int]
) -> None:
    assert labels(names, CHECKPOINT, found=found, settings=BY_NAME) == wanted


def test_names_of_the_settings_come_before_those_of_the_file() -> None:
    named = replace(CHECKPOINT, classes=("a", "b", "c"))
    assert labels(["c", "a"], named, found=3, settings=BY_NAME) == [3, 1]
    assert labels(["c", "a"], named, found=3, settings=CheckpointSettings(classes=("c", "b", "a"))) == [1, 3]


def test_classes_that_the_file_does_not_have_are_all_named() -> None:
    named = replace(CHECKPOINT, classes=("RBC", "WBC"))
    with pytest.raises(CheckpointError) as caught:
        labels(["rbc", "Platelets", "N/A"], named, found=2, settings=BY_NAME)
    assert [problem.value for problem in caught.value.problems] == ["'Platelets'", "'N/A'"]
    assert "detector.checkpoint.head: new" in str(caught.value)


def test_a_class_that_coco_left_out_has_no_row() -> None:
    with pytest.raises(CheckpointError, match="must name each class of the dataset, got 'N/A'"):
        labels(["person", "N/A"], CHECKPOINT, found=90, settings=BY_NAME)


@pytest.mark.parametrize(
    ("names", "message"),
    [(None, "has 3 classes without names"), (("a", "b"), "has 3 classes, 2 names are known")],
)
def test_classes_without_names_are_asked_for(names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"{message}; name them in detector.checkpoint.classes"):
        labels(["a"], CHECKPOINT, found=3, settings=CheckpointSettings(classes=names))


def test_a_head_is_kept_only_with_the_same_number_of_classes() -> None:
    assert labels(["a", "b"], CHECKPOINT, found=2, settings=CheckpointSettings(head="keep")) == [1, 2]
    with pytest.raises(CheckpointError, match="the dataset's 2 classes where its class head is kept, got 3"):
        labels(["a", "b"], CHECKPOINT, found=3, settings=CheckpointSettings(head="keep"))


@pytest.mark.parametrize(
    ("conventions", "boxes", "logits", "deltas"),
    [
        (Conventions(), 4, [0, 3, 1], [0, 3, 1]),  # torchvision: background first, with deltas of its own
        (Conventions(background_first=False), 3, [3, 2, 0], [0, 2, 0]),  # MMDetection, Detectron2
        (Conventions(background_first=False), 1, [3, 2, 0], [0, 0, 0]),  # deltas that all classes share
    ],
)
def test_rows_are_cut_and_sorted(
    conventions: Conventions, boxes: int, logits: list[int], deltas: list[int]
) -> None:
    state = _head(3, boxes)
    choose_rows(state, [3, 1], conventions)
    assert state[f"{LOGITS}.bias"].tolist() == logits
    found = state[f"{DELTAS}.weight"].view(3, 4)
    known = [torch.tensor([float(box)] * 4) + torch.arange(4) / 10 for box in deltas]
    known[0] = known[0] if conventions.background_first or boxes == 1 else torch.zeros(4)
    torch.testing.assert_close(found, torch.stack(known))
