"""One owner of a search across hosts: a lease at Prefect's server, beside the lock on the search's folder.

The lease is on the one slot of a concurrency limit named after the search's id, which stays the same when the
search is fetched to another host. Prefect's own ``concurrency`` would do but for two things: what a killed
process leaves would hold up its own folder, too; and a restarted server forgets the leases, but not that
their slots are taken, so that no host could ever have the search again. Prefect says of a limit on a task's
tag who holds it; therefore it is one, though no task has the tag.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from http import HTTPStatus
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from jdn_core.errors import OwnedByAnother, UserError
from jdn_core.run.identity import search_id

SECONDS = 60.0  # that a lease lasts; Prefect's server grants no less
_TIMEOUT = 5.0  # seconds for an answer while the search runs
_MOMENT = 0.5  # more than the server needs between a slot's increment and its lease
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # tells machines of one name apart

logger = logging.getLogger(__name__)


@contextmanager
def leased(folder: Path, *, pause: float = 10.0) -> Iterator[None]:
    """Holds a search against other hosts while the block runs, if they share a Prefect server with this one.

    Only the owner of the folder may ask. A search that has no id yet, because it is not in MLflow, can
    be nowhere else; its lease is taken once it has one. A lease that is lost on the way is taken again, and
    whatever fails then is a warning.

    Args:
        folder: of the search.
        pause: seconds between renewals; a slot that the server lost the lease of is left to its owner for
            one and a half of them.

    Raises:
        OwnedByAnother: another host holds the search.
        httpx.TransportError: the server does not answer.
    """
    if not PREFECT_API_URL.value():  # no other host knows the embedded server
        yield
        return
    with get_client(sync_client=True) as client:
        lease = _claim(client, folder, patience=1.5 * pause)
    ended = threading.Event()
    keeping = (_keep, folder, lease, pause, ended)
    thread = threading.Thread(target=copy_context().run, args=keeping, name="jdn-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_TIMEOUT)
        _give_back(folder)


def _claim(client: SyncPrefectClient, folder: Path, *, patience: float) -> UUID | None:
    """Takes the lease; None for a search without an id.

    A taken slot without a holder is one whose lease has just expired, or was forgotten with a restart of the
    server; after ``patience`` seconds its owner is taken for dead. The limit is then replaced: of two that
    delete it by its id one succeeds, so the slot of a third is never freed.
    """
    tag = _tag(folder)
    if tag is None:
        return None
    deadline = time.monotonic() + patience
    while (lease := _slot(client, tag, _holder(folder))) is None:
        with suppress(ObjectNotFound):
            limit = client.read_concurrency_limit_by_tag(tag)
            if limit.active_slots:
                raise OwnedByAnother(
                    f"search {folder.resolve().name} is owned by another host, which holds Prefect's lease "
                    f"{tag}; stop it there first, or wait {SECONDS:.0f} s if it died"
                )
            if time.monotonic() < deadline:
                time.sleep(_MOMENT)
            else:
                logger.warning("Prefect's server knows no owner of the taken lease %s; taking it over", tag)
                client.delete_global_concurrency_limit_by_name(str(limit.id))
    return lease


def _slot(client: SyncPrefectClient, tag: str, holder: UUID) -> UUID | None:
    """Takes a lease on the slot, freed of what an earlier process here left; None if it is taken."""
    name = f"tag:{tag}"
    with suppress(ObjectAlreadyExists):
        client.upsert_global_concurrency_limit_by_name(name, 1)
    _free(client, tag, holder)
    try:
        reply = client.increment_concurrency_slots_with_lease(
            [name], 1, "concurrency", SECONDS, ConcurrencyLeaseHolder(type="task_run", id=holder)
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code != HTTPStatus.LOCKED:
            raise
        return None
    granted = reply.json()
    return UUID(granted["lease_id"]) if granted["limits"] else None  # a limit that is gone grants nothing


def _keep(folder: Path, lease: UUID | None, pause: float, ended: threading.Event) -> None:
    """Renews the lease, in a thread, until the search has ended; logs each trouble once."""
    logged = ""
    with _impatient() as client:
        while not ended.wait(pause):
            try:
                lease = _renewed(client, folder, lease)
                logged = ""
            except (httpx.HTTPError, UserError) as error:
                if logged != (logged := str(error)):
                    logger.warning("the search goes on without Prefect's lease: %s", error)


def _renewed(client: SyncPrefectClient, folder: Path, lease: UUID | None) -> UUID | None:
    """Renews the lease, or takes a new one where there is none or the server has forgotten it."""
    if lease is not None:
        try:
            client.renew_concurrency_lease(lease, SECONDS)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.GONE:
                raise
        else:
            return lease
    return _claim(client, folder, patience=2 * _MOMENT)


def _give_back(folder: Path) -> None:
    """Lets others have the search at once."""
    tag = _tag(folder)
    if tag is None:
        return
    try:
        with _impatient() as client:
            _free(client, tag, _holder(folder))
    except httpx.HTTPError as error:
        logger.warning("Prefect's lease %s ends by itself in %.0f s: %s", tag, SECONDS, error)


def _free(client: SyncPrefectClient, tag: str, holder: UUID) -> None:
    """Ends whatever lease this holder has."""
    client.decrement_v1_concurrency_slots([tag], holder, 0.0)


@contextmanager
def _impatient() -> Iterator[SyncPrefectClient]:
    """Opens a client that gives up soon: renewals come again, and an end must not wait for a lost server."""
    quick = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
    with quick, get_client({"timeout": _TIMEOUT}, sync_client=True) as client:
        yield client


def _tag(folder: Path) -> str | None:
    found = search_id(folder)
    return f"search-{found}" if found else None


def _holder(folder: Path) -> UUID:
    """Returns one id for every process in this folder on this machine: its owner may end their leases."""
    boot = _BOOT.read_text().strip() if _BOOT.is_file() else ""
    return uuid5(NAMESPACE_URL, f"{socket.gethostname()} {boot} {folder.resolve()}")
