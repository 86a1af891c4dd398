"""Fast: the project's own training loop and detection against torchvision's, paired in one process.

Ours is ``jdn_core``'s loop as trainings use it, with its checks and its report after every step;
torchvision's is the step of its reference training. Both see the same pictures, which are on the device
already. Steps take turns and the ratio is the median over the pairs, so a clock that changes changes both.
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from jdn_core.data.coco.dataset import load
from jdn_core.data.layouts import find_split
from jdn_core.data.loading import Batch, BatchLoader, Sample
from jdn_core.detector.build import Detector, build
from jdn_core.distillation.distiller import Distiller
from jdn_core.pool.extraction import extract
from jdn_core.pool.supernet import SuperNet
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.space.architecture import Resolution
from jdn_core.space.families import Family
from tests.gpu import cases, runs
from tests.gpu.counters import Counts, count
from tests.gpu.findings import Findings
from tests.gpu.runner import Setting
from tests.gpu.scale import Precision
from tests.gpu.turns import Pair, Step, Turns, train_by_turns
from tests.gpu.twins import set_frame, twin

LOADED = 3  # batches


@dataclass(frozen=True)
class Case:
    """What is shown to the detectors, and in which precision they compute."""

    frame: Resolution
    batch: int
    precision: Precision

    def __str__(self) -> str:
        return f"{self.frame} x{self.batch} {self.precision}"


def r50(setting: Setting, findings: Findings) -> None:
    """Measures R50-FPN, also distilled by the pool's largest subnet."""
    _family("r50", setting, findings)


def r18(setting: Setting, findings: Findings) -> None:
    """Measures R18-FPN, also distilled by the pool's largest subnet."""
    _family("r18", setting, findings)


def r101(setting: Setting, findings: Findings) -> None:
    """Measures R101-FPN, also distilled by the pool's largest subnet."""
    _family("r101", setting, findings)


def supernet(setting: Setting, findings: Findings) -> None:
    """Measures the paper's full super-network with its elastic layers against torchvision's of its size."""
    torch.manual_seed(0)
    pool = cases.lively(cases.tamed(SuperNet(setting.scale.pool, setting.scale.spec("r50"))))
    rivals = Rivals(pool, twin(extract(pool, pool.space.largest)), setting.device)
    _every_case("super-network", rivals, None, setting, findings)


class Rivals:
    """Our detector and torchvision's on one device; they begin every measurement with the same weights."""

    def __init__(self, ours: Detector, theirs: FasterRCNN, device: str) -> None:
        self.ours, self.theirs = ours.to(device), theirs.to(device)
        self._kept = [copy.deepcopy(model.state_dict()) for model in (ours, theirs)]

    def start(self) -> None:
        """Puts the weights back and drops the gradients."""
        for model, state in zip((self.ours, self.theirs), self._kept, strict=True):
            model.load_state_dict(state)
            model.zero_grad()


