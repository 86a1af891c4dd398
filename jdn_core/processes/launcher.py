"""One function in several processes of this machine, which torch's elastic launcher watches.

If one of them dies, all are ended and started again, and the function goes on from its own checkpoints. An
error of the user's, or no memory left, would only come again and so ends them all. Nothing listens beyond the
loopback interface: the processes find each other through files.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_int
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from jdn_core.errors import UserError
from jdn_core.processes import stopping
from jdn_core.processes.progress import listening, report
from jdn_core.processes.ranks import PeerLost, Ranks

_log = logging.getLogger(__name__)
T = TypeVar("T")
RESTARTS = 4  # who dies for the fifth time will die again
GRACE = 5  # seconds that the others have to end by themselves when one has died
PATIENCE = timedelta(minutes=10)  # that a process waits for the others
POLL = 0.2  # seconds
METHOD = "forkserver"  # which imports torch once, and not in every process at every start
_GO_ON, _GIVE_UP = 0, -1  # any other word is the signal that asks to stop


@dataclass(frozen=True)
class _Job:
    """What every process is given.

    Attributes:
        entry, arguments: what it is to do.
        word: shared memory, because it has to outlive a process that is started again.
        voices: one for each process, to the parent.
        leash: a pipe that says nothing; it closes when the parent is gone.
        folder: where the processes find each other.
    """

    entry: Callable[..., Any]
    arguments: tuple[Any, ...]
    word: c_int
    voices: Sequence[Connection]
    leash: Connection
    folder: Path


@dataclass(frozen=True)
class _End:
    """How a process came to its end: with a value, or stopped by a signal."""

    value: Any = None
    stopped: int | None = None


def on_ranks(entry: Callable[..., T], *arguments: Any, count: int) -> T:
    """Runs ``entry(ranks, *arguments)`` in ``count`` processes; gives what the first of them gave.

    ``entry`` is a function of a module and its arguments pickle. Each process has its own GPU, if there are
    any, and its share of the CPU's threads. What the first one reports is reported here.

    Raises:
        UserError, OutOfMemoryError, MemoryError: what one of them raised.
        Stopped: somebody asked for it, here or there, and all of them did.
        RuntimeError: they died more often than is chance.
    """
    context = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload([__name__, entry.__module__])
    word = context.RawValue(c_int, _GO_ON)
    ears, voices = zip(*(context.Pipe(duplex=False) for _ in range(count)), strict=True)
    leash, held = context.Pipe(duplex=False)
    heard: list[Exception | str] = []
    with tempfile.TemporaryDirectory(prefix="jdn-ranks-") as folder, ThreadPoolExecutor(1) as thread:
        job = _Job(entry, arguments, word, voices, leash, Path(folder))
        launch = thread.submit(_launch, job, count)  # in a thread it leaves our signal handlers alone
        try:
            while not launch.done():
                word.value = word.value or stopping.requested() or _GO_ON
                heard += _hear(ears, timeout=POLL)
        except BaseException:
            word.value = word.value or signal.SIGTERM
            raise
    heard += _hear(ears)
    for connection in (*ears, *voices, leash, held):
        connection.close()
    for failure in heard:
        if isinstance(failure, Exception):
            raise failure
    try:
        end: _End = launch.result()
    except ChildFailedError as error:
        last = heard[-1] if heard else error.get_first_failure()[1].message
        raise RuntimeError(f"training processes died {RESTARTS + 1} times, at last: {last}") from None
    if end.stopped:
        raise stopping.Stopped(end.stopped)
    value: T = end.value
    return value


def _hear(ears: Sequence[Connection], timeout: float = 0) -> list[Exception | str]:
    """Passes the processes' reports on and logs their starts; gives what they failed of."""
    heard: list[Exception | str] = []
    while spoke := wait(ears, timeout):
        timeout = 0
        for ear in spoke:
            match cast(Connection, ear).recv():
                case tuple() as step:
                    report(*step)
                case int(start):
                    _log.warning(
                        "a training process died; all go on from the last checkpoint, start %d", start
                    )
                case str(text):
                    _log.warning("a training process failed: %s", text)
                    heard.append(text.rstrip().rpartition("\n")[2])
                case failure:
                    heard.append(failure)
    return heard


def _launch(job: _Job, count: int) -> _End:
    # Otherwise the launcher opens a port of its own, on every interface.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    for name in ("torch.distributed", "torch.multiprocessing"):  # what they have to say, we say in a line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="jdn",
        rdzv_backend="c10d",
        rdzv_endpoint=str(job.folder / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",
        max_restarts=RESTARTS,
        shutdown_timeout=GRACE,
        start_method=METHOD,
        logs_specs=DefaultLogsSpecs(log_dir=str(job.folder)),
    )
    ends: dict[int, _End] = elastic_launch(config, _rank)(job)
    return ends[0]


def _rank(job: _Job) -> _End:
    """What each process does."""
    if job.word.value == _GIVE_UP:
        return _End()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the parent decides
    signal.signal(signal.SIGTERM, lambda number, _: stopping.request(number))
    threading.Thread(target=_obey, args=(job.word, job.leash), daemon=True).start()
    start = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    ranks = _join(job.folder / f"start-{start}")
    if start and ranks.first:
        job.voices[0].send(start + 1)
    try:
        with listening(lambda *step: job.voices[0].send(step) if ranks.first else None):
            end = _End(job.entry(ranks, *job.arguments))
    except stopping.Stopped as wish:
        end = _End(stopped=wish.number)
    except (UserError, torch.OutOfMemoryError, MemoryError) as error:
        job.voices[ranks.number].send(error)
        job.word.value = _GIVE_UP
        raise SystemExit(1) from error
    except PeerLost as error:
        raise SystemExit(1) from error
    except Exception as error:
        job.voices[ranks.number].send(traceback.format_exc())
        raise SystemExit(1) from error
    distributed.destroy_process_group()
    return end


def _join(meeting: Path) -> Ranks:
    """Meets the others of this start: gloo for what is on the CPU, NCCL for what is on GPUs."""
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    torch.set_num_threads(max(1, torch.get_num_threads() // ranks.count))
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(ranks.number % torch.cuda.device_count())
    store = distributed.FileStore(str(meeting), ranks.count)  # type: ignore[attr-defined]
    distributed.init_process_group(
        backend, store=store, rank=ranks.number, world_size=ranks.count, timeout=PATIENCE
    )
    return ranks


def _obey(word: c_int, leash: Connection) -> None:
    """Makes the parent's wish this process's own, and ends it with the parent."""
    while not leash.poll(POLL):
        if word.value > _GO_ON and not stopping.requested():
            stopping.request(word.value)
    os._exit(1)
