"""Works: workers on the device, too little memory, kills, processes that train together, and resuming."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.processes.attempts import Failure, attempt
from jdn_core.processes.child import MemoryShortage
from jdn_core.processes.children import ChildDied
from jdn_core.processes.launcher import on_ranks
from jdn_core.processes.workers import Workers
from jdn_core.run.folder import TRAINING_FILE
from jdn_core.storage import durable
from tests.gpu import deeds, runs
from tests.gpu.deeds import MEBI, Mode
from tests.gpu.findings import Findings
from tests.gpu.ranks import train_in_group
from tests.gpu.runner import Setting
from tests.gpu.runs import hired

SEATED = 256  # MiB that a worker fills
# A context of CUDA is 300 to 600 MiB; what is left of one that was given back is far less.
LEFT = 64  # MiB
# Other kernels sum the same 10^5 numbers in another order, in each of 50 layers; see ``right.ROUNDINGS``.
SYNCHRONISED = 3e-3
KILL = "base.mid_epoch:4:kill9"  # after the fourth step's faultpoint; three checkpoints are there
# Atomic additions make equal trainings differ, and the largest of millions of differences is a rough measure.
REPEATS = 10


def workers(setting: Setting, findings: Findings) -> None:
    """Checks workers on the device: leased, killed, and with too little memory."""
    with findings.surviving("a worker on the device"):
        _leased(setting, findings)
    with findings.surviving("a killed worker"), hired(setting, 1) as one:
        _killed(one, setting, findings)
    with findings.surviving("more than there is"), hired(setting, 2) as two:
        _never_enough(two, setting, findings)
    if not setting.on_gpu:
        stand_in = "a pebibyte stands in for a full GPU"
        findings.leave_out("two jobs that only fit one after the other", stand_in)
        findings.leave_out("a training that does not fit", stand_in)
        return
    with findings.surviving("two jobs that only fit one after the other"), hired(setting, 2) as two:
        _one_after_the_other(two, setting, findings)
    with findings.surviving("a training that does not fit"), hired(setting, 1) as one:
        _training_without_room(one, setting, findings)


def group(setting: Setting, findings: Findings) -> None:
    """Checks NCCL in a group of one process: sums on the device, and synchronised BN equal to plain BN."""
    seen = on_ranks(train_in_group, setting, count=1)
    backend = "nccl" if setting.on_gpu else "gloo"
    findings.check(
        "a group of one process adds up on the device",
        backend in seen.backend and seen.total == 1.0,
        reason="" if setting.on_gpu else "gloo stands in for NCCL",
        backend=seen.backend,
    )
    if seen.gradient is None or seen.statistics is None:
        findings.leave_out("synchronised BN", "torch has none for CPUs")
        return
    findings.check(
        "synchronised BN of one process equals plain BN",
        max(seen.gradient, seen.statistics) <= SYNCHRONISED,
        gradient_error=seen.gradient,
        statistics_error=seen.statistics,
        equal_steps_differ_by=seen.repeat,
    )


def resume(setting: Setting, findings: Findings) -> None:
    """Checks a training that is killed and resumed against undisturbed ones, also a deterministic one."""
    with findings.surviving("resume"), hired(setting, 1) as one:
        plain = _resumed(one, setting, findings)
    cublas = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # without it its sums are not deterministic
    with findings.surviving("deterministic resume"), hired(setting, 1, **cublas) as one:
        _resumed_deterministically(one, plain, setting, findings)


def _resumed(one: Workers, setting: Setting, findings: Findings) -> _Trained:
    """Compares with what two undisturbed trainings differ by."""
    first, second = (_trained(one, setting, name) for name in ("first", "second"))
    resumed = _trained(one, setting, "resumed", kill=True)
    apart, repeat = _apart(first, resumed), _apart(first, second)
    findings.check(
        "a training killed and resumed ends where an undisturbed one ends",
        apart <= REPEATS * repeat,
        reason="bit-equal" if apart == 0 else f"{apart:.1e} apart",
        largest_difference=apart,
        equal_trainings_differ_by=repeat,
        seconds=second.seconds,
    )
    return second


def _resumed_deterministically(one: Workers, plain: _Trained, setting: Setting, findings: Findings) -> None:
    """Demands bit-equality, unless torch has no deterministic algorithm for some operation."""
    mode: Mode = "yes"
    try:
        first = _trained(one, setting, "deterministic", deterministic=mode)
    except ChildDied as error:
        findings.measure("an operation has no deterministic algorithm", error=str(error))
        mode = "warn"
        first = _trained(one, setting, "deterministic-if-any", deterministic=mode)
    resumed = _trained(one, setting, "deterministic-resumed", kill=True, deterministic=mode)
    apart = _apart(first, resumed)
    findings.check(
        "a deterministic training killed and resumed is bit-equal",
        apart == 0 or mode == "warn",
        reason="bit-equal" if apart == 0 else f"{apart:.1e} apart",
        largest_difference=apart,
        seconds=first.seconds,
        times_the_plain_seconds=first.seconds / plain.seconds,
    )


@dataclass(frozen=True)
class _Trained:
    """A base on disk, and the seconds that its training took."""

    folder: Path
    seconds: float


def _trained(
    one: Workers, setting: Setting, name: str, *, kill: bool = False, deterministic: Mode = "no"
) -> _Trained:
    """Trains one epoch; with ``kill`` it has a checkpoint after every step and dies after some."""
    minutes = {"checkpoint_minutes": 1e-6} if kill else {}
    run = runs.on_shapes(setting, name, base={"epochs": 1}, **minutes)
    if kill:
        tries = setting.scratch / f"{name}-tries"
        outcome = attempt(one, deeds.train_base, run, kill=KILL, tries=tries, deterministic=deterministic)
        if isinstance(outcome, Failure) or tries.stat().st_size != 2:
            raise RuntimeError(f"the training was not killed once and resumed: {outcome}")
    else:
        one.run(deeds.train_base, run, deterministic=deterministic)
    return _Trained(run.base, durable.read_json(run.base / TRAINING_FILE)["seconds"])


def _apart(one: _Trained, other: _Trained) -> float:
    """Returns the largest difference of a weight or BN statistic."""
    ours, theirs = (load_file(base.folder / WEIGHTS_FILE) for base in (one, other))
    return max((ours[name].double() - value.double()).abs().max().item() for name, value in theirs.items())


def _leased(setting: Setting, findings: Findings) -> None:
    free = _free_bytes(setting)
    with hired(setting, 1) as one:
        seat = one.run(deeds.sit, SEATED, device=setting.device)
        taken = free - _free_bytes(setting)
    back = _until(lambda: _gone(seat.pid) and free - _free_bytes(setting) <= LEFT * MEBI)
    findings.check(
        "a worker has the device to itself, and fills it",
        seat.held >= SEATED * MEBI and seat.visible == (1 if setting.on_gpu else seat.visible),
        device=seat.device,
        taken_MiB=taken / MEBI,
    )
    stand_in = "" if setting.on_gpu else "the end of its process stands in for the GPU's memory"
    findings.check(
        "its memory is given back",
        back and (taken >= SEATED * MEBI or not setting.on_gpu),
        reason=stand_in,
        left_MiB=(free - _free_bytes(setting)) / MEBI,
    )


def _killed(one: Workers, setting: Setting, findings: Findings) -> None:
    before = one.run(deeds.sit, 1, device=setting.device)
    tries = setting.scratch / "tries"
    run = runs.on_shapes(setting, "killed", base={"epochs": 1})
    base = attempt(one, deeds.train_base, run, kill="base.mid_epoch:3:kill9", tries=tries)
    after = one.run(deeds.sit, 1, device=setting.device)
    findings.check(
        "a worker killed in a training is replaced, and the training ends",
        isinstance(base, Path) and before.pid != after.pid,
        tries=tries.stat().st_size,
    )


def _never_enough(two: Workers, setting: Setting, findings: Findings) -> None:
    """Asks for a pebibyte, which no device has."""
    folder, tries = _folder(setting, "takers"), setting.scratch / "shortages"
    alone = attempt(two, deeds.take_less, tries, device=setting.device, folder=folder)
    findings.check("a job that asks for less at its second try ends well", alone == 0)
    never = attempt(two, deeds.take, 2**50, device=setting.device, seconds=0.0, folder=folder)
    text = never.reason if isinstance(never, Failure) else f"it got {never}"
    findings.check(
        "a job that never fits fails with peak and limit",
        text.startswith("oom: peak ") and text.endswith(" GiB"),
        reason=text,
    )
    well = two.run(deeds.sit, 1, device=setting.device)
    findings.check("the next job is well", well.held >= MEBI)


def _one_after_the_other(two: Workers, setting: Setting, findings: Findings) -> None:
    """Gives both three fifths of what is free to take, so one of them has to wait and to be alone."""
    folder, size = _folder(setting, "pair"), int(0.6 * _free_bytes(setting))
    with ThreadPoolExecutor(2) as threads:
        jobs = [
            threads.submit(attempt, two, deeds.take, size, device=setting.device, seconds=8.0, folder=folder)
            for _ in range(2)
        ]
        ends = [job.result() for job in jobs]
    tries = folder.with_suffix(".tries").stat().st_size  # one of them runs out of memory once
    findings.check(
        "two jobs that only fit one after the other both end, the second alone",
        ends == [0, 0] and tries == 3,
        reason=f"{ends} in {tries} tries",
        each_GiB=size / 2**30,
    )


def _training_without_room(one: Workers, setting: Setting, findings: Findings) -> None:
    """Trains a ResNet-50 with 90 MiB of weights, and as much of gradients, in 256 MiB."""
    run = runs.on_shapes(setting, "roomless", base={"epochs": 1}, detector={"family": "r50", "width": 1.0})
    share = 256 * MEBI / torch.cuda.mem_get_info()[1]
    try:
        one.run(deeds.train_base_in, run, share=share)
        text = "it fitted"
    except MemoryShortage as error:
        text = str(error)
    findings.check("a training that does not fit says so", text.startswith("peak "), reason=text)
    well = attempt(one, deeds.train_base, run)
    findings.check("the same training ends well where there is room", isinstance(well, Path))


def _folder(setting: Setting, name: str) -> Path:
    folder = setting.scratch / name
    folder.mkdir()
    return folder


def _free_bytes(setting: Setting) -> int:
    return torch.cuda.mem_get_info()[0] if setting.on_gpu else 0


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _until(holds: Callable[[], bool], *, patience: float = 10.0) -> bool:
    deadline = time.monotonic() + patience
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
