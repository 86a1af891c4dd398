"""What a checkpoint of another library is: whose, of which family and widths, with which classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from jdn_core.detector.checkpoint_file import Checkpoint
from jdn_core.detector.class_head import known_classes
from jdn_core.detector.naming import LOGITS
from jdn_core.detector.pretrained import has_heads
from jdn_core.errors import CheckpointError
from jdn_core.settings.detector import CheckpointSettings
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import DEPTHS, KERNELS, KINDS, STEM, Family
from jdn_core.space.families import family as backbone_of


@dataclass(frozen=True)
class Portrait:
    """A checkpoint in words and numbers.

    Attributes:
        title: the library whose names it has.
        family: of its backbone.
        width: factor on the backbone's channels.
        neck: channels of the FPN; none in a backbone alone.
        head: width of the box head; none in a backbone alone.
        shapes: anchors of a cell; none in a backbone alone.
        classes: how many it tells apart; none in a backbone alone.
        names: of the classes by label, where they are known.
    """

    title: str
    family: Family
    width: float
    neck: int | None = None
    head: int | None = None
    shapes: int | None = None
    classes: int | None = None
    names: tuple[str, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Returns whether it is a detector, not a backbone alone."""
        return self.classes is not None

    def __str__(self) -> str:
        what = f"{self.title}'s {self.family}" + (f" of width {self.width:g}" if self.width != 1 else "")
        if not self.is_whole:
            return f"{what}, a backbone alone"
        return f"{what} with FPN {self.neck} and box head {self.head}, {self.classes} classes"


def portrait(checkpoint: Checkpoint, settings: CheckpointSettings | None = None) -> Portrait:
    """Reads off a checkpoint's tensors what the settings of its detector have to be.

    Args:
        checkpoint: as it was read.
        settings: name its classes where it does not.

    Raises:
        CheckpointError: its backbone is of no family that is known, or a part is not there.
    """
    naming, name = checkpoint.naming, _family(checkpoint)
    width = _rows(checkpoint, f"{naming.backbone[0]}.weight") / STEM
    if not has_heads(checkpoint):
        return Portrait(naming.title, name, width)
    modules = naming.modules(DetectorSpec(backbone_of(name, width=width), ((1, "any"),)))
    rows = {part: _rows(checkpoint, f"{modules[part]}.weight") for part in _PARTS.values()}
    classes = rows[LOGITS] - 1
    return Portrait(
        naming.title,
        name,
        width,
        neck=rows[_PARTS["neck"]],
        head=rows[_PARTS["head"]],
        shapes=rows[_PARTS["shapes"]],
        classes=classes,
        names=known_classes(checkpoint, found=classes, settings=settings or CheckpointSettings()),
    )


_PARTS: Mapping[str, str] = {
    "neck": "neck.inner_blocks.0.0",
    "head": "roi.box_head.fc6",
    "shapes": "rpn.head.cls_logits",
    "classes": LOGITS,
}


def _family(checkpoint: Checkpoint) -> Family:
    """Finds the family by blocks per stage, convolutions in a block and groups of the 3x3."""
    naming, tensors = checkpoint.naming, checkpoint.tensors
    depths = tuple(naming.depths(tensors))
    block = naming.block(0, 0)
    convolutions = sum(f"{block}{naming.backbone[3].format(i=i)}.weight" in tensors for i in (1, 2, 3))
    fitting = [
        name for name in DEPTHS if DEPTHS[name] == depths and len(KERNELS[KINDS[name]]) == convolutions
    ]
    if "x101" in fitting:  # as deep as r101, in groups
        grouped = _is_grouped(tensors.get(f"{block}{naming.backbone[3].format(i=2)}.weight"))
        fitting = ["x101" if grouped else "r101"]
    if not fitting:
        what = f"has {list(depths)} blocks per stage of {convolutions} convolutions, which no family has"
        raise CheckpointError(f"{checkpoint.file}: {what}; families: {', '.join(DEPTHS)}")
    return fitting[0]


def _is_grouped(kernel: Tensor | None) -> bool:
    return kernel is not None and kernel.ndim == 4 and kernel.shape[0] != kernel.shape[1]


def _rows(checkpoint: Checkpoint, name: str) -> int:
    tensor = checkpoint.tensors.get(name)
    if tensor is None or not tensor.ndim:
        what = f"{name} is missing; save the whole detector, or its backbone"
        raise CheckpointError(f"{checkpoint.file}: {what}")
    return len(tensor)
