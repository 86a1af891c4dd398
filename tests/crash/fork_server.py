"""One process that imports torch and mlflow once and forks for each case; pytest's threads stay out of it.

It reads a line of JSON, a list of cases, from its standard input, plays them ``LANES`` at a time, and writes
a line for each as it ends.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tests.crash.case import Case, Outcome, Stand, set_up
from tests.processes import unmeasured

ROOT = Path(__file__).parents[2]
LANES = 2
_MEMORY = Path("/dev/shm")  # a disk that flushes in no time
_ROOM = 2 << 30


class ForkServer:
    """A server's side in the test; get one from ``running``."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any], log: Path) -> None:
        self._process, self._log = process, log
        self.reached: dict[str, dict[str, int]] = told["reached"]
        self.seconds: float = told["seconds"]

    def play(self, cases: Sequence[Case]) -> list[Outcome]:
        """What came of each case, in the order of their ends."""
        channel = self._process
        if channel.stdin is None or channel.stdout is None:
            raise RuntimeError("the fork server has no channel")
        channel.stdin.write(json.dumps([asdict(case) for case in cases]) + "\n")
        channel.stdin.flush()
        lines = [channel.stdout.readline().strip() for _ in cases]
        if not all(lines):
            raise RuntimeError(f"cases could not be played:\n{self._log.read_text()[-4000:]}")
        return [Outcome.from_json(line) for line in lines]


@contextmanager
def running() -> Iterator[ForkServer]:
    """A server with its searches set up, for as long as the block runs."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    quiet = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment = unmeasured() | quiet  # coverage would halve the pace
    with tempfile.TemporaryDirectory(prefix="jdn-crash-", dir=_MEMORY if has_room else None) as folder:
        command = [sys.executable, "-m", "tests.crash.fork_server", folder]
        log = Path(folder, "server.log")
        pipe = subprocess.PIPE
        with (
            log.open("w") as words,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=words, text=True
            ) as process,
        ):
            told = process.stdout.readline() if process.stdout else ""
            if not told:
                raise RuntimeError(f"the fork server did not start:\n{log.read_text()}")
            yield ForkServer(process, json.loads(told), log)
            process.communicate()


def serve(folder: Path, answers: IO[str]) -> None:
    """Until standard input ends: batches of cases in, outcomes out."""
    begun = time.monotonic()
    places = [folder / f"lane-{number}" for number in range(LANES)]
    stand = set_up(folder / "stand", _empty_database(folder / "empty.db"), warm=places)
    gc.freeze()  # what is there is not touched again, so that it stays shared with the forks
    _say(answers, json.dumps({"reached": stand.reached, "seconds": time.monotonic() - begun}))
    for line in sys.stdin:
        for outcome in _played(stand, [Case(**case) for case in json.loads(line)], places):
            _say(answers, outcome)


def _played(stand: Stand, cases: Sequence[Case], places: Sequence[Path]) -> Iterator[str]:
    """Plays the cases in forks of this process, each of which takes the next one as long as there are any.

    A case that could not be played leaves an empty line.
    """
    folder = places[0].parent
    waiting, queue = os.pipe()
    ended, report = os.pipe()
    os.write(queue, bytes(range(len(cases))))
    os.close(queue)
    lanes = [_lane(stand, cases, place, (waiting, report)) for place in places]
    for _ in cases:
        (number,) = os.read(ended, 1)
        outcome = folder / f"outcome-{number}"
        yield outcome.read_text()
        outcome.unlink()
    for pid in lanes:
        os.waitpid(pid, 0)
    for pipe in (waiting, ended, report):
        os.close(pipe)


def _lane(stand: Stand, cases: Sequence[Case], place: Path, pipes: tuple[int, int]) -> int:
    """A forked process that plays cases; its id."""
    pid = os.fork()
    if pid:
        return pid
    waiting, report = pipes
    while number := os.read(waiting, 1):
        outcome = ""
        try:
            outcome = stand.play(cases[number[0]], place).to_json()
        except Exception:
            traceback.print_exc()
        place.with_name(f"outcome-{number[0]}").write_text(outcome)
        os.write(report, number)
    os._exit(0)


def _empty_database(file: Path) -> Path:
    """MLflow's tables without a row; their sixty migrations take seconds, so they are run once."""
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


def _say(answers: IO[str], line: str) -> None:
    answers.write(line + "\n")
    answers.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)
        serve(Path(sys.argv[1]), channel)
