"""Who a search is: an id in its folder that stays when the folder moves, and that its copies share."""

from __future__ import annotations

import uuid
from pathlib import Path

from jdn_core.run.file_names import SEARCH_FILE
from jdn_core.storage import durable

SCHEMA = 1


def search_id(folder: Path) -> str | None:
    """Returns the id of the search in a folder; none where it has none yet.

    Raises:
        StorageError: the file is damaged.
        FormatError: another version wrote it.
    """
    file = folder / SEARCH_FILE
    return str(durable.read_json(file, schema=SCHEMA)["id"]) if file.is_file() else None


def write_search_id(folder: Path, *, forked_from: str | None = None) -> str:
    """Gives the search in a folder a new id; ``forked_from`` is that of the search whose pairs it has."""
    made = {"id": str(uuid.uuid4())}
    origin = {} if forked_from is None else {"forked_from": forked_from}
    durable.write_json(folder / SEARCH_FILE, made | origin, schema=SCHEMA)
    return made["id"]
