"""A study that reads finished searches and trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from flows.inputs.folders import writable
from flows.inputs.settings_file import read_back
from jdn_core.run.folder import Run
from jdn_core.studies.read import Reader
from tasks.studies import read_searches, write_page
from tasks.tracking import send_reading


def run(reader: Reader, searches: Sequence[Path], out: Path) -> dict[str, Any]:
    """Reads searches as a flow of the study's own name, and writes its answer and page below ``out``.

    Raises:
        InputMissing: a folder holds no finished search.
        StorageError: ``out`` cannot be written.
    """
    runs = [Run(read_back(folder), folder.resolve()) for folder in searches]
    return _reading.with_options(name=f"study-{reader.name}")(reader, runs, writable(out))


@flow(name="study", validate_parameters=False)
def _reading(reader: Reader, runs: Sequence[Run], out: Path) -> dict[str, Any]:
    """Reads, writes and tells MLflow."""
    folder = out / reader.name
    found = read_searches(reader, runs, folder)
    page = write_page(folder, found)
    told = send_reading(runs[0], found, folder)
    return found | {"out": str(out), "page": str(page), "mlflow": told}
