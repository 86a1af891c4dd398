"""Settings become objects: the one place of the core that reads a whole run's settings."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from jdn_core.data.coco.dataset import CocoDataset, load, require_same_categories
from jdn_core.data.layouts import Split, find_split
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector, build
from jdn_core.detector.checkpoint_file import Checkpoint, read_checkpoint
from jdn_core.detector.class_head import ClassChoice
from jdn_core.detector.naming import CAFFE_MEAN, CAFFE_STD, Conventions
from jdn_core.detector.pretrained import adapt, has_heads, load_weights
from jdn_core.errors import DataError, InputMissing, Problem, SettingsError
from jdn_core.pool.shrinking import Phase
from jdn_core.search.hill_climbing import ClimbRules
from jdn_core.settings.sections import CheckpointSettings, DataSettings, PoolSettings
from jdn_core.settings.whole import Settings
from jdn_core.space.architecture import DetectorSpec, RegionSpec
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace
from jdn_core.stages.bench import Bench
from jdn_core.training.randomness import Stream


def device(name: str) -> torch.device:
    """``auto`` takes a GPU if there is one.

    Raises:
        SettingsError: the device is not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise SettingsError.of([Problem("settings", "device", "must be auto, cpu or cuda", repr(name))])
    if name == "cuda" and not torch.cuda.is_available():
        problem = Problem(
            "settings", "device", "no CUDA device on this machine", name, "use device: cpu or auto"
        )
        raise SettingsError.of([problem])
    return torch.device(name)


@cache
def dataset(data: DataSettings, split: Split) -> CocoDataset:
    """One split, checked; read once per process.

    Raises:
        InputMissing: no dataset was named, or it is not there.
        DataError: the dataset breaks rules.
    """
    if data.root is None:
        raise InputMissing("no dataset: name its folder with --data DIR or data.root")
    file, images = find_split(data.root, split)
    most = data.max_train_images if split == "train" else data.max_val_images
    return load(file, images, drop_bad_boxes=data.drop_bad_boxes, max_images=most)


@cache
def bench(settings: Settings) -> Bench:
    """Data and device of a run, with caches that stay warm from pair to pair of one process."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    data = settings.data
    train, val = (
        BatchLoader(images, workers=data.workers, cache_mb=data.cache_mb // 2)
        for images in check_data(settings)
    )
    return Bench(
        train=train,
        val=val,
        frames=data.frames,
        flip=data.flip,
        device=device(settings.device),
        stream=Stream((settings.seed,)),
    )


def check_data(settings: Settings) -> tuple[CocoDataset, CocoDataset]:
    """The train and the val split, and whether the run's settings suit them.

    Raises:
        InputMissing: a split is not there.
        DataError: problems of both splits at once.
        SettingsError: a batch is larger than the training split.
    """
    problems: list[Problem] = []
    for split in ("train", "val"):
        try:
            dataset(settings.data, split)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.of(problems)
    train, val = dataset(settings.data, "train"), dataset(settings.data, "val")
    require_same_categories(train, val)
    _check_batches(settings, len(train.images))
    return train, val


def _check_batches(settings: Settings, images: int) -> None:
    batches = {"base": settings.base.batch, "evaluation": settings.evaluation.batch}
    batches |= {f"pool.phases.{i}": phase.batch for i, phase in enumerate(settings.pool.phases)}
    problems = [
        Problem(
            "settings", f"{place}.batch", f"must be <= the number of training images ({images})", str(batch)
        )
        for place, batch in batches.items()
        if batch > images
    ]
    problems += _sharing_problems(settings)
    if problems:
        raise SettingsError.of(problems)


def pool_processes(settings: Settings) -> int:
    """How many processes train the pool together: one for each GPU, where the settings leave it open."""
    return settings.pool.processes or max(1, _gpus(settings))


def _gpus(settings: Settings) -> int:
    return 0 if settings.device == "cpu" else torch.cuda.device_count()


def _sharing_problems(settings: Settings) -> list[Problem]:
    """What keeps the pool's processes from having a GPU and an equal share of every batch each."""
    count, gpus = pool_processes(settings), _gpus(settings)
    problems = [
        Problem(
            "settings", f"pool.phases.{i}.batch", f"must be a multiple of pool.processes ({count})", str(n)
        )
        for i, n in enumerate(phase.batch for phase in settings.pool.phases)
        if n % count
    ]
    if 0 < gpus < count:
        what = f"must be <= the number of GPUs ({gpus})"
        problems.append(Problem("settings", "pool.processes", what, str(count)))
    return problems


def classes(images: CocoDataset) -> tuple[tuple[int, str], ...]:
    """(category id, name) by label, as a detector's specification holds them."""
    return tuple((category.id, category.name) for category in images.categories)


def base_spec(settings: Settings) -> DetectorSpec:
    """The base detector's architecture for the classes of the dataset, at the largest resolution."""
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
        classes=classes(dataset(settings.data, "train")),
        neck=base.neck,
        head=base.head,
        region=region,
        resolution=settings.data.frames[-1],
    )
    if base.pretrained is None:
        return spec
    return adapt(spec, conventions(base.checkpoint, read_checkpoint(base.pretrained)))


def base_detector(spec: DetectorSpec, settings: Settings) -> Detector:
    """The base before its training: fresh, or as far as ``detector.pretrained`` fills it.

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
    choice = ClassChoice(base.checkpoint.head, base.checkpoint.classes)
    load_weights(detector, checkpoint, conventions(base.checkpoint, checkpoint), choice)
    return detector


def conventions(settings: CheckpointSettings, checkpoint: Checkpoint) -> Conventions:
    """What the checkpoint's library does by default, and what the settings know better."""
    own = checkpoint.conventions
    if settings.channels not in (None, own.channels):
        caffe = settings.channels == "bgr"
        own = replace(own, mean=CAFFE_MEAN if caffe else None, std=CAFFE_STD if caffe else None)
    told = settings.model_dump(exclude={"head", "classes"}, exclude_none=True)
    return replace(own, **told)


def subnet_space(settings: PoolSettings) -> SubnetSpace:
    """The pool's whole space."""
    space = settings.space
    return SubnetSpace(space.depths, space.widths, width=space.width, neck=space.neck, head=space.head)


def phases(settings: PoolSettings) -> tuple[Phase, ...]:
    """The phases of integrated progressive shrinking; the first is the super-network alone."""
    space = subnet_space(settings)
    return tuple(
        Phase(phase.name, space.narrow(depths=phase.depths, widths=phase.widths), phase, phase.sampling)
        for phase in settings.phases
    )


def climb_rules(settings: Settings) -> ClimbRules:
    """Everything but the results that decides the search's proposals."""
    search = settings.search
    return ClimbRules(
        search=settings.name,
        seed=settings.seed,
        score=settings.score,
        space=subnet_space(settings.pool),
        top_k=search.top_k,
        lookback=search.effective_lookback,
        frozen_student_iterations=search.frozen_student_iterations,
        student_probability=search.student_probability,
        prune_shares=search.prune_shares,
        draw=search.draw,
    )
