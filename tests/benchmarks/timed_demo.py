"""Runs the demo in this process with a stopwatch on the method itself, to see what the house around it costs.

Usage: python -m tests.benchmarks.timed_demo OUT. Writes OUT.json: seconds of wall time, of the method (data,
trainings, measurements; torch's import too) and of the files that trainings wrote meanwhile.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

METHOD, FILES = "method", "files_in_method"


class Stopwatch:
    """Sums the outermost calls of each kind; files count while the method runs, the rest is house anyway."""

    def __init__(self) -> None:
        self.seconds = {METHOD: 0.0, FILES: 0.0}
        self._running: list[str] = []

    def on(self, module: ModuleType, kind: str) -> None:
        """Clocks every public function of a module, for all who call it by the module's name."""
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                setattr(module, name, self._clocked(function, kind))

    def _clocked(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if kind in self._running or (kind == FILES and METHOD not in self._running):
                return function(*args, **kwargs)
            self._running.append(kind)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[kind] += time.perf_counter() - start
                self._running.remove(kind)

        return run


def main(out: Path) -> None:
    """Runs `jdn demo` and writes the seconds beside its folder."""
    begin = time.perf_counter()
    import torchvision  # noqa: F401 - the method needs it, whoever calls the method

    watch = Stopwatch()
    watch.seconds[METHOD] = time.perf_counter() - begin

    from flows.cli.main import main as jdn
    from jdn_core.data import shapes
    from jdn_core.run import assemble, datasets, warm
    from jdn_core.stages import base_training, measurement, pool_phase, student_training
    from jdn_core.storage import durable

    stages = (base_training, measurement, pool_phase, student_training)
    methods = [(module, METHOD) for module in (assemble, datasets, warm, *stages, shapes)]
    for module, kind in (*methods, (durable, FILES)):
        watch.on(module, kind)
    code: object = 0
    try:
        jdn(["demo", "--out", str(out)])
    except SystemExit as ended:
        code = ended.code
    wall = time.perf_counter() - begin
    out.with_suffix(".json").write_text(json.dumps({"wall": wall, **watch.seconds}))
    sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
