"""What a part finds, item by item, and its file, which is whole after every item."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jdn_core.storage import durable

ItemState = Literal["passed", "failed", "measured", "not run"]
State = Literal["running", "passed", "failed", "crashed", "out of time", "not run"]
Numbers = Mapping[str, float | str]


@dataclass(frozen=True)
class Item:
    """One thing that was checked or measured.

    Attributes:
        name: what it is, such as ``r50 distilled``.
        state: whether it held; ``measured`` where there is nothing to hold.
        numbers: what was seen, by name and unit.
        reason: why it failed or was not run; or what stood in for a GPU.
    """

    name: str
    state: ItemState
    numbers: Numbers = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """What is known of a part.

    Attributes:
        part: its name, the group first: ``right.steps``.
        state: how it ended.
        seconds: from its start to its end.
        limit: seconds that it had.
        reason: why it did not pass.
        items: those that it came to, in order.
    """

    part: str
    state: State
    seconds: float = 0.0
    limit: float = 0.0
    reason: str = ""
    items: tuple[Item, ...] = ()

    @property
    def group(self) -> str:
        return self.part.partition(".")[0]

    @property
    def failed_items(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.state == "failed")

    def write(self, file: Path) -> None:
        """Replaces the part's file, whole or not at all."""
        durable.write_json(file, asdict(self))

    @classmethod
    def read(cls, file: Path) -> Result:
        data: dict[str, Any] = durable.read_json(file)
        return cls(**{**data, "items": tuple(Item(**item) for item in data["items"])})


class Findings:
    """A part's items; each is on disk as soon as it is known.

    Args:
        part: name of the part.
        file: where its result is kept.
        limit: seconds that the part has.
    """

    def __init__(self, part: str, file: Path, *, limit: float) -> None:
        self._result = Result(part, "running", limit=limit)
        self._file = file
        self._started = time.monotonic()
        self._write("running")

    @property
    def seconds_left(self) -> float:
        """Until the part is ended from outside."""
        return self._result.limit - (time.monotonic() - self._started)

    def check(self, name: str, holds: bool, *, reason: str = "", **numbers: float | str) -> None:
        """Notes whether something holds; ``reason`` says what does not, or what stands in for a GPU."""
        state: ItemState = "passed" if holds else "failed"
        self._add(Item(name, state, numbers, reason or ("" if holds else "does not hold")))

    def measure(self, name: str, **numbers: float | str) -> None:
        """Notes numbers that nothing is asked of."""
        self._add(Item(name, "measured", numbers))

    def leave_out(self, name: str, reason: str) -> None:
        """Notes what cannot be shown here."""
        self._add(Item(name, "not run", reason=reason))

    @contextmanager
    def surviving(self, name: str) -> Iterator[None]:
        """Makes an error inside a failed item, so that the items behind it are still tried."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            self._add(Item(name, "failed", reason=text))

    def end(self) -> Result:
        """Settles whether the part passed: something was seen, and nothing failed."""
        items = self._result.items
        if not items:
            return self._write("failed", "no item was checked")
        if failed := self._result.failed_items:
            return self._write("failed", "; ".join(f"{item.name}: {item.reason}" for item in failed))
        if all(item.state == "not run" for item in items):
            return self._write("not run", items[0].reason)
        return self._write("passed")

    def _add(self, item: Item) -> None:
        print(f"{item.name}: {item.state} {dict(item.numbers)} {item.reason}", flush=True)
        self._write("running", items=(*self._result.items, item))

    def _write(self, state: State, reason: str = "", items: tuple[Item, ...] | None = None) -> Result:
        before = self._result
        seconds = time.monotonic() - self._started
        items = before.items if items is None else items
        self._result = Result(before.part, state, seconds, before.limit, reason, items)
        self._result.write(self._file)
        return self._result
