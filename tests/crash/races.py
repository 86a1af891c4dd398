"""A program: two processes want one folder at the same moment, again and again; a line of JSON for each race.

python -m tests.crash.races FOLDER TIMES
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from jdn_core.errors import OwnedByAnother
from jdn_core.storage import durable


def race(folder: Path) -> dict[str, float]:
    """Exit codes of who ends first, while the other runs on, and of the other; the first one's seconds."""
    start, go = os.pipe()
    end, release = os.pipe()
    for _ in range(2):
        if not os.fork():
            os.close(go)
            os.close(release)
            _resume(folder, start, end)
    os.close(go)
    begun = time.monotonic()
    loser = os.wait()[1]
    seconds = time.monotonic() - begun
    os.close(release)
    winner = os.wait()[1]
    os.close(start)
    os.close(end)
    return {
        "loser": os.waitstatus_to_exitcode(loser),
        "winner": os.waitstatus_to_exitcode(winner),
        "seconds": seconds,
    }


def _resume(folder: Path, start: int, end: int) -> NoReturn:
    signal.alarm(30)
    os.read(start, 1)  # both wait here until nobody can write any more
    try:
        with durable.own(folder):
            os.read(end, 1)
        os._exit(0)
    except OwnedByAnother as error:
        os._exit(error.exit_code)


if __name__ == "__main__":
    for _ in range(int(sys.argv[2])):
        sys.stdout.write(json.dumps(race(Path(sys.argv[1]))) + "\n")
