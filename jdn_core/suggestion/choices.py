"""The choices that make settings: a key, a value, and the reason that a reader of the file sees (ours).

What was measured on few photos carries over: a constant rate and an average of the weights, teachers that
grow from the base, controls beside the winner, photos that the search never sees (docs/measurements.md).
Numbers grow and shrink with the photos from BCCD's 205, where they were measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jdn_core.evaluation.complexity import complexity
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import DEPTHS, Family, family
from jdn_core.suggestion import anchors, frames
from jdn_core.suggestion.anchors import Suited
from jdn_core.suggestion.machine import Machine
from jdn_core.suggestion.survey import Survey, quantiles

MEASURED_ON = 205  # photos
_MIB = 2**20
_FEW, _MANY = 100, 1000  # photos; boxes a class
_MOST_EPOCHS, _FEWEST_EPOCHS = 300, 8
# Of what a training step keeps of an image: about 3 GiB in R50 at 1333x800, whose backbone has 87 G MACs.
_BYTES_PER_MAC = 0.036
_WIDER = 2.5  # times as much for the pool's largest network beside its teacher
_SHARE = 0.6  # of a GPU's memory; the rest is for weights, proposals and the allocator


class Choice(NamedTuple):
    """A key of the settings, such as ``base.epochs``, its value as plain data, and why."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Begin:
    """What the base begins with.

    Attributes:
        family: of the backbone.
        file: of a checkpoint; empty: from scratch.
        title: what the checkpoint is, in words.
        width, neck, head: of the detector.
        shapes: anchors of a cell that there are weights for; none: any.
        is_whole: whether it is a detector, not a backbone alone.
        knows_classes: whether all classes of the dataset are among its own.
    """

    family: Family = "r18"
    file: str = ""
    title: str = ""
    width: float = 1.0
    neck: int = 256
    head: int = 1024
    shapes: int | None = None
    is_whole: bool = False
    knows_classes: bool = False


# bccd_cpu's, at which its numbers were measured.
SLIM = Begin(width=0.5, neck=64, head=128)


@dataclass(frozen=True, eq=False)
class Suggestion:
    """All choices, and what they were made of.

    Attributes:
        choices: in the order of the settings' sections.
        frames: input frames, smallest first.
        anchors: with the share of boxes that they cover.
    """

    choices: tuple[Choice, ...]
    frames: tuple[Resolution, ...]
    anchors: Suited

    def reason(self, key: str) -> str:
        """Returns why a key has its value; raises StopIteration for a key that was not chosen."""
        return next(choice.why for choice in self.choices if choice.key == key)

    def plain(self) -> dict[str, Any]:
        """Returns the settings as nested plain data."""
        found: dict[str, Any] = {}
        for choice in self.choices:
            *parents, last = choice.key.split(".")
            inner = found
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = choice.value
        return found


class Setting(NamedTuple):
    """Everything that choices depend on.

    Attributes:
        name: of the run.
        places: keys of the data, such as ``root``, and their paths.
        survey: of the photos.
        machine: that they are trained on.
        begin: what the base begins with.
        holdout: share of the validation photos, or test, that the search never sees; and why.
    """

    name: str
    places: Mapping[str, str]
    survey: Survey
    machine: Machine
    begin: Begin
    holdout: tuple[float | Literal["test"], str]


def suggest(setting: Setting) -> Suggestion:
    """Returns settings that suit photos, checkpoint and machine, each with its reason."""
    budget = frames.GPU if setting.machine.gpu else frames.CPU
    suited = frames.suit(setting.survey, budget)
    boxes = anchors.suit(setting.survey, suited, ratios=setting.begin.shapes)
    epochs = _epochs(setting)
    found = (
        Choice("name", setting.name, "of the search and of its experiment in MLflow"),
        Choice("seed", 0, "of every random draw"),
        *_data(setting, suited),
        *_detector(setting, boxes),
        *_base(setting, epochs, suited[-1]),
        *_pool(setting, epochs, suited[-1]),
        *_search(setting),
        *_evaluation(setting, epochs, suited[-1]),
        *_rest(setting),
    )
    return Suggestion(found, suited, boxes)


