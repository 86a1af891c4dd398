"""MLflow hears of a search beside it, from its files alone, and can give them back.

``server`` is one experiment of a tracking server; ``mirror`` is a search's folder beside its run there. On
them stand ``publisher``, which sends what is new while a search runs and after it, ``restoring``, which
fetches what a folder lacks, ``loans``, which lends it to workers elsewhere, ``verification``, which compares,
and ``registry``, which makes a pair's detector a registered model that runs ``model``, if need be out of
``excerpts``. Only ``server``, ``registry`` and ``model`` speak MLflow.
"""

from tasks.tracking.loans import borrow, collect, give_back, tidy
from tasks.tracking.publisher import Publication, Publisher, sync
from tasks.tracking.restoring import fetch, fetch_head, rebuild, restore_files, run_of_flow
from tasks.tracking.verification import mlflow_problems

__all__ = [
    "Publication",
    "Publisher",
    "borrow",
    "collect",
    "fetch",
    "fetch_head",
    "give_back",
    "mlflow_problems",
    "rebuild",
    "restore_files",
    "run_of_flow",
    "sync",
    "tidy",
]
