"""One function in several processes of this machine, which train one model together.

If one of them dies, all are ended and started again, and the function goes on from its own checkpoints. An
error of the user's, or too little memory, would only come again and so ends them all.

These are the same child processes as workers. torch's elastic launcher would do a part of this, but it
reports errors through files, has no channel for progress, and watches for no killed parent.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import distributed

from jdn_core.errors import JobFailed
from jdn_core.processes import devices, stopping
from jdn_core.processes.attempts import DEATHS
from jdn_core.processes.children import Child, ChildDied, value_of
from jdn_core.processes.devices import DeviceShare
from jdn_core.processes.fork_server import prepare
from jdn_core.processes.messages import Answer, Call, Done, Halted
from jdn_core.processes.orphans import OrphanGuard
from jdn_core.processes.ranks import PeerLost, Ranks

T = TypeVar("T")
GRACE = 5.0  # seconds in which the first death's reason must have come, and idle processes must end
PATIENCE = timedelta(minutes=10)  # that a process waits for the others
POLL = 0.2  # seconds between two looks at a request to stop
LOST = 3  # exit status of a process that lost another one, which knows the reason

logger = logging.getLogger(__name__)


def on_ranks(entry: Callable[..., T], *arguments: Any, count: int) -> T:
    """Runs ``entry(ranks, *arguments)`` in ``count`` processes and returns what the first of them gave.

    ``entry`` is a function of a module and its arguments pickle. Each process has its own GPU, if there are
    any, and its share of the CPU's threads. What the first one reports is reported here.

    Raises:
        UserError, MemoryShortage: what one of them raised.
        Stopped: a stop was requested, here or in one of them, and all of them did.
        JobFailed: they died more often than is chance.
    """
    prepare(entry.__module__)
    # This process's own threads are dealt out, because a worker has but a share of the machine's.
    device, threads = "cuda" if torch.cuda.is_available() else "cpu", max(1, torch.get_num_threads() // count)
    shares = devices.shares(count, device=device, threads=threads)
    with tempfile.TemporaryDirectory(prefix="jdn-ranks-") as folder, OrphanGuard() as guard:
        for start in range(1, DEATHS + 1):
            try:
                jobs = [
                    Call(_rank, (Ranks(number, count), Path(folder, f"start-{start}"), entry, arguments))
                    for number in range(count)
                ]
                value: T = _together(jobs, shares, guard)
                return value
            except ChildDied as error:
                last = error
            if start < DEATHS:
                what = "a training process died; all go on from the last checkpoint, start %d"
                logger.warning(what, start + 1)
    raise JobFailed(f"training processes died {DEATHS} times, at last: {last}")


def _together(jobs: Sequence[Call], shares: Sequence[DeviceShare], guard: OrphanGuard) -> Any:
    """Does each job in a process of its own and returns the first one's value; leaves no process behind.

    Raises:
        ChildDied, UserError, MemoryShortage, Stopped: what became of one of them.
    """
    children: list[Child] = []
    grace = 0.0
    try:
        for job, share in zip(jobs, shares, strict=True):
            children.append(Child(share, guard=guard, reports=not children))
            children[-1].send(job)
        answers = _answers(children)
        grace = GRACE
        return value_of(answers[0])
    finally:
        for child in children:
            child.close()
        for child in children:
            child.end(within=grace)


def _answers(children: Sequence[Child]) -> list[Answer]:
    """Waits for the answers of all; passes a request to stop on, on which they agree at a step."""
    waiting = {child.channel: number for number, child in enumerate(children)}
    answers: dict[int, Answer] = {}
    lost: ChildDied | None = None
    is_asked, deadline = False, math.inf
    while waiting and time.monotonic() < deadline:
        if stopping.requested() and not is_asked:
            is_asked = True
            for child in children:
                child.ask_to_stop()
        for channel in wait([*waiting], POLL):
            number = waiting[cast(Connection, channel)]
            try:
                answer = children[number].receive()
            except ChildDied as error:
                if error.code != LOST:
                    raise
                # Another one died, and its own message may still be on its way.
                lost, deadline = error, min(deadline, time.monotonic() + GRACE)
                del waiting[cast(Connection, channel)]
                continue
            if answer is not None:
                if not isinstance(answer, Done | Halted):
                    value_of(answer)  # raises
                answers[number] = answer
                del waiting[cast(Connection, channel)]
    if lost:
        raise lost
    return [answers[number] for number in range(len(children))]


def _rank(ranks: Ranks, meeting: Path, entry: Callable[..., T], arguments: tuple[Any, ...]) -> T | None:
    """Does what each process does: meet the others, compute, part."""
    _join(ranks, meeting)
    try:
        value = entry(ranks, *arguments)
    except PeerLost as error:
        logger.info("%s", error)
        raise SystemExit(LOST) from error
    distributed.destroy_process_group()
    return value if ranks.first else None


def _join(ranks: Ranks, meeting: Path) -> None:
    """Meets the others at a file: gloo for what is on the CPU, NCCL for what is on GPUs.

    A TCP store would listen on every interface; gloo's and NCCL's own connections are bound to the loopback.
    """
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store = distributed.FileStore(str(meeting), ranks.count)  # type: ignore[attr-defined]
    distributed.init_process_group(
        backend, store=store, rank=ranks.number, world_size=ranks.count, timeout=PATIENCE
    )
