"""The folder of studies, opened by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.inputs import settings_file
from flows.inputs.folders import is_search, writable
from flows.launch.guard import guarded_server
from jdn_core.errors import UsageError
from jdn_core.run.file_names import FINGERPRINT_FILE
from jdn_core.run.fingerprint import fingerprint, require_same
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from jdn_core.studies.folder import StudyFolder

SETTINGS_FILE = "studies.yaml"  # not that of a search, which `jdn resume` would take for one


def prepared(settings: Settings, out: Path) -> StudyFolder:
    """Makes the folder of the studies of these settings.

    Raises:
        StorageError: it cannot be written.
        UsageError: it holds a search.
    """
    out = writable(out)
    if is_search(out):
        raise UsageError(f"{out} holds a search; choose another --out")
    return StudyFolder(settings, out)


@contextmanager
def opened(studies: StudyFolder) -> Iterator[None]:
    """Makes the folder this process's until the block ends.

    Raises:
        OwnedByAnother: another process works in it.
        FingerprintError: it was begun with other settings, data or versions.
    """
    folder = studies.folder
    with durable.own(folder), guarded_server():
        durable.clean_leftovers(folder)
        require_same(folder / FINGERPRINT_FILE, fingerprint(studies.settings))
        durable.write_bytes(folder / SETTINGS_FILE, settings_file.dump(studies.settings).encode())
        yield
