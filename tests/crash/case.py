"""One case: a search is cut off by a fault, goes on in a new process, and is compared with one without."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from flows.console import report_error
from jdn_core import faults
from jdn_core.processes.progress import listening
from jdn_core.settings.whole import Settings
from tests.crash import controls, tiny_search
from tests.crash.standing import differences, standing

# Well after the base, the pool, the first pair, the last one, all that stands beside them, and a fine-tuning.
STAGES = ("fresh", "base", "pool", "pair", "pairs", "end", "tuned")
WHOLE = "whole"  # all stages at once
PATIENCE = 60  # seconds for a process of a case, which takes one
_PLACES = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}


@dataclass(frozen=True)
class Case:
    """What to do to a search.

    Attributes:
        start: how far it is, one of ``STAGES``.
        fault: ``NAME:HIT:ACTION`` for the first process.
        again: the same for the second process.
        until: where its processes end, unless they are ended.
        without: a rule that is switched off in all of them, by its name in ``controls``.
    """

    start: str
    fault: str
    again: str = ""
    until: str = "end"
    without: str = ""

    @property
    def point(self) -> str:
        return self.fault.partition(":")[0]

    @property
    def room(self) -> str:
        return self.fault.partition(".")[0]

    @property
    def action(self) -> faults.Action:
        return faults.Action(self.fault.rpartition(":")[2])


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        case: what was done.
        codes: of its processes; negative: the signal that ended it.
        seconds: that its processes took.
        fired: how many of its faults happened.
        steps: of training that were done, by all processes together.
        differences: from the uninterrupted search; empty: none.
        text: what its processes said on standard error.
    """

    case: Case
    codes: tuple[int, ...]
    seconds: tuple[float, ...]
    fired: int
    steps: int
    differences: tuple[str, ...]
    text: str = field(repr=False)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        data = json.loads(text)
        lists = {name: tuple(data[name]) for name in ("codes", "seconds", "differences")}
        return cls(**data | lists | {"case": Case(**data["case"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Stand:
    """Where cases are played.

    Attributes:
        folder: holds the searches to start from.
        settings: of all of them.
        reached: stage -> how often each place is reached on the way to it from the one before; ``steps``: of
            training.
        standings: stage -> all that an uninterrupted search has made by then.
    """

    folder: Path
    settings: Settings
    reached: dict[str, dict[str, int]]
    standings: dict[str, dict[str, Any]]

    def play(self, case: Case, place: Path) -> Outcome:
        """Plays a case in a folder of its own, which is dropped; its processes are forked from this one."""
        search, log = place / "search", place / "log"
        copy_search(self.folder / case.start, search)
        codes, seconds = [], []
        for fault in [fault for fault in (case.fault, case.again) if fault] + [""]:
            begun = time.monotonic()
            codes.append(forked(lambda armed=fault: self._process(case, search, armed), log))
            seconds.append(time.monotonic() - begun)
        try:
            found = differences(standing(self.settings, search), self.standings[case.until])
        except Exception as error:  # whatever reading a search that is not whole may raise
            found = [f"{type(error).__name__}: {error}"]
        text = log.read_text()
        shutil.rmtree(place)
        fired, steps = text.count("here it is"), text.count("\nstep ")
        return Outcome(case, tuple(codes), tuple(seconds), fired, steps, tuple(found), text[-4000:])

    def _process(self, case: Case, search: Path, fault: str) -> None:
        controls.lose_power_when_killed(search)
        if case.without:
            controls.CONTROLS[case.without]()
        if fault:
            faults.arm(fault)
        with listening(_tell_steps):
            tiny_search.go_on(self.settings, search, until=case.until)


def set_up(folder: Path, empty_database: Path, *, warm: Sequence[Path]) -> Stand:
    """Plays a search without a fault, at once and, for the folders to start from, stage by stage.

    In ``warm``, the places where cases will be played, it is played in this process, so that everything is
    imported, MLflow knows the databases, and no case pays for it. No connection is left for the forks.
    """
    folder.mkdir()
    tiny_search.draw_data(folder / "data")
    settings = tiny_search.settings_of(folder / "data")
    (folder / "fresh").mkdir()
    shutil.copyfile(empty_database, folder / "fresh" / "mlflow.db")
    for place in warm:
        copy_search(folder / "fresh", place / "search")
        tiny_search.go_on(settings, place / "search", until=WHOLE)
        shutil.rmtree(place)
    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()
    reached, standings = {}, {}
    for start, until in (*pairwise(STAGES), ("fresh", WHOLE)):
        copy_search(folder / start, folder / until)
        count = folder / f"reached before {until}"
        if code := forked(
            lambda to=until, file=count: _count(settings, folder / to, to, file), folder / "log"
        ):
            raise RuntimeError(
                f"without a fault the search ends with {code}:\n{(folder / 'log').read_text()}"
            )
        reached[until] = json.loads(count.read_text())
        standings[until] = standing(settings, folder / until)
    if found := differences(standings["tuned"], standings[WHOLE]):
        raise RuntimeError(f"stage by stage the search is another: {found}")
    return Stand(folder, settings, reached, standings)


def forked(work: Callable[[], object], log: Path) -> int:
    """The exit code of ``work`` in a forked process whose words go to a file; negative: a signal ended it."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 70
    try:
        signal.alarm(PATIENCE)
        words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        logging.basicConfig(level=logging.INFO, force=True)
        work()
        code = 0
    except BaseException as error:
        traceback.print_exc()
        code = report_error(error, as_json=False)
    finally:
        os._exit(code)


def copy_search(source: Path, target: Path) -> None:
    """Copies a search's folder; MLflow's database knows it by its path."""
    shutil.copytree(source, target)
    with sqlite3.connect(target / "mlflow.db") as database:
        for table, column in _PLACES.items():
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target))
            )
    database.close()


def _count(settings: Settings, search: Path, until: str, file: Path) -> None:
    """Goes on and notes how often each place was reached, and how many steps were trained."""
    seen = dict.fromkeys([*map(str, faults.Point), "steps"], 0)

    def add(name: str) -> None:
        seen[name] += 1

    faults.watch(add)
    with listening(lambda *step: add("steps") if _is_training(*step) else None):
        tiny_search.go_on(settings, search, until=until)
    file.write_text(json.dumps(seen))


def _tell_steps(stage: str, done: int, total: int, note: str) -> None:
    if _is_training(stage, done, total, note):
        os.write(2, f"\nstep {done} of {stage}\n".encode())


def _is_training(stage: str, done: int, total: int, note: str) -> bool:
    return note.startswith("epoch ")
