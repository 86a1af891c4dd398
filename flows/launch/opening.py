"""A run's folder, opened by one process at a time: owned, cleaned, compared with what it began with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.launch.guard import guarded_server
from jdn_core.detector.folder import load_spec
from jdn_core.processes import devices
from jdn_core.processes.children import Patience
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble, disk_space
from jdn_core.run.file_names import FINGERPRINT_FILE
from jdn_core.run.fingerprint import fingerprint, require_same
from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks.tracking.pages import tracking_uri, ui_command


@contextmanager
def opened(settings: Settings, out: Path) -> Iterator[Run]:
    """Makes a folder this process's run until the block ends.

    Raises:
        OwnedByAnother: another process runs in the folder, or another host runs the search.
        FingerprintError: the folder's run began with other settings, data or versions.
    """
    from flows.launch.lease import leased

    run = Run(settings, out)
    out.mkdir(parents=True, exist_ok=True)
    with durable.own(out), leased(out), guarded_server():
        durable.clean_leftovers(out)
        require_same(out / FINGERPRINT_FILE, fingerprint(settings))
        yield run


def hired(settings: Settings) -> Workers:
    """Makes the processes that a run's settings ask for; they start with the first job.

    Where a work pool evaluates the pairs, one is left to do: base, pool and report.
    """
    rules = settings.search
    device = devices.choose(settings.device).type
    count = rules.workers if rules.evaluator == "local" else 1
    shares = devices.shares(count, device=device, threads=settings.threads)
    return Workers(shares, patience=Patience(rules.hang_medians, rules.hang_seconds))


def require_room(run: Run) -> None:
    """Raises StorageError where the disk has less room than the rest of the search will need."""
    settings = run.settings
    base = load_spec(run.base) if run.base.is_dir() else assemble.base_spec(settings)
    needed = disk_space.needed_bytes(
        settings,
        base,
        settings.subnet_space,
        pairs=max(0, settings.search.iterations + 1 - len(run.records.all())),
        trained=frozenset(stage.name for stage in (run.base, run.pool) if stage.is_dir()),
        copies=1 if ui_command(tracking_uri(run)) is None else 2,
    )
    disk_space.require_room(run.folder, needed)