def _data(setting: Setting, suited: tuple[Resolution, ...]) -> Iterator[Choice]:
    survey, machine = setting.survey, setting.machine
    for key, path in setting.places.items():
        yield Choice(f"data.{key}", path, f"{survey.train} photos to learn from, {survey.val} to measure on")
    longer, shorter = survey.photo_size
    _, middle, _ = quantiles(survey.box_sides)
    small = quantiles(survey.box_sides)[0]
    scale = max(suited[-1]) / longer
    yield Choice(
        "data.resolutions",
        [str(frame) for frame in suited],
        f"photos are {longer}x{shorter}; in the largest frame a tenth of the boxes have sides of less than "
        f"{small * scale:.0f} px, half of them less than {middle * scale:.0f} px",
    )
    yield Choice("data.holdout", *setting.holdout)
    if machine.gpu:
        yield Choice("data.workers", max(1, min(8, machine.cores - 1)), f"of {machine.cores} cores")
    images = sum(frame.pixels for frame in suited) * 3 * (survey.train + survey.val)
    room = min(-(-images // _MIB) + 64, machine.memory // 4 // _MIB)
    yield Choice("data.cache_mb", room, f"all photos in all frames take {images / 2**30:.2f} GiB of memory")


def _detector(setting: Setting, boxes: Suited) -> Iterator[Choice]:
    begin = setting.begin
    if begin.file:
        yield Choice("detector.pretrained", begin.file, begin.title)
        if begin.is_whole:
            head = "by_name" if begin.knows_classes else "new"
            known = "the checkpoint has" if begin.knows_classes else "not all of them are in the checkpoint"
            yield Choice("detector.checkpoint", {"head": head}, f"the dataset's classes: {known}")
    slim = " as bccd_cpu's, so that two cores do it in hours" if begin == SLIM else ""
    source = " of the checkpoint" if begin.file else slim
    yield Choice("detector.family", begin.family, f"the backbone{source}")
    yield Choice("detector.width", begin.width, "factor on the backbone's channels")
    yield Choice("detector.neck", begin.neck, "channels of the FPN")
    yield Choice("detector.head", begin.head, "width of the box head")
    yield Choice(
        "detector.anchor_sizes",
        list(boxes.anchors.sizes),
        f"{boxes.after:.1%} of the boxes have an IoU of 0.5 or more with an anchor; "
        f"with torchvision's own {boxes.before:.1%}",
    )
    yield Choice("detector.aspect_ratios", list(boxes.anchors.ratios), "height / width of the anchors")
    if begin == SLIM:
        many = max(100, min(1000, 2 * setting.survey.crowded))
        why = f"a photo has up to {setting.survey.crowded} boxes"
        yield Choice("detector.train_proposals", [4 * many, 2 * many], why)
        yield Choice("detector.proposals", [2 * many, many], why)
        yield Choice("detector.anchors_per_image", 64, "of which the RPN's loss is made, as in bccd_cpu")
        yield Choice("detector.rois_per_image", 64, "of which the box head's loss is made, as in bccd_cpu")


def _epochs(setting: Setting) -> int:
    """Returns the base's epochs: 30 for 205 photos; the photos seen grow with the root of their number."""
    wanted = 30 * math.sqrt(MEASURED_ON / setting.survey.train) * (0.5 if setting.begin.is_whole else 1)
    return max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(wanted)))


def _batch(setting: Setting) -> int:
    return min(4 if setting.begin == SLIM else 8, setting.survey.train)


def _rate(setting: Setting) -> float:
    """Returns the constant rate: bccd_cpu's, or 0.02 at 16 images; half of it where a detector is tuned."""
    if setting.begin == SLIM:
        return 0.02
    return round(0.02 * _batch(setting) / 16 * (0.5 if setting.begin.is_whole else 1), 5)


def _regime(setting: Setting) -> dict[str, Any]:
    return {"batch": _batch(setting), "lr": _rate(setting), "schedule": "constant", "average": 1.0}