class Bench:
    """One case of two rivals under the clock."""

    def __init__(self, name: str, case: Case, rivals: Rivals, setting: Setting, findings: Findings) -> None:
        self.name, self.case, self.rivals = name, case, rivals
        self.findings, self.device, self.fast = findings, setting.device, setting.scale.fast
        pictures = cases.pictures(case.frame, batch=case.batch, classes=setting.scale.classes)
        self.batch = pictures.to(setting.device)
        self.photos = [
            image[:, :height, :width]
            for image, (height, width) in zip(self.batch.images, self.batch.sizes, strict=True)
        ]
        self.plain_ms = math.nan
        set_frame(rivals.theirs, case.frame)

    def detect(self) -> None:
        """Detects in a batch, by turns."""
        ours, theirs = self.rivals.ours.eval(), self.rivals.theirs.eval()
        steps: tuple[Step, Step] = (
            lambda: ours.detect(self.batch.images, self.batch.sizes),
            lambda: theirs(self.photos),
        )
        turns = Turns(steps[1], fast=self.fast, device=self.device)
        with torch.inference_mode(), self._autocast():
            pairs = [turns.both(steps[0]) for _ in range(self.fast.warmup + self.fast.pairs)]
            counts = [count(step, device=self.device) for step in steps]
        self.findings.measure(f"{self.name} detection", **_against(pairs[self.fast.warmup :], *counts))

    def train(self) -> None:
        """Takes steps of the training loop, by turns with torchvision's."""
        ours, theirs = self.rivals.ours, self.rivals.theirs.train()
        optimizer = torch.optim.SGD(theirs.parameters(), lr=1e-5, momentum=0.9, weight_decay=1e-4)

        def their_step() -> None:
            optimizer.zero_grad()
            with self._autocast():
                loss = sum(theirs(self.photos, self.batch.targets).values())
            if not math.isfinite(loss.item()):
                raise FloatingPointError("torchvision's loss is not finite")
            loss.backward()
            optimizer.step()

        def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
            return ours.training_step(batch.images, batch.sizes, batch.targets).losses

        held = torch.cuda.memory_allocated()  # weights of both, and what is the same for both
        turns = Turns(their_step, fast=self.fast, device=self.device)
        train_by_turns(ours, losses_of, self.batch, turns, precision=self.case.precision)
        self.plain_ms = median(mine for mine, _ in turns.pairs)
        numbers = _against(turns.pairs, turns.counts, count(their_step, device=self.device))
        numbers["images_per_s"] = 1e3 * self.case.batch / self.plain_ms
        if self.device == "cuda":
            numbers |= _memory(turns.peaks, held, ours)
        self.findings.measure(f"{self.name} training", **numbers)
        for line, times in turns.waits.most_common():
            self.findings.measure(f"{self.name} waits at {line}", times=times)

    def distil(self, teacher: Detector) -> None:
        """Takes distilled steps, by turns with the teacher's bare forward on as many RoIs."""
        ours, batch, proposals = self.rivals.ours, self.batch, self._proposals()
        distiller = Distiller(teacher, ours.spec, DistillationSettings()).to(self.device)
        modules = nn.ModuleDict({"student": ours, "distiller": distiller})

        def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
            output = ours.training_step(batch.images, batch.sizes, batch.targets)
            return {**output.losses, **distiller(output, batch.images, batch.sizes)}

        @torch.no_grad()
        def forward() -> None:
            with self._autocast():
                features = teacher.features(batch.images, batch.sizes)
                teacher.roi_outputs(features, proposals, batch.sizes)

        turns = Turns(forward, fast=self.fast, device=self.device)
        train_by_turns(modules, losses_of, batch, turns, precision=self.case.precision)
        distilled, bare = (median(times) for times in zip(*turns.pairs, strict=True))
        self.findings.measure(
            f"{self.name} distillation",
            distilled_ms=distilled,
            teacher_ms=bare,
            ratio=distilled / (self.plain_ms + bare),
            waits=turns.counts.waits,
            launches=turns.counts.launches,
            operators=turns.counts.operators,
        )

    def load(self, loader: BatchLoader) -> None:
        """Makes batches of photos that are in the cache, and brings them to the device.

        The photos are square, so they fill three fifths of a frame of 1333x800.
        """
        samples = [Sample(n % len(loader.dataset.images), self.case.frame) for n in range(self.case.batch)]
        turns = Turns(lambda: None, fast=self.fast, device=self.device)
        batches = loader.batches([samples] * (1 + LOADED))
        times = [turns.both(lambda: next(batches).to(self.device))[0] for _ in range(1 + LOADED)][1:]
        self.findings.measure(
            f"{self.name} loading", loading_ms=median(times), share_of_a_step=median(times) / self.plain_ms
        )

    def _proposals(self) -> list[Tensor]:
        """Returns as many RoIs an image as a training step samples, of the boxes' sizes."""
        rois = self.rivals.ours.spec.region.rois_per_image
        return [target["boxes"].repeat(-(-rois // cases.BOXES), 1)[:rois] for target in self.batch.targets]

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.case.precision == "bfloat16")


def _family(name: Family, setting: Setting, findings: Findings) -> None:
    torch.manual_seed(0)
    spec, space = setting.scale.spec(name), setting.scale.pool
    few = cases.pictures(setting.scale.frame, batch=2, classes=setting.scale.classes)
    ours = cases.calibrated(cases.tamed(build(spec)), few)
    teacher = cases.tamed(build(space.detector_spec(space.largest, spec))).to(setting.device)
    _every_case(name, Rivals(ours, twin(ours), setting.device), teacher, setting, findings)


def _every_case(
    name: str, rivals: Rivals, teacher: Detector | None, setting: Setting, findings: Findings
) -> None:
    """Measures what there is time for, the most telling case first."""
    fast, longest = setting.scale.fast, 0.0
    loader = BatchLoader(load(*find_split(runs.photos(setting), "train")), cache_mb=1024)
    for precision, frame, batch in product(fast.precisions, fast.frames, fast.batches):
        case = Case(frame, batch, precision)
        if findings.seconds_left < longest:
            findings.leave_out(f"{name} {case}", "no time was left")
            continue
        begun = time.monotonic()
        bench = Bench(f"{name} {case}", case, rivals, setting, findings)
        works = [bench.detect, bench.train, partial(bench.load, loader)]
        for work in [*works, partial(bench.distil, teacher)] if teacher else works:
            rivals.start()
            with findings.surviving(f"{name} {case}"):
                work()
            if setting.on_gpu:
                torch.cuda.empty_cache()
        longest = max(longest, 1.2 * (time.monotonic() - begun))


def _against(pairs: list[Pair], ours: Counts, theirs: Counts) -> dict[str, float]:
    """Returns the medians of both, the median of their ratios, and both counts."""
    return {
        "ratio": median(mine / other for mine, other in pairs),
        "ms": median(mine for mine, _ in pairs),
        "torchvision_ms": median(other for _, other in pairs),
        "waits": ours.waits,
        "torchvision_waits": theirs.waits,
        "launches": ours.launches,
        "torchvision_launches": theirs.launches,
        "operators": ours.operators,
        "torchvision_operators": theirs.operators,
    }


def _memory(peaks: Pair, held: int, model: nn.Module) -> dict[str, float]:
    """Returns both peaks in MiB, each as if it trained alone.

    ``held`` lacks what the one has of its own, gradients, momentum and activations, and the other's gradients
    and momentum; it holds the other's weights. All but the activations are of one size.

    Args:
        peaks: most bytes during a step of ours and of theirs.
        held: bytes before the first step.
        model: either of them.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters())
    mine, other = ((peak - held - weights) / 2**20 for peak in peaks)
    return {"peak_MiB": mine, "torchvision_peak_MiB": other, "peak_ratio": mine / other}
