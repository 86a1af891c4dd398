"""What processes that train together do in the tests; the launcher imports it by name."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import Matcher

from jdn_core.data.coco.dataset import CocoDataset, load
from jdn_core.data.layouts import find_split
from jdn_core.data.loading import Batch, BatchLoader, Plan
from jdn_core.detector.build import Detector, build
from jdn_core.errors import DataError
from jdn_core.processes import stopping
from jdn_core.processes.progress import report
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.loop import Course, History, train
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import training_plan
from tests.jdn_core.tiny import tiny_spec

State = dict[str, np.ndarray]


def counted(ranks: Ranks, fail: str = "", starts: Path | None = None) -> list[float]:
    """Gradients added up; the second process may fail on the way, and notes its starts in a file."""
    report("counting", ranks.number, ranks.count)
    if fail and not ranks.first:
        match fail:
            case "data":
                _count(starts)
                raise DataError("image 7 cannot be decoded")
            case "memory":
                torch.empty(2**50, dtype=torch.uint8)
            case "bug":
                raise ValueError("a bug")
            case "crash" if _count(starts) < 3:
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                stopping.request(signal.SIGINT)
    if wish := ranks.agree(stopping.requested()):
        raise stopping.Stopped(wish)
    parameters = [nn.Parameter(torch.zeros(2, 3, 2, 2)) for _ in range(3)]
    for parameter in parameters[: 1 + ranks.number]:
        parameter.grad = torch.full_like(parameter, 1 + ranks.number)
    ranks.add_gradients(parameters)
    return [-1.0 if p.grad is None else p.grad.mean().item() for p in parameters]


def _count(file: Path | None) -> int:
    """How often this was called, this time included."""
    assert file is not None
    file.parent.mkdir(exist_ok=True)
    with file.open("ab") as opened:
        opened.write(b".")
    return file.stat().st_size


def waiting(ranks: Ranks) -> None:
    """Tells the numbers of both processes and then waits for ever."""
    numbers = ranks.add_losses({"pid": torch.tensor(os.getpid(), dtype=torch.float64)})
    report("processes", os.getpid(), int(numbers["pid"]) - os.getpid())
    threading.Event().wait()


def listening_at(ranks: Ranks) -> set[str]:
    """Addresses of this machine, as the kernel writes them, at which this process listens."""
    mine = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in mine:
                found.add(local.partition(":")[0])
    return found


@dataclass(frozen=True)
class Case:
    """A training of a tiny detector.

    Attributes:
        photos: a dataset of drawn shapes.
        device_batch: as in the settings.
        batch_free: no batch statistics; all anchors and proposals are sampled, and as many in every image.
        checkpoints: folder to go on from.
        kill, stop: iteration at which the last process is killed at its first start, or asked to stop.
    """

    photos: Path
    device_batch: int | None = None
    batch_free: bool = False
    checkpoints: Path | None = None
    kill: int = -1
    stop: int = -1


def trained(ranks: Ranks, case: Case) -> tuple[State, History]:
    """Weights and losses after two epochs of three iterations of four images."""
    dataset = load(*find_split(case.photos, "train"))
    if case.batch_free:
        dataset = _one_box_each(dataset)
    detector = _detector(dataset, case)
    regime = TrainingSettings(
        epochs=2, batch=4, lr=0.01, schedule="cosine", warmup=0, device_batch=case.device_batch
    )
    stream = Stream((0, "together"))

    def plan_of(epoch: int) -> Plan:
        frames, draws = [Resolution(64, 64)], stream.child("epoch", epoch)
        return training_plan(len(dataset.images), batch=4, resolutions=frames, flip=0.5, stream=draws)

    def losses_of(batch: Batch, iteration: int) -> Mapping[str, Tensor]:
        _interfere(ranks, case, iteration)
        if case.batch_free:
            detector.backbone.eval()
        return detector.training_step(batch.images, batch.sizes, batch.targets).losses

    course = Course("test", regime, plan_of, stream)
    kept = Checkpoints(case.checkpoints, identity="together", every=0) if case.checkpoints else None
    with BatchLoader(dataset, cache_mb=16) as loader:
        history = train(
            detector, [losses_of], course=course, loader=loader, checkpoints=kept, ranks=ranks
        ).losses
    return {name: tensor.numpy() for name, tensor in detector.state_dict().items()}, history


def alone(case: Case) -> tuple[State, History]:
    return trained(ALONE, case)


def _interfere(ranks: Ranks, case: Case, iteration: int) -> None:
    if ranks.number + 1 == ranks.count:
        if iteration == case.kill and case.checkpoints and _count(case.checkpoints / "kills") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if iteration == case.stop:
            stopping.request(signal.SIGTERM)


def _one_box_each(dataset: CocoDataset) -> CocoDataset:
    first = [replace(image, boxes=image.boxes[:1], labels=image.labels[:1]) for image in dataset.images]
    return replace(dataset, images=tuple(first))


def _detector(dataset: CocoDataset, case: Case) -> Detector:
    spec = tiny_spec()
    classes = tuple((category.id, category.name) for category in dataset.categories)
    region = spec.region
    if case.batch_free:  # ten proposals and a box an image: all of them are sampled, and as many in each
        region = replace(region, train_proposals=(60, 10), rois_per_image=64, anchors_per_image=10**6)
    torch.manual_seed(0)
    detector = build(replace(spec, classes=classes, region=region))
    if case.batch_free:
        detector.rpn.proposal_matcher = Matcher(0.5, 0.5, allow_low_quality_matches=True)
    return detector
