"""Shows on a bare GPU box whether all of it works there: what is right, what works, and how fast it is.

    python -m tests.gpu.check --out DIR [--minutes 8] [--parts a,b] [--device cuda|cpu] [--data DIR]

Needs torch, torchvision, numpy, pydantic, pycocotools, safetensors and pillow alone. DIR gets ``check.json``
and ``check.md``, written anew after every part, and ``parts/`` with each part's own file and output. Ends
with 1 if a part of *Right* or *Works* did not pass. With ``--device cpu`` the same code runs in small.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.gpu import fast, machine, report, right, runner, true, works
from tests.gpu.findings import Result
from tests.gpu.runner import Part, Setting
from tests.gpu.scale import FULL, SMALL

# In the order of their worth. What only measures shares the time that the others leave by weight.
PARTS = (
    Part("machine.facts", machine.facts, seconds=60),
    Part("right.gradients", right.gradients),
    Part("right.precision", right.precision),
    Part("right.detections", right.detections),
    Part("right.accuracy", right.accuracy),
    Part("works.workers", works.workers),
    Part("works.group", works.group),
    Part("works.resume", works.resume),
    Part("fast.r50", fast.r50, seconds=240, weight=3),
    Part("fast.r18", fast.r18, seconds=240, weight=2),
    Part("fast.r101", fast.r101, seconds=240, weight=2),
    Part("fast.supernet", fast.supernet, seconds=240, weight=2),
    Part("true.upgrade", true.upgrade, seconds=600, weight=5),
)
HERE = "tests.gpu.check"
MINUTES = 8.0


def check(parts: Sequence[Part], out: Path, *, device: str, minutes: float, data: Path | None = None) -> bool:
    """Runs parts one after the other; whether all that must pass have passed."""
    deadline = time.monotonic() + 60 * minutes
    patience = max(1.0, minutes / MINUTES)  # who gives more time has a slower machine
    results: list[Result] = []
    passed = True
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jdn-check-") as scratch:
        for number, part in enumerate(parts):
            behind = sum(later.weight for later in parts[number:] if not later.must_pass)
            share = 1.0 if part.must_pass else part.weight / behind
            setting = Setting(device, SMALL if device == "cpu" else FULL, Path(scratch, part.name), data)
            guarded = replace(part, seconds=part.seconds * patience)
            result = runner.run(guarded, setting, out / "parts", deadline=deadline, share=share)
            results.append(result)
            passed &= result.state == "passed" or not part.must_pass
            report.write(results, out, passed=passed)
            why = f"  {result.reason}" if result.reason else ""
            print(f"{result.part:20} {result.state:12} {result.seconds:6.1f} s{why}", flush=True)
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line and returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {HERE}", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    parser.add_argument("--parts", default="", help="names or groups: machine, right, works, fast, true")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu runs in small")
    parser.add_argument("--data", type=Path, default=_known_data(), help="dataset in COCO format, for true")
    options = parser.parse_args(arguments)
    wanted = [name for name in options.parts.split(",") if name]
    known = {name for part in PARTS for name in (part.name, part.group)}
    if unknown := sorted(set(wanted) - known):
        parser.error(f"unknown parts: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    parts = [part for part in PARTS if not wanted or {part.name, part.group} & set(wanted)]
    data = None if options.device == "cpu" else options.data
    return 0 if check(parts, options.out, device=options.device, minutes=options.minutes, data=data) else 1


def _known_data() -> Path | None:
    """Returns the dataset of blood cells below ``JDN_DATA``, if it is there."""
    folder = Path(os.environ.get("JDN_DATA", "shared/data"), "bccd")
    return folder.resolve() if folder.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
