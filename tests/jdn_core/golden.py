"""The four students that the paper prints (appendix B), and what it implies that detectors cost.

Multiply-accumulates in G at 1333x800, 1080x720, 800x600 and 512x512 (of the backbone at the first of them),
parameters in M; 80 classes and 1000 RoIs. Where the paper implies nothing there is none.
"""

from __future__ import annotations

from typing import NamedTuple

from jdn_core.space.architecture import BackboneSpec, DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.notation import parse_backbone
from jdn_core.space.teachers import SubnetSpace, SubnetSpec

CLASSES = tuple((number, f"class {number}") for number in range(1, 81))
FRAMES = (Resolution(1333, 800), Resolution(1080, 720), Resolution(800, 600), Resolution(512, 512))

# As they are printed, brackets lost and all.
R18 = (
    "R18. Student: [(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)"
    "-(512, 512)"
    r"; Input size: 1080×7201080\times 720."
)
R50 = (
    "R50. Student: (58, 59, 205)-(60, 64, 205)-(63, 62, 205)], [(127, 128, 314)-(109, 122, 314)"
    "-(127, 123, 314)-(125, 124, 314)], [(256, 255, 591)-(243, 245, 591)-(237, 247, 591)"
    "-(243, 246, 591)-(252, 244, 591)-(252, 254, 591)], [(509, 507, 1856)-(509, 506, 1856)"
    "-(508, 507, 1856)]"
    r"; Input size: 1080×7201080\times 720."
)
R101 = (
    "R101. Student: [(49, 62, 202)-(35, 33, 202)-(56, 62, 202)], [(123, 128, 300)-(57, 90, 300)"
    "-(117, 113, 300)-(124, 117, 300)], [(255, 254, 321)-(65, 127, 321)-(32, 47, 321)"
    "-(32, 63, 321)-(120, 161, 321)-(132, 181, 321)-(162, 232, 321)-(175, 241, 321)"
    "-(143, 237, 321)-(199, 246, 321)-(210, 238, 321)-(201, 225, 321)-(210, 215, 321)"
    "-(211, 222, 321)-(201, 208, 321)-(198, 206, 321)-(220, 213, 321)-(226, 221, 321)"
    "-(234, 221, 321)-(237, 222, 321)], [(249, 229, 321)-(245, 231, 321)-(511, 478, 2031)"
    "-(507, 503, 2031)-(491, 477, 2031)]"
    r"; Input size: 1080×7201080\times 720."
)
X101 = (
    "X101. Student: [(128, 128, 256)-(112, 112, 256)-(124, 124, 256)], [(256, 256, 512)"
    "-(256, 256, 512)-(256, 256, 512)-(256, 256, 512)], [(512, 512, 1024)-(448, 448, 1024)"
    "-(480, 480, 1024)-(496, 496, 1024)-(512, 512, 1024)-(464, 464, 1024)-(416, 416, 1024)"
    "-(416, 416, 1024)-(416, 416, 1024)-(416, 416, 1024)-(432, 432, 1024)-(496, 496, 1024)"
    "-(400, 400, 1024)-(400, 400, 1024)-(464, 464, 1024)-(464, 464, 1024)-(432, 432, 1024)"
    "-(352, 352, 1024)-(400, 400, 1024)-(384, 384, 1024)-(272, 272, 1024)-(384, 384, 1024)"
    "-(384, 384, 1024)], [(384, 384, 1024)-(352, 352, 1024)-(1024, 1024, 2048)-(864, 864, 2048)"
    "-(384, 384, 2048)]"
    r"; Input size: 1333×8001333\times 800."
)


class Row(NamedTuple):
    """One detector of the table."""

    name: str
    spec: DetectorSpec
    backbone_gmacs: float | None
    gmacs: tuple[float | None, float | None, float | None, float | None]
    backbone_mparams: float | None
    mparams: float


def _row(name: str, backbone: BackboneSpec, *numbers: object) -> Row:
    return Row(name, DetectorSpec(backbone, CLASSES), *numbers)


def _subnet(depths: tuple[int, int, int, int], factor: float) -> BackboneSpec:
    """A teacher whose stem and neck keep the width of an R101."""
    subnet = SubnetSpec(depths, 1.0, (factor,) * 4, 1.0)
    spec = SubnetSpace().detector_spec(subnet, DetectorSpec(family("r101"), CLASSES))
    assert (spec.backbone.stem, spec.neck) == (64, 256)
    return spec.backbone


TABLE = [
    _row("R18", family("r18"), 38.7, (160.3, 120.7, 80.0, 50.1), 11.18, 28.68),
    _row("R18 student", parse_backbone(R18), None, (None, 117.1, None, None), None, 28.61),
    _row("R50", family("r50"), 87.3, (215.1, 160.7, 104.6, 63.5), 23.51, 41.75),
    _row("R50 student", parse_backbone(R50), 68.5, (194.0, 145.3, 95.1, 58.3), 19.39, 37.41),
    _row("R101", family("r101"), 166.9, (294.6, 218.6, 140.6, 82.9), 42.50, 60.75),
    _row("R101 student", parse_backbone(R101), 79.9, (205.0, 153.4, 100.2, 61.0), 24.05, 42.04),
    _row("X101", family("x101"), 170.5, (298.2, 221.3, 142.2, 83.7), 42.13, 60.37),
    _row("X101 student", parse_backbone(X101), 149.0, (276.7, 205.6, 132.5, 78.5), 37.03, 55.27),
    _row(
        "largest of the pool", _subnet((3, 4, 23, 3), 1.5), 371.3, (503.1, 370.9, 234.8, 133.8), 95.52, 114.26
    ),
    _row("smallest of the pool", _subnet((2, 2, 2, 2), 1.0), 50.0, (177.7, 133.4, 87.8, 54.3), 13.95, 32.19),
]
