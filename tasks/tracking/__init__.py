"""All of MLflow: a search is sent beside its training, and can be fetched again, whole or in part.

``entries`` says what a run of MLflow holds and ``pages`` how it is shown, both as plain values. ``server`` is
an experiment of a tracking server, ``search_run`` a search in it and ``studies`` a study. On them stand
``sending``, ``fetching`` and ``verification``, and ``registry``, which makes a pair's detector a version of a
registered model: ``packaging`` writes its files, of which ``model`` is run by MLflow. Only ``server``,
``registry``, ``packaging`` and ``model`` import mlflow.
"""

from tasks.tracking.fetching import (
    fetch_head,
    fetch_inputs,
    fetch_pair,
    fetch_result,
    fetch_stage,
    has_controls,
    rebuild,
    restore_files,
    run_of_flow,
)
from tasks.tracking.sending import Publication, Publisher, send_pair, sync
from tasks.tracking.studies import send_reading, send_study
from tasks.tracking.verification import mlflow_problems

__all__ = [
    "Publication",
    "Publisher",
    "fetch_head",
    "fetch_inputs",
    "fetch_pair",
    "fetch_result",
    "fetch_stage",
    "has_controls",
    "mlflow_problems",
    "rebuild",
    "restore_files",
    "run_of_flow",
    "send_pair",
    "send_reading",
    "send_study",
    "sync",
]
