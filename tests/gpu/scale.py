"""How large everything is: in full on a GPU, in small on a CPU, where the same code has to run in minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jdn_core.space.architecture import BackboneSpec, DetectorSpec, RegionSpec, Resolution
from jdn_core.space.families import Family, family
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from tests.jdn_core.tiny import REGION

Precision = Literal["float32", "bfloat16"]
Sections = Mapping[str, Any]


@dataclass(frozen=True)
class Fast:
    """What is timed.

    Attributes:
        frames, batches, precisions: all combinations, in the order of their worth.
        warmup, pairs: steps before the clock runs, and pairs of steps that it sees.
    """

    frames: tuple[Resolution, ...]
    batches: tuple[int, ...]
    precisions: tuple[Precision, ...]
    warmup: int
    pairs: int


@dataclass(frozen=True)
class Scale:
    """Sizes of detectors, pictures and trainings.

    Attributes:
        width: of backbones and of the pool at factor 1, against the families' own.
        depth: most blocks of a stage.
        neck, head, region, classes: of every detector that is not trained on a dataset.
        frame: of the pictures that numbers are compared on.
        pool: the super-network that is compared with torchvision.
        few: a pool whose subnets are as deep as R18 and R50.
        subnets: of ``few``; they are compared on CUDA and CPU.
        fast: what is timed.
        shapes: number and side of generated photos.
        learnt: AP that a slim detector has at the least after its training on them.
        slim: settings of the runs on generated shapes.
        upgrade: settings of the whole upgrade.
        upgrade_seconds: what it takes; with less, its trainings are shorter.
    """

    width: float
    depth: int
    neck: int
    head: int
    region: RegionSpec
    classes: int
    frame: Resolution
    pool: SubnetSpace
    few: SubnetSpace
    subnets: tuple[SubnetSpec, ...]
    fast: Fast
    shapes: tuple[int, int]
    learnt: float
    slim: Sections
    upgrade: Sections
    upgrade_seconds: float

    def spec(self, name: Family) -> DetectorSpec:
        """Returns a family's detector for so many classes without meaning."""
        whole = family(name, width=self.width)
        backbone = BackboneSpec(whole.stem, tuple(blocks[: self.depth] for blocks in whole.stages))
        classes = tuple((number, f"class {number}") for number in range(1, self.classes + 1))
        return DetectorSpec(
            backbone, classes, neck=self.neck, head=self.head, region=self.region, resolution=self.frame
        )


def _space(depths: Any, *, width: float = 1.0, neck: int = 256, head: int = 1024) -> SubnetSpace:
    return SubnetSpace(depths, (1.0, 1.25, 1.5), width=width, neck=neck, head=head)


def _phases(space: Sections, epochs: int, **training: Any) -> list[dict[str, Any]]:
    """Returns two phases of a pool: the super-network alone, then all of its subnets."""
    shrinking = {"name": "shrink", "depths": space["depths"], "widths": space["widths"]}
    return [{"name": "supernet", "epochs": epochs, **training}, {**shrinking, "epochs": 1, **training}]


_SLIM = {"family": "r18", "width": 0.25, "neck": 32, "head": 64, "anchor_sizes": (8, 16, 32, 64, 128)}
_FEW_ROIS = {
    "train_proposals": (200, 100),
    "proposals": (100, 50),
    "anchors_per_image": 64,
    "rois_per_image": 32,
}
_FULL_POOL = {"depths": ((2, 3), (2, 4), (2, 23), (2, 3)), "widths": (1.0, 1.25, 1.5)}
_SMALL_POOL = {"depths": ((1, 2),) * 4, "widths": (1.0, 1.5), "width": 0.125, "neck": 16, "head": 16}
# bfloat16, so that three trainings at a time fit 80 GB beside their teachers.
_LONG = {"batch": 8, "lr": 0.02, "schedule": "cosine", "warmup": 50, "precision": "bfloat16"}
_BRIEF = {"batch": 4, "lr": 0.02, "schedule": "cosine"}

