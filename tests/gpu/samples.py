"""The random choices of one training step, taken over by another: the same anchors, proposals and RoIs.

Devices draw other numbers from the same seed, and proposals that differ in their last digit can change
places. So what one step sampled is kept, and given to the next one; all that is computed stays compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from jdn_core.detector.build import Detector


class Samples:
    """Filled by the first step that is run under them, obeyed by all others."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    @contextmanager
    def of(self, detector: Detector) -> Iterator[None]:
        """Makes the samplers of anchors and RoIs keep, or repeat, their choice."""
        device = next(detector.parameters()).device
        sampler, select = detector.rpn.fg_bg_sampler, detector.roi.select_training_samples
        detector.rpn.fg_bg_sampler = lambda labels: self._choice("anchors", sampler, (labels,), device)
        detector.roi.select_training_samples = lambda proposals, targets: self._choice(
            "rois", select, (proposals, targets), device
        )
        try:
            yield
        finally:
            detector.rpn.fg_bg_sampler = sampler
            del detector.roi.select_training_samples

    def _choice(self, name: str, choose: Any, arguments: tuple[Any, ...], device: torch.device) -> Any:
        if name not in self._kept:
            self._kept[name] = _moved(choose(*arguments), torch.device("cpu"))
        return _moved(self._kept[name], device)


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors in lists and tuples, on another device."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    return type(value)(_moved(part, device) for part in value)
