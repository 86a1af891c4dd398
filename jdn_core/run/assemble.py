"""Settings become values of the method: architectures, spaces, phases, rules."""

from __future__ import annotations

from dataclasses import replace

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.detector.build import Detector, build
from jdn_core.detector.checkpoint_file import Checkpoint, read_checkpoint
from jdn_core.detector.naming import CAFFE_MEAN, CAFFE_STD, Conventions
from jdn_core.detector.pretrained import adapt, has_heads, load_weights
from jdn_core.errors import Problem, SettingsError
from jdn_core.evaluation.complexity import complexity
from jdn_core.pool.shrinking import Phase
from jdn_core.run import datasets
from jdn_core.search.contenders import Bound, Contender, Contest, wanted
from jdn_core.search.hill_climbing import ClimbRules
from jdn_core.search.standing import Standing
from jdn_core.settings.detector import CheckpointSettings
from jdn_core.settings.whole import Settings
from jdn_core.space.architecture import DetectorSpec, RegionSpec
from jdn_core.space.families import family

_HALVINGS = 20  # of a width: far finer than its steps of eight channels


def classes(images: CocoDataset) -> tuple[tuple[int, str], ...]:
    """Returns (category id, name) by label, as a detector's specification holds them."""
    return tuple((category.id, category.name) for category in images.categories)


def base_spec(settings: Settings) -> DetectorSpec:
    """Returns the base detector's architecture for the classes of the dataset, at the largest resolution."""
    base = settings.detector
    region = RegionSpec(
        anchor_sizes=base.anchor_sizes,
        aspect_ratios=base.aspect_ratios,
        train_proposals=base.train_proposals,
        proposals=base.proposals,
        anchors_per_image=base.anchors_per_image,
        rois_per_image=base.rois_per_image,
        pooled=base.pooled,
    )
    spec = DetectorSpec(
        backbone=family(base.family, width=base.width),
        classes=classes(datasets.dataset(settings.data, "train")),
        neck=base.neck,
        head=base.head,
        region=region,
        resolution=settings.data.frames[-1],
    )
    if base.pretrained is None:
        return spec
    return adapt(spec, conventions(base.checkpoint, read_checkpoint(base.pretrained)))


def base_detector(spec: DetectorSpec, settings: Settings) -> Detector:
    """Builds the base before its training: fresh, or as far as ``detector.pretrained`` fills it.

    Raises:
        InputMissing: there is no such file.
        CheckpointError: the file does not fit.
        SettingsError: it is a backbone alone, but nothing is to be trained.
    """
    detector, base = build(spec), settings.detector
    if base.pretrained is None:
        return detector
    checkpoint = read_checkpoint(base.pretrained)
    if not (settings.base.epochs or has_heads(checkpoint)):
        what = f"must be >= 1, because {checkpoint.file} is a backbone without the rest of a detector"
        raise SettingsError.of([Problem("settings", "base.epochs", what, "0")])
    load_weights(detector, checkpoint, conventions(base.checkpoint, checkpoint), base.checkpoint)
    return detector


def conventions(settings: CheckpointSettings, checkpoint: Checkpoint) -> Conventions:
    """Returns what the checkpoint's library does by default, except for what the settings say."""
    own = checkpoint.conventions
    if settings.channels not in (None, own.channels):
        caffe = settings.channels == "bgr"
        own = replace(own, mean=CAFFE_MEAN if caffe else None, std=CAFFE_STD if caffe else None)
    given = settings.model_dump(exclude={"head", "classes"}, exclude_none=True)
    return replace(own, **given)


def phases(settings: Settings) -> tuple[Phase, ...]:
    """Returns the phases of integrated progressive shrinking; the first is the super-network alone."""
    space = settings.subnet_space
    return tuple(
        Phase(space.narrow(depths=phase.depths, widths=phase.widths), phase) for phase in settings.pool.phases
    )


def climb_rules(settings: Settings) -> ClimbRules:
    """Returns everything but the results that decides the search's proposals."""
    return ClimbRules(settings.name, settings.seed, settings.score, settings.subnet_space, settings.search)


def contenders(settings: Settings, standing: Standing) -> tuple[Contender, ...]:
    """Returns what is to stand beside a search's winner as it is now."""
    search = settings.search
    contest = Contest(settings.base.epochs, settings.evaluation.epochs, search.finish, search.controls)
    return wanted(standing, contest)


def narrowed_spec(settings: Settings, bound: Bound) -> DetectorSpec | None:
    """Returns the base with the widest backbone of its family within a bound; none where all cost more.

    It is the base itself where that is within the bound. The width is found by bisection: MACs rise with it.
    """
    spec, name = base_spec(settings), settings.detector.family

    def at(width: float) -> DetectorSpec:
        return replace(spec, backbone=family(name, width=width))

    def fits(width: float) -> bool:
        return complexity(at(width), bound.resolution).macs <= bound.macs

    if complexity(spec, bound.resolution).macs <= bound.macs:
        return spec
    low, high = 0.0, settings.detector.width
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return at(low) if low else None
