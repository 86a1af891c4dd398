"""The process that workers are forked from: with torch imported, without threads, GPU context or locks.

A worker is there in a fraction of a second, also in the place of one that died.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

CHILD = "jdn_core.processes.child"  # the module of what every worker runs


def prepare(*modules: str) -> None:
    """Starts the fork server unless it runs, which imports torch beside whatever comes next; call it early.

    Args:
        modules: names of modules that the jobs are in; imported once here, not by every worker.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([CHILD, *modules])
    forkserver.ensure_running()
