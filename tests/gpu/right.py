"""Right: the device computes what the CPU computes, in every form of a step and in detection.

Bounds are measured, not guessed. A GPU adds up to 4,608 products in another order and its Winograd
convolutions round a few times more, so every sum is off by about sqrt(4,608) = 68 roundings; ``nudge`` moves
the weights by as many, and by what the CPU itself then differs, through the same network, float32 may differ.
Gradients differ far more than losses: of a million ReLUs some are so near to zero that they switch. Measured
at 512x384 on a CPU after the nudge: losses 3e-7 (R18) and 2e-6 (R50), gradients 3e-4 and 1e-3; with bfloat16
instead losses 0.3 %, and a cosine of 0.999 between the gradients (R50).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector, build
from jdn_core.detector.folder import load_detector
from jdn_core.distillation.distiller import Distiller
from jdn_core.evaluation.detection import evaluate
from jdn_core.pool.extraction import extract
from jdn_core.pool.supernet import SuperNet
from jdn_core.run import warm
from jdn_core.run.steps import ensure_base
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import Family
from tests.gpu import cases, runs
from tests.gpu.cases import Outcome
from tests.gpu.findings import Findings
from tests.gpu.runner import Setting
from tests.gpu.samples import Samples

FAMILIES: tuple[Family, ...] = ("r18", "r50")
ROUNDINGS = 64
CHANCE = 4  # the nudge is one draw: which ReLUs switch is luck
# Least bounds, because one ReLU of the box head is 2e-4 of all gradients; a wrong number is off by percents.
LOSS, GRADIENT, STATISTICS, LOOSEST = 1e-4, 2e-3, 1e-4, 0.1
# bfloat16 has 8 bits of precision, so a product is off by up to 2^-9 = 0.2 %. Losses are means over hundreds
# of RoIs, computed in float32. Gradients pass up to 100 layers; a wrong direction has a cosine of about 0.
NARROW_LOSS, NARROW_COSINE = 0.05, 0.9
ATOMICS = 1e-6  # two equal steps may differ by nothing, by chance
REPEATS = 10  # how much more than two equal steps a step may differ that should be equal
# A detection near the score's or the NMS's threshold may come or go with a rounding; tests against
# torchvision on one CPU see 99 % of them within 0.01 pixel and 1e-4.
MATCHED, PIXELS, SCORE = 0.98, 0.05, 1e-3
# One detection that comes or goes in one of ten IoU thresholds and six classes moves AP by less than this.
AP_GAP = 0.003


def gradients(setting: Setting, findings: Findings) -> None:
    """Checks losses and gradients against the CPU's, plain, distilled and elastic."""
    with cases.full_float32():
        pool = _pool(setting)
        teacher = extract(pool, pool.space.largest)
        for name in FAMILIES:
            with findings.surviving(f"{name} plain"):
                _compare(f"{name} plain", _student(setting, name), None, setting, findings)
            with findings.surviving(f"{name} distilled"):
                _compare(f"{name} distilled", _student(setting, name), teacher, setting, findings)
        for name, subnet in zip(FAMILIES, setting.scale.subnets, strict=True):
            with findings.surviving(f"{name} elastic"):
                pool.activate(subnet)
                _compare(f"{name} elastic", pool, teacher, setting, findings)


def precision(setting: Setting, findings: Findings) -> None:
    """Checks bfloat16 against float32, and steps that compute activations twice against plain ones."""
    for name in FAMILIES:
        with findings.surviving(f"{name} bfloat16"), cases.full_float32():
            detector, samples = _student(setting, name).to(setting.device), Samples()
            batch = _batch(setting)
            wide = cases.step(detector, batch, samples)
            narrow = cases.step(detector, batch, samples, precision="bfloat16")
            loss, angle = cases.loss_error(narrow, wide), cases.cosine(narrow, wide)
            findings.check(
                f"{name} bfloat16 against float32",
                loss <= NARROW_LOSS and angle >= NARROW_COSINE,
                loss_error=loss,
                gradient_cosine=angle,
                gradient_error=cases.gradient_error(narrow, wide),
            )
        with findings.surviving(f"{name} recompute"):
            _recomputed(name, detector, batch, samples, findings)


def detections(setting: Setting, findings: Findings) -> None:
    """Checks boxes, scores and labels of random detectors with calibrated BN against the CPU's."""
    for name in FAMILIES:
        with findings.surviving(f"{name} detections"), cases.full_float32():
            batch = _batch(setting)
            detector = cases.calibrated(_student(setting, name), batch)
            wanted = detector.detect(batch.images, batch.sizes)
            there = batch.to(setting.device)
            found = detector.to(setting.device).detect(there.images, there.sizes)
            matched = sum(matches(theirs, mine) for theirs, mine in zip(wanted, found, strict=True))
            count = sum(len(boxes["labels"]) for boxes in wanted)
            findings.check(
                f"{name} detections",
                count > 0 and matched >= MATCHED * count,
                reason=f"{matched} of {count} are found again",
                matched=matched,
                detections=count,
            )


