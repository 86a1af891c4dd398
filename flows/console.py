"""What the command line prints: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec

from jdn_core.errors import UserError
from jdn_core.processes.progress import listening
from jdn_core.processes.stopping import Stopped
from jdn_core.reports import texts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
P = ParamSpec("P")
Report = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        data: the JSON object of the contract.
        show: draws the same for people.
        exit_code: 0, or the code of an answer that is complete and bad news, such as a dataset's problems.
    """

    data: Mapping[str, Any]
    show: Callable[[Console], None]
    exit_code: int = 0


def answering(command: Callable[P, Answer]) -> Callable[P, None]:
    """Prints a command's answer, as one JSON object where its ``json`` parameter is set.

    While the command works, standard output is standard error, for libraries and child processes too; so
    nothing but the answer can reach a script that reads it.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with _stdout_to_stderr():
            answer = command(*args, **kwargs)
        try:
            if kwargs.get("json"):
                sys.stdout.write(json.dumps(answer.data, allow_nan=False) + "\n")
            else:
                answer.show(console())
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if answer.exit_code:
            raise SystemExit(answer.exit_code)

    return run


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def console(*, stderr: bool = False) -> Console:
    """Makes a console of 100 columns at the most; rich colours it on a terminal only."""
    from rich.console import Console

    plain = Console(stderr=stderr, highlight=False)
    return Console(
        stderr=stderr, highlight=False, width=min(WIDTH, plain.width) if plain.is_terminal else WIDTH
    )


def say(text: str) -> None:
    """Prints one line for people, on standard error."""
    console(stderr=True).print(text, markup=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", left: int = 1) -> Table:
    """Builds a table whose first ``left`` columns are text and the others numbers, aligned right."""
    from rich import box
    from rich.table import Table

    drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(columns):
        drawn.add_column(name, justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def count(number: float | None, unit: str = "") -> str:
    """Formats ``215100000000`` as ``215.1 G``; a dash where there is nothing."""
    if number is None:
        return "-"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:#.4g} {prefix}{unit}"
    return f"{number:.4g} {unit}".rstrip()


def duration(seconds: float | None) -> str:
    """Formats seconds as ``2:05`` or ``1:02:05``; a dash where they are not known."""
    return "-" if seconds is None else texts.duration(seconds)


@contextlib.contextmanager
def showing_progress() -> Iterator[None]:
    """Shows on standard error what the core reports of its progress while the block runs."""
    with progress_printer() as printer, listening(printer):
        yield


@contextlib.contextmanager
def progress_printer() -> Iterator[Report]:
    """Gives what prints (stage, done, total, note): bars with ETA on a terminal, else lines now and then."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _PlainProgress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=screen, transient=True) as bars:
        yield _Bars(bars)


@dataclass
class _PlainProgress:
    """Lines for logs and pipes: the first of a stage, its last, and one every ``every`` seconds between."""

    every: float = 5.0
    clock: Callable[[], float] = time.monotonic
    started: dict[str, tuple[float, int]] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    printed: float = float("-inf")

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        now = self.clock()
        fresh = done <= self.newest.get(stage, done)
        self.newest[stage] = done
        if fresh:
            self.started[stage] = (now, done)
        if not fresh and done < total and now - self.printed < self.every:
            return
        self.printed = now
        begun, before = self.started[stage]
        parts = [f"{stage}: {done}/{total}", note]
        if before < done < total:
            parts.insert(1, f"{duration((now - begun) / (done - before) * (total - done))} left")
        say(", ".join(filter(None, parts)))


class _Bars:
    """Rich bars, one for every stage that is under way."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, note=note)
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(stage))


def report_error(error: BaseException, *, as_json: bool) -> int:
    """Prints what went wrong, without traceback, and returns the exit code.

    Every problem is a line ``ERROR 65 train.json: ...`` on standard error; with ``as_json`` standard output
    gets ``{"error": {"code", "message", "problems"}}``.
    """
    code, lines = _verdict(error)
    if os.environ.get("JDN_DEBUG") == "1":
        traceback.print_exception(error)
    for line in lines:
        sys.stderr.write(f"ERROR {code} {line}\n")
    if as_json:
        problems = [asdict(problem) for problem in getattr(error, "problems", ())]
        message = {"error": {"code": code, "message": "\n".join(lines), "problems": problems}}
        sys.stdout.write(json.dumps(message) + "\n")
    return code


def _verdict(error: BaseException) -> tuple[int, list[str]]:
    if isinstance(error, UserError):
        return error.exit_code, str(error).splitlines() or [type(error).__name__]
    if isinstance(error, Stopped):
        return 128 + error.number, [f"stopped by {signal.Signals(error.number).name}"]
    if isinstance(error, OSError):
        return 74, [str(error)]
    what = str(error).splitlines()
    line = f"unexpected {type(error).__name__}{f': {what[0]}' if what else ''}"
    return 70, [line, "this is a fault of jdn; the same command after `jdn --debug` shows where"]
