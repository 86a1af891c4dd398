"""Parts that crash, hang, are killed or leave something running, and good ones among them.

``python -m tests.gpu.bad_parts DIR`` checks them all; ``... DIR good`` those alone that pass.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.gpu.check import check
from tests.gpu.findings import Findings
from tests.gpu.runner import Part, Setting


def good(setting: Setting, findings: Findings) -> None:
    findings.check("two and two", 2 + 2 == 4, sum=4.0)


def wrong(setting: Setting, findings: Findings) -> None:
    findings.check("two and two", 2 + 2 == 5, reason="it is 4", sum=4.0)
    findings.check("three and three", 3 + 3 == 6)


def broken(setting: Setting, findings: Findings) -> None:
    with findings.surviving("first"):
        raise ValueError("a bug")
    findings.check("second", True)
    raise RuntimeError("another bug")


def empty(setting: Setting, findings: Findings) -> None:
    pass


def absent(setting: Setting, findings: Findings) -> None:
    findings.leave_out("everything", "there is no GPU")


def crashes(setting: Setting, findings: Findings) -> None:
    findings.measure("before the crash", number=1.0)
    os.abort()


def is_killed(setting: Setting, findings: Findings) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(setting: Setting, findings: Findings) -> None:
    os._exit(3)


def hangs(setting: Setting, findings: Findings) -> None:
    findings.measure("before the hang", number=1.0)
    child = subprocess.Popen(["sleep", "600"])
    findings.measure("a child", pid=float(child.pid))
    time.sleep(600)


PARTS = (
    Part("right.wrong", wrong),
    Part("right.broken", broken),
    Part("works.empty", empty),
    Part("works.crashes", crashes),
    Part("works.is_killed", is_killed),
    Part("works.leaves", leaves),
    Part("works.hangs", hangs, seconds=2.0),
    Part("right.good", good),
    Part("fast.is_killed", is_killed),
    Part("fast.absent", absent),
)

if __name__ == "__main__":
    only = sys.argv[2:]
    # What only measures may end as it likes: it does not decide.
    parts = [part for part in PARTS if not only or part.group == "fast" or part.work is good]
    sys.exit(0 if check(parts, Path(sys.argv[1]), device="cpu", minutes=10) else 1)
