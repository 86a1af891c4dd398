"""How often a search was resumed by itself since it last got further; so that no crash repeats for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jdn_core.errors import JobFailed, StorageError
from jdn_core.storage import durable
from jdn_core.storage.canonical import content_key

FILE = Path("work", "resumes.json")
SCHEMA = 1
MOST = 5  # automatic resumes in a row that may leave nothing behind (ours)
_LASTING = ("base/*.json", "pool/*.json", "pairs/*/pair.json", "work/phases/*/*.json")
_ON_THE_WAY = "work/checkpoints/**/checkpoints.json"


def begin(folder: Path, flow: str) -> None:
    """Notes which flow a folder was begun with, for whoever goes on in it."""
    if not (folder / FILE).is_file():
        _write(folder, {"flow": flow, "resumes": 0, "progress": ""})


def flow_of(folder: Path) -> str:
    """Returns the flow that goes on in a folder: the one that it was begun with, else ``upgrade``."""
    return str(_read(folder).get("flow", "upgrade"))


def count(folder: Path, *, automatic: bool) -> None:
    """Counts a resume before it begins; one that a person asked for begins the count anew.

    Raises:
        JobFailed: so many automatic ones have come to nothing.
    """
    before, now = _read(folder), _progress(folder)
    barren = int(before.get("resumes", 0)) if automatic and before.get("progress") == now else 0
    refuse_more(folder, barren)
    _write(folder, {"flow": flow_of(folder), "resumes": barren + automatic, "progress": now})


def refuse_more(folder: Path, barren: int) -> None:
    """Looks at how many resumes in a row have left nothing behind.

    Raises:
        JobFailed: they are too many.
    """
    if barren >= MOST:
        raise JobFailed(
            f"{folder}: resumed {barren} times by itself, and each time it crashed before it got further; "
            f"{folder / 'jdn.log'} and the log of the worker say where; mend that and run `resume` by hand"
        )


def _progress(folder: Path) -> str:
    """Differs as soon as a stage, a record or a checkpoint is new."""

    def seen() -> Iterator[tuple[str, str]]:
        for pattern in _LASTING:
            yield from ((str(path.relative_to(folder)), "") for path in sorted(folder.glob(pattern)))
        for path in sorted(folder.glob(_ON_THE_WAY)):
            yield str(path.relative_to(folder)), path.read_text(errors="replace")

    return content_key([list(item) for item in seen()])


def _read(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = durable.read_json(folder / FILE, schema=SCHEMA)
    except (FileNotFoundError, StorageError):
        return {}
    return found


def _write(folder: Path, data: dict[str, Any]) -> None:
    (folder / FILE).parent.mkdir(exist_ok=True)
    durable.write_json(folder / FILE, data, schema=SCHEMA)
