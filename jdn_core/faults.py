"""Named places where a run can be made to fail, so that tests can show that nothing is lost (RELIABILITY).

A place does nothing unless ``JDN_FAULT`` or ``arm`` names it: ``pair.mid_epoch:3:kill9`` kills the process
when it is there for the third time. Hits are counted in operations, never in seconds.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from collections.abc import Callable
from enum import StrEnum
from functools import partial

VARIABLE = "JDN_FAULT"

logger = logging.getLogger(__name__)


class Point(StrEnum):
    """Every place, in the order of a run; the loop of all trainings names its own by their stage."""

    RESUME_OPENED = "resume.opened"
    RESUME_CLEANED = "resume.cleaned"
    BASE_START = "base.start"
    BASE_MID_EPOCH = "base.mid_epoch"
    BASE_EPOCH_END = "base.epoch_end"
    BASE_CHECKPOINTED = "base.checkpointed"
    BASE_TRAINED = "base.trained"
    BASE_SAVED = "base.saved"
    POOL_START = "pool.start"
    POOL_SORTED = "pool.sorted"
    POOL_MID_EPOCH = "pool.mid_epoch"
    POOL_EPOCH_END = "pool.epoch_end"
    POOL_CHECKPOINTED = "pool.checkpointed"
    POOL_TRAINED = "pool.trained"
    POOL_SAVED = "pool.saved"
    SEARCH_ASK = "search.ask"
    MUTATE_START = "mutate.start"
    MUTATE_SAVED = "mutate.saved"
    BN_START = "bn.start"
    BN_MID = "bn.mid"
    BN_SAVED = "bn.saved"
    PAIR_START = "pair.start"
    PAIR_MID_EPOCH = "pair.mid_epoch"
    PAIR_EPOCH_END = "pair.epoch_end"
    PAIR_CHECKPOINTED = "pair.checkpointed"
    PAIR_TRAINED = "pair.trained"
    PAIR_WEIGHTS = "pair.weights"
    PAIR_MEASURED = "pair.measured"
    PAIR_FORGOTTEN = "pair.forgotten"
    COMMIT_HASHED = "commit.hashed"
    COMMIT_RECORD = "commit.record"
    COMMIT_DONE = "commit.done"
    SEARCH_TELL = "search.tell"
    TOP_K = "top_k"
    SEARCH_FINISH = "search.finish"
    CONTROL_START = "control.start"
    CONTROL_MID_EPOCH = "control.mid_epoch"
    CONTROL_EPOCH_END = "control.epoch_end"
    CONTROL_CHECKPOINTED = "control.checkpointed"
    CONTROL_TRAINED = "control.trained"
    CONTROL_WEIGHTS = "control.weights"
    CONTROL_RECORD = "control.record"
    CONTROL_SAVED = "control.saved"
    HOLDOUT_START = "holdout.start"
    HOLDOUT_MEASURED = "holdout.measured"
    HOLDOUT_SAVED = "holdout.saved"
    FINETUNE_START = "finetune.start"
    FINETUNE_MID_EPOCH = "finetune.mid_epoch"
    FINETUNE_EPOCH_END = "finetune.epoch_end"
    FINETUNE_CHECKPOINTED = "finetune.checkpointed"
    FINETUNE_TRAINED = "finetune.trained"
    FINETUNE_WEIGHTS = "finetune.weights"
    FINETUNE_RECORD = "finetune.record"
    FINETUNE_SAVED = "finetune.saved"
    MLFLOW_SEARCH_CREATED = "mlflow.search_created"
    MLFLOW_RUN_CREATED = "mlflow.run_created"
    MLFLOW_UPLOADED = "mlflow.uploaded"
    MLFLOW_MODEL = "mlflow.model"
    MLFLOW_NUMBERS = "mlflow.numbers"
    MLFLOW_DONE = "mlflow.done"
    MLFLOW_ENDED = "mlflow.ended"
    MLFLOW_MARKED = "mlflow.marked"
    MLFLOW_SEARCH_DONE = "mlflow.search_done"
    DURABLE_STAGE = "durable.stage"
    DURABLE_WRITE = "durable.write"
    DURABLE_FSYNC = "durable.fsync"
    DURABLE_RENAME = "durable.rename"
    DURABLE_RENAMED = "durable.renamed"
    DURABLE_FOLDER = "durable.folder"
    DURABLE_COMMITTED = "durable.committed"


class Action(StrEnum):
    """What happens there; a full or broken disk stays so for every durable write that follows."""

    KILL9 = "kill9"
    SIGTERM = "sigterm"
    STOP = "stop"
    ENOSPC = "enospc"
    EIO = "eio"
    RAISE = "raise"
    OOM = "oom"


_DISK = tuple(point for point in Point if point.startswith("durable."))
_armed: dict[str, Callable[[], None]] = {}


def faultpoint(point: str) -> None:
    """Does nothing, at the cost of a look into an empty dict, unless this place is armed."""
    if reached := _armed.get(point):
        reached()


def arm(text: str) -> None:
    """Arms ``NAME:HIT:ACTION``, in place of whatever was armed.

    Raises:
        ValueError: no such place or action, or the hit is not a number >= 1.
    """
    name, hit, action = text.split(":")
    if int(hit) < 1:
        raise ValueError(f"hit must be >= 1, got {hit}")
    point, happening = Point(name), _happening(Action(action), Point(name))
    _armed.clear()
    _armed[point] = _Countdown(int(hit), text, happening)


def watch(seen: Callable[[Point], object]) -> None:
    """Calls ``seen`` at every place, in place of whatever was armed."""
    _armed.update({point: partial(_call, seen, point) for point in Point})


def _call(seen: Callable[[Point], object], point: Point) -> None:
    seen(point)


class _Countdown:
    """Happens once, at the last of so many hits."""

    def __init__(self, hits: int, text: str, happening: Callable[[], None]) -> None:
        self._left, self._text, self._happening = hits, text, happening

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            logger.warning("%s=%s: here it is", VARIABLE, self._text)
            self._happening()


def _happening(action: Action, point: Point) -> Callable[[], None]:
    match action:
        case Action.KILL9:
            return partial(signal.raise_signal, signal.SIGKILL)
        case Action.SIGTERM:
            return partial(signal.raise_signal, signal.SIGTERM)
        case Action.STOP:
            return partial(signal.raise_signal, signal.SIGSTOP)
        case Action.ENOSPC:
            return partial(_break_disk, errno.ENOSPC, point)
        case Action.EIO:
            return partial(_break_disk, errno.EIO, point)
        case Action.RAISE:
            return partial(_fail, point)
        case Action.OOM:
            return _exhaust


def _break_disk(number: int, point: Point) -> None:
    """From here on no durable write succeeds; where this is one, it fails as the first."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    _armed.update(dict.fromkeys(_DISK, fail))
    if point in _DISK:
        fail()


def _fail(point: Point) -> None:
    raise RuntimeError(f"fault at {point}")


def _exhaust() -> None:
    """Asks for an exbibyte, which no machine gives."""
    bytearray(1 << 60)


if VARIABLE in os.environ:
    arm(os.environ[VARIABLE])