FULL = Scale(
    width=1.0,
    depth=23,
    neck=256,
    head=1024,
    region=RegionSpec(),
    classes=80,
    frame=Resolution(384, 288),
    pool=SubnetSpace(),
    few=_space(((2, 3), (2, 4), (2, 6), (2, 3))),
    subnets=(
        SubnetSpec((2, 2, 2, 2), 1.0, (1.0,) * 4, 1.0),
        SubnetSpec((3, 4, 6, 3), 1.25, (1.0, 1.25, 1.5, 1.25), 1.25),
    ),
    fast=Fast(
        frames=(Resolution(1333, 800), Resolution(800, 600)),
        batches=(4, 16, 2),
        precisions=("bfloat16", "float32"),
        warmup=2,
        pairs=5,
    ),
    upgrade_seconds=300.0,
    shapes=(400, 128),
    learnt=0.1,
    slim={
        "data": {"resolutions": ("96x96", "128x128")},
        "detector": {**_SLIM, **_FEW_ROIS},
        "base": {"epochs": 16, "batch": 16, "lr": 0.04, "schedule": "cosine", "warmup": 40},
        "pool": {"phases": [{"name": "supernet", "epochs": 1, "batch": 16}]},
    },
    upgrade={
        "data": {"resolutions": ("512x384", "640x480"), "cache_mb": 4096},
        "detector": {"family": "r50"},
        "base": {"epochs": 12, **_LONG},
        "pool": {
            "space": _FULL_POOL,
            "phases": _phases(_FULL_POOL, 8, **_LONG),
        },
        "search": {"iterations": 12, "workers": 3, "frozen_student_iterations": 2, "draw": "kind"},
        "evaluation": {"epochs": 2, **_LONG, "lr": 0.01, "warmup": 0, "latency_repeats": 20},
    },
)

SMALL = Scale(
    width=1 / 8,
    depth=2,
    neck=16,
    head=24,
    region=REGION,
    classes=2,
    frame=Resolution(96, 64),
    pool=_space(((1, 2), (1, 2), (1, 3), (1, 2)), width=1 / 8, neck=16, head=24),
    few=_space(((1, 2),) * 4, width=1 / 8, neck=16, head=24),
    subnets=(
        SubnetSpec((1, 1, 1, 1), 1.0, (1.0,) * 4, 1.0),
        SubnetSpec((2, 2, 2, 2), 1.25, (1.0, 1.25, 1.5, 1.25), 1.25),
    ),
    fast=Fast(
        frames=(Resolution(96, 64),), batches=(2,), precisions=("float32", "bfloat16"), warmup=1, pairs=1
    ),
    upgrade_seconds=0.0,
    shapes=(40, 64),
    learnt=1e-4,
    slim={
        "threads": 1,
        "data": {"resolutions": ("64x64",)},
        "detector": {**_SLIM, **_FEW_ROIS},
        "base": {"epochs": 5, "batch": 2, "lr": 0.02, "schedule": "cosine", "warmup": 8},
        "pool": {"phases": [{"name": "supernet", "epochs": 1, "batch": 4}]},
    },
    upgrade={
        "threads": 1,
        "data": {"resolutions": ("48x48", "64x64")},
        "detector": {**_SLIM, **_FEW_ROIS, "width": 0.125, "neck": 16, "head": 16},
        "base": {"epochs": 1, **_BRIEF},
        "pool": {"space": _SMALL_POOL, "calibration_images": 8, "phases": _phases(_SMALL_POOL, 1, **_BRIEF)},
        "search": {"iterations": 2, "frozen_student_iterations": 1, "prune_shares": (0.2,)},
        "evaluation": {"epochs": 1, **_BRIEF, "latency_warmup": 1, "latency_repeats": 2},
    },
)