def _base(setting: Setting, epochs: int, largest: Resolution) -> Iterator[Choice]:
    steps = setting.survey.train // _batch(setting)
    yield Choice(
        "base.epochs",
        epochs,
        f"of {steps} steps; 205 photos need 30 at the least, and the photos seen grow with the root of "
        "their number" + (", half of it from a trained detector" if setting.begin.is_whole else ""),
    )
    yield Choice("base.batch", _batch(setting), "more steps are worth more than more photos in each")
    why = "0.02 for slim nets; 0.02 per 16 photos at full width, half of it to tune"
    yield Choice("base.lr", _rate(setting), why)
    yield Choice("base.schedule", "constant", "a search goes on from it: a lineage is then one training")
    yield Choice("base.average", 1.0, "the average over an epoch is what is measured, as good as a cool-down")
    yield Choice("base.warmup", min(100, max(1, steps * epochs // 10)), "iterations")
    yield from _in_parts(setting, "base", largest, 1.0)


def _pool(setting: Setting, epochs: int, largest: Resolution) -> Iterator[Choice]:
    begin, few = setting.begin, setting.survey.train < _FEW
    grows = begin.family != "x101"
    if grows:
        yield Choice(
            "pool.start", "base", "teachers that grow from the base are as good as it from the start"
        )
        first, second, third, fourth = DEPTHS[begin.family]
        more = 0 if few else 1
        depths = [[first, first], [second, second + more], [third, third + more], [fourth, fourth]]
        widths = [1.0, 1.25] if few else [1.0, 1.25, 1.5]
        size = "small, for few photos overfit" if few else "up to half as wide again and two blocks deeper"
        yield Choice("pool.space", {"depths": depths, "widths": widths}, size)
    yield Choice("pool.calibration_images", min(64, setting.survey.train), "that reset a teacher's BN")
    most = {} if grows else {"lr": 0.02 * _batch(setting) / 16}
    regime = {"batch": _batch(setting), "lr": _rate(setting)} | most | _parts(setting, largest, _WIDER)
    short = {"epochs": max(1, round(epochs / 15))} | regime | {"lr": regime["lr"] / 4, "schedule": "cosine"}
    supernet = {"name": "supernet", "epochs": max(2, round(epochs / 3)), **regime}
    supernet |= {"schedule": "constant", "cooldown": 0.3}
    shrinking = [{"name": "shrink-1", **short}, {"name": "shrink-2", **short}]
    if grows:
        shrinking[0] |= {"depths": depths, "widths": widths[1:]}
        shrinking[1] |= {"depths": depths, "widths": widths}
    else:
        supernet["epochs"] = epochs
    why = "a third of the base's epochs, then two short shrinking phases, for the base inside needs none"
    yield Choice("pool.phases", [supernet, *shrinking], why)


def _search(setting: Setting) -> Iterator[Choice]:
    pairs = 40 if setting.machine.gpu else 25
    yield Choice("search.iterations", pairs, "pairs; more of them can be added later")
    yield Choice("search.draw", "kind", "so that few pairs see every action")
    yield Choice("search.prune_shares", [0.1, 0.25], "large steps, for there are few pairs")
    yield Choice("search.finish", 0.2, "a last cool-down of the winner; shorter ones give less")
    yield Choice(
        "search.controls",
        ["longer", "distilled", "scaled"],
        "what anybody would do first, for the same epochs; the best of all is the result. [] saves the time",
    )


def _evaluation(setting: Setting, epochs: int, largest: Resolution) -> Iterator[Choice]:
    yield Choice("evaluation.epochs", max(1, min(10, round(epochs / 10))), "a tenth of the base's")
    for key, value in _regime(setting).items():
        yield Choice(f"evaluation.{key}", value, "as the base's, whose training goes on")
    yield from _in_parts(setting, "evaluation", largest, _WIDER)
    yield Choice("evaluation.latency_repeats", 15, "detections whose median is the latency")


def _rest(setting: Setting) -> Iterator[Choice]:
    yield Choice("distillation.when", "better", "a teacher worse than the parent teaches nothing")
    if setting.begin == SLIM:
        yield Choice(
            "distillation.feature", 0.1, "at unit weight it is twice all losses of so slim a student"
        )
    yield Choice("score.alpha", 0.2, "how much cost counts against AP; the paper's 0.4 gives up more AP")
    yield Choice("score.keep_base_ap", True, "no winner is worse than the base")


def _in_parts(setting: Setting, section: str, largest: Resolution, factor: float) -> Iterator[Choice]:
    for key, most in _parts(setting, largest, factor).items():
        why = f"as many as fit {setting.machine.gpu_memory / 2**30:.0f} GiB, by rule of thumb"
        yield Choice(f"{section}.{key}", most, why)


def _parts(setting: Setting, largest: Resolution, factor: float) -> dict[str, int]:
    """Returns ``device_batch`` where a GPU does not hold a whole batch at once."""
    if not setting.machine.gpu:
        return {}
    begin = setting.begin
    spec = DetectorSpec(family(begin.family, width=begin.width), ((1, "any"),), neck=begin.neck)
    image = complexity(spec, largest).backbone_macs * _BYTES_PER_MAC * factor
    fitting = max(1, int(_SHARE * setting.machine.gpu_memory / image))
    return {"device_batch": fitting} if fitting < _batch(setting) else {}