def accuracy(setting: Setting, findings: Findings) -> None:
    """Checks the AP of a slim detector, trained on the device, there against the CPU; by pycocotools."""
    run = runs.on_shapes(setting)
    ensure_base(run)
    bench = warm.bench(run.settings)
    frame = bench.frames[-1]
    with cases.full_float32():
        there, here = (
            evaluate(load_detector(run.base, device), bench.val, [frame])[frame].AP
            for device in (setting.device, "cpu")
        )
    findings.check(
        "AP on the device and on the CPU",
        abs(there - here) <= AP_GAP and here >= setting.scale.learnt,
        reason=f"{there:.4f} and {here:.4f}",
        AP_device=there,
        AP_cpu=here,
        images=len(bench.val.dataset.images),
    )


def _compare(
    name: str, detector: Detector, teacher: Detector | None, setting: Setting, findings: Findings
) -> None:
    """Takes one step on the CPU, the same one nudged, and the same one on the device."""
    batch, samples = _batch(setting), Samples()

    def outcome(device: str, *, nudged: bool = False) -> Outcome:
        own = copy.deepcopy(detector).to(device)
        if nudged:
            cases.nudge(own, roundings=ROUNDINGS)
        distiller = _distiller(teacher, detector.spec, device) if teacher is not None else None
        return cases.step(own, batch, samples, distiller=distiller)

    wanted, nudged = outcome("cpu"), outcome("cpu", nudged=True)
    found = outcome(setting.device)
    loss_bound, bound = (
        min(max(CHANCE * error(nudged, wanted), least), LOOSEST)
        for error, least in ((cases.loss_error, LOSS), (cases.gradient_error, GRADIENT))
    )
    loss, gradient = cases.loss_error(found, wanted), cases.gradient_error(found, wanted)
    statistics = cases.statistics_error(found, wanted)
    worst, worst_error = cases.worst_gradient(found, wanted)
    findings.check(
        name,
        loss <= loss_bound and gradient <= bound and statistics <= STATISTICS,
        loss_error=loss,
        loss_bound=loss_bound,
        gradient_error=gradient,
        gradient_bound=bound,
        worst_gradient=f"{worst} {worst_error:.1e}",
        statistics_error=statistics,
    )
    if setting.on_gpu:
        torch.backends.cudnn.allow_tf32 = True
        coarse = outcome(setting.device)
        torch.backends.cudnn.allow_tf32 = False
        findings.measure(f"{name} with cuDNN's TF32", gradient_error=cases.gradient_error(coarse, wanted))


def _recomputed(name: str, detector: Detector, batch: Batch, samples: Samples, findings: Findings) -> None:
    """Checks that ``recompute`` changes no number, but for atomic additions, which two equal steps show."""
    plain, again = (cases.step(detector, batch, samples) for _ in range(2))
    cases.recompute(detector, on=True)
    found = cases.step(detector, batch, samples)
    cases.recompute(detector, on=False)
    repeat, gradient = cases.gradient_error(again, plain), cases.gradient_error(found, plain)
    statistics = cases.statistics_error(found, plain)
    least = ATOMICS if next(detector.parameters()).is_cuda else 0.0
    findings.check(
        f"{name} recompute",
        gradient <= max(REPEATS * repeat, least)
        and statistics <= max(REPEATS * cases.statistics_error(again, plain), least),
        gradient_error=gradient,
        equal_steps_differ_by=repeat,
        statistics_error=statistics,
    )


def _pool(setting: Setting) -> SuperNet:
    torch.manual_seed(0)
    return cases.tamed(SuperNet(setting.scale.few, setting.scale.spec("r50")))


def _student(setting: Setting, name: Family) -> Detector:
    torch.manual_seed(0)
    return cases.tamed(build(setting.scale.spec(name)))


def _distiller(teacher: Detector, student: DetectorSpec, device: str) -> Distiller:
    """Makes a distiller with a teacher of its own on the device, since it does not move the one it holds."""
    torch.manual_seed(0)
    return Distiller(copy.deepcopy(teacher).to(device), student, DistillationSettings()).to(device)


def _batch(setting: Setting) -> Batch:
    return cases.pictures(setting.scale.frame, batch=2, classes=setting.scale.classes)


def matches(theirs: dict[str, Tensor], mine: dict[str, Tensor]) -> int:
    """Counts those of theirs that have one of ours of the same label, near in place and score."""
    mine = {name: value.cpu() for name, value in mine.items()}
    near = (theirs["boxes"][:, None] - mine["boxes"]).abs().amax(dim=-1) <= PIXELS
    close = (theirs["scores"][:, None] - mine["scores"]).abs() <= SCORE
    same = theirs["labels"][:, None] == mine["labels"]
    return int((near & close & same).any(dim=1).sum())
