"""What `jdn doctor` looks at: each check says what it found and, where that is not good, what to do."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from flows.servers.embedded import require_home
from flows.servers.health import health
from flows.servers.tracker import SECONDS, trouble
from jdn_core.errors import ServiceUnavailable, StorageError, UserError
from jdn_core.processes.devices import cores

State = Literal["ok", "warn", "fail"]
SHOWN = ("torch", "torchvision", "prefect", "mlflow", "fastapi", "sqlalchemy")


class Check(NamedTuple):
    """One finding; ``remedy`` is empty where all is well."""

    name: str
    state: State
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """Runs all checks of this machine, from the current folder; a check that breaks is a failed check."""
    groups: tuple[Callable[[], Iterator[Check]], ...] = (
        _python, _packages, _operators, _devices, _disk, _mlflow, _prefect, _presets
    )  # fmt: skip
    checks: list[Check] = []
    for group in groups:
        try:
            checks += group()
        except Exception as error:  # a broken installation breaks in any way
            name = group.__name__.strip("_")
            checks.append(
                Check(
                    name, "fail", f"{type(error).__name__}: {error}", "install from requirements.lock again"
                )
            )
    return checks


def _python() -> Iterator[Check]:
    yield Check("python", "ok", platform.python_version())


def _packages() -> Iterator[Check]:
    """Compares versions with the bounds of our own distribution, which stand in pyproject.toml alone."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, metadata.requires("jdn") or ()):
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Check(requirement.name, "fail", "not installed", f"pip install '{wanted}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield Check(
                requirement.name,
                "fail",
                f"{version}, needed {requirement.specifier}",
                f"pip install '{wanted}'",
            )
        elif requirement.name in SHOWN:
            yield Check(requirement.name, "ok", version)


def _operators() -> Iterator[Check]:
    import torch

    try:
        from torchvision.ops import nms

        kept = nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([1.0, 0.5]), 0.5)
    except (ImportError, RuntimeError) as error:
        what = str(error).splitlines()[0]
        yield Check(
            "torch + torchvision", "fail", what, "install the torchvision that was built for this torch"
        )
        return
    yield Check(
        "torch + torchvision",
        "ok" if kept.tolist() == [0] else "fail",
        "their compiled operators work together",
    )


def _devices() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            yield Check(f"cuda:{index}", "ok", f"{found.name}, {found.total_memory / 2**30:.0f} GiB")
    else:
        remedy = "`jdn init` and the presets demo and bccd_cpu suit a CPU; the others need a GPU"
        yield Check("cuda", "warn", "no GPU that torch can use", remedy)
    yield Check("threads", "ok", f"torch takes {torch.get_num_threads()} of {cores()} cores")


def _disk() -> Iterator[Check]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 2**30
    state: State = "ok" if free >= 10 else "warn" if free >= 1 else "fail"
    yield Check(
        "disk",
        state,
        f"{free:.1f} GiB free in {here}",
        "" if state == "ok" else "a search wants 10 GiB; use --out",
    )
    try:
        with tempfile.TemporaryFile(dir=here):
            yield Check("writing", "ok", f"allowed in {here}")
    except OSError as error:
        yield Check("writing", "fail", str(error), "go to another folder, or give --out")


def _mlflow() -> Iterator[Check]:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if found := trouble(uri):
        yield Check("mlflow server", "fail", *found)
    elif not uri:
        yield Check("mlflow server", "ok", "none asked for: SQLite in the search's folder")
    elif uri.startswith("http"):
        yield Check("mlflow server", "ok", f"{uri.rstrip('/').rpartition('@')[2]}/health answers")
    else:
        yield Check("mlflow server", "ok", uri.partition(":")[0] + " store of MLFLOW_TRACKING_URI")


def _prefect() -> Iterator[Check]:
    try:
        require_home()
    except StorageError as error:
        what, _, remedy = str(error).partition("; ")
        yield Check("prefect server", "fail", what, remedy)
        return
    from prefect.settings import PREFECT_API_URL

    uri = PREFECT_API_URL.value()
    if not uri:
        yield Check("prefect server", "ok", "none asked for: embedded, started with every run")
    else:
        yield _answers(
            "prefect server", f"{uri.rstrip('/')}/health", "`prefect server start`, or unset PREFECT_API_URL"
        )


def _presets() -> Iterator[Check]:
    from flows.inputs.settings_file import load, presets

    for name in presets():
        try:
            load(name)
        except UserError as error:
            yield Check(f"preset {name}", "fail", str(error).splitlines()[0], "install jdn again")
    yield Check("presets", "ok" if presets() else "fail", ", ".join(presets()) or "none found")


def _answers(name: str, url: str, remedy: str) -> Check:
    shown = url.rpartition("@")[2]  # a password may stand in front of the host
    try:
        return Check(name, "ok", f"{shown} answers {health(url, seconds=SECONDS)}")
    except ServiceUnavailable as error:
        return Check(name, "fail", f"{shown}: {error}", remedy)
