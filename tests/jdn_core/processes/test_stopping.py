"""A wish to stop is kept until it is forgotten, and the first signal is the one that counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from jdn_core.processes import stopping
from jdn_core.processes.stopping import Stopped


@pytest.fixture(autouse=True)
def _no_wish() -> Iterator[None]:
    stopping.clear()
    yield
    stopping.clear()


def test_nobody_is_stopped_without_a_wish() -> None:
    stopping.check()
    assert not stopping.requested()


def test_the_first_signal_counts_until_it_is_forgotten() -> None:
    stopping.request(signal.SIGINT)
    stopping.request(signal.SIGTERM)
    assert stopping.requested() == signal.SIGINT
    with pytest.raises(Stopped) as caught:
        stopping.check()
    assert caught.value.number == signal.SIGINT
    stopping.clear()
    stopping.check()


def test_a_handler_may_ask() -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, _: stopping.request(number))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stopping.requested() == signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_handlers_of_ordinary_errors_do_not_hold_a_stop_up() -> None:
    assert not issubclass(Stopped, Exception)
