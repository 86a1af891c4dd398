"""Keeps MLflow in step with a search's folder, beside the training and after it.

A search never waits for MLflow. A thread compares the folder with what the server has and sends what is
missing; so it catches up by itself after an outage, a crash, or a night.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from jdn_core.run.file_names import SEARCH_FILE
from jdn_core.run.folder import Run
from tasks.tracking.links import complaint, shown, tracking_uri
from tasks.tracking.mirror import Mirror
from tasks.tracking.restoring import fetch_records, holds_weights
from tasks.tracking.server import asking
from tasks.tracking.views import FlowRun

_PATIENCE = (1.0, 2.0, 4.0, 8.0, 10.0)  # seconds until the next attempt, after one, two ... failures
_FIRST_WORD = 10.0  # seconds that a resumed search waits for a server to say anything at all

logger = logging.getLogger(__name__)


class Publication(NamedTuple):
    """How far MLflow knows of a search: runs that are there, runs that are not, what stands in the way.

    ``fresh`` of the runs that are there were sent by this publisher or this ``sync``.
    """

    sent: int
    missing: int
    error: str = ""
    fresh: int = 0


def sync(run: Run, *, state: str) -> Publication:
    """Tells MLflow everything that it has not heard yet, and leaves the search's run in ``state``.

    All that is there is listed first, so that a run which someone deleted is sent again.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    delivery = _Delivery()
    with asking(tracking_uri(run)):
        mirror = Mirror.open(run)
        error = delivery.attempt(mirror, trusting=False)
        mirror.end(state)
    return delivery.publication(complaint(error) if error else "")


class Publisher:
    """A thread that sends what is new; nothing that fails here reaches the search.

    Use it as a context manager, or call ``finish`` at the end.

    Args:
        run: the folder and its settings; only files are read, so the thread needs nothing from the search.
        patience: seconds until the next attempt after one, two ... failures in a row.
    """

    def __init__(
        self, run: Run, *, flow_run: FlowRun | None = None, patience: Sequence[float] = _PATIENCE
    ) -> None:
        self._run = run
        self._flow_run = flow_run
        self._patience = patience
        self._delivery = _Delivery()
        self._error = ""
        self._ending: str | None = None  # the state that the search's run shall end in
        self._questioned: frozenset[str] = frozenset()  # pairs whose weights may go once MLflow holds them
        self._held: frozenset[str] = frozenset()  # pairs whose weights MLflow was seen to hold
        self._answered, self._restored = threading.Event(), threading.Event()
        if not (run.folder / SEARCH_FILE).is_file():  # MLflow never heard of it: there is nothing to fetch
            self._restored.set()
        self._news = threading.Event()
        self._news.set()
        self._thread = threading.Thread(target=self._work, name="jdn-mlflow", daemon=True)
        self._thread.start()

    def records(self) -> None:
        """Says that the folder holds something new; returns at once."""
        self._news.set()

    def restored(self) -> None:
        """Waits until the records that only MLflow had are in the folder; not for a server that is silent."""
        if not self._restored.is_set() and self._answered.wait(_FIRST_WORD):
            self._restored.wait()

    def holds(self, keys: Collection[str]) -> frozenset[str]:
        """Those pairs whose weights MLflow holds, hash by hash; returns at once, the others are looked at."""
        self._questioned = frozenset(keys) - self._held
        if self._questioned:
            self._news.set()
        return self._held & frozenset(keys)

    def knows(self, identities: Collection[str]) -> bool:
        """Whether MLflow holds these runs whole, by the names of stages and the keys of pairs."""
        return self._delivery.known.issuperset(identities)

    @property
    def trouble(self) -> str:
        """What stands in the way of telling MLflow; empty where nothing does."""
        return self._error

    def finish(self, state: str = "finished", *, timeout: float = 60.0) -> Publication:
        """Sends the rest and ends the search's run in MLflow; waits ``timeout`` seconds at the most.

        Calling it again changes nothing. What could not be sent is on the disk; ``jdn sync`` sends it later.
        """
        if self._ending is None:
            self._ending = state
            self._news.set()
        self._thread.join(timeout)
        if self._thread.is_alive() or self._error:
            logger.warning(
                "MLflow at %s does not have everything (%s); `jdn sync %s` sends the rest",
                shown(tracking_uri(self._run)), self._error or "it is slow", self._run.folder,
            )  # fmt: skip
        return self._delivery.publication(self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish("finished" if kind is None else "interrupted", timeout=60.0 if kind is None else 3.0)

    def _work(self) -> None:
        """The thread: send what is new, wait for more; after a failure try again, ever more patiently."""
        failures = 0
        mirror: Mirror | None = None
        while True:
            self._news.wait(self._patience[min(failures, len(self._patience)) - 1] if failures else None)
            self._news.clear()
            ending, before = self._ending, self._delivery.fresh
            try:
                mirror = mirror or Mirror.open(self._run, flow_run=self._flow_run)
                self._exchange(mirror)
                if ending is not None:
                    mirror.end(ending)
                failures, self._error = 0, ""
            except Exception as error:  # whatever MLflow, its database or the network can raise
                failures = 1 if self._delivery.fresh > before else failures + 1
                mirror = None
                self._complain(error)
            finally:
                self._restored.set()
                self._answered.set()
            if ending is not None and (not failures or failures > 1):
                return

    def _exchange(self, mirror: Mirror) -> None:
        """One round: fetch what the folder lacks, at the start; send what is new; look at what may go."""
        self._answered.set()
        if not self._restored.is_set():
            fetch_records(mirror)
            self._restored.set()
        error = self._delivery.attempt(mirror, trusting=True)
        for key in sorted(self._questioned & self._delivery.known):
            if holds_weights(mirror, key):
                self._held |= {key}
            self._questioned -= {key}
        if error:
            raise error

    def _complain(self, error: Exception) -> None:
        text = complaint(error)
        if text != self._error:
            logger.warning("MLflow was not told: %s", text)
        self._error = text


class _Delivery:
    """What MLflow holds of a search, as far as is known, and the next attempt to send the rest."""

    def __init__(self) -> None:
        self.known: set[str] = set()  # identities that MLflow holds whole
        self.missing = self.fresh = 0
        self._uploaded: dict[Path, int] = {}  # file below the folder -> its time of change when it was sent
        self._to = ""  # id of the search's run; another one knows nothing

    def attempt(self, mirror: Mirror, *, trusting: bool) -> Exception | None:
        """Sends all that is missing; what one run was refused for, if the others could be sent.

        Args:
            mirror: of the search.
            trusting: whether what both sides remember is believed, or all runs are listed.
        """
        if mirror.id != self._to:
            self._to, self._uploaded = mirror.id, {}
            remembered = mirror.remembered() if trusting else None
            self.known = mirror.known() if remembered is None else remembered
        mirror.send_files(self._uploaded)
        waiting, refused = list(mirror.entries(self.known)), None
        self.missing = len(waiting)
        for entry in waiting:
            try:
                mirror.send(entry)
            except Exception as error:  # one run that is refused must not keep the others back
                mirror.server.check()
                refused = error
                continue
            self.known.add(entry.identity[1])
            self.missing -= 1
            self.fresh += 1
        mirror.send_assessments(self._uploaded)
        if waiting:
            mirror.remember(self.known)
        return refused

    def publication(self, error: str) -> Publication:
        return Publication(len(self.known), self.missing, error, self.fresh)
