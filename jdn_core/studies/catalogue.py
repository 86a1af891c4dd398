"""Every study by its name, in the order in which ``jdn study all`` runs them."""

from __future__ import annotations

import difflib

from jdn_core.errors import UsageError
from jdn_core.studies import searched, trained
from jdn_core.studies.study import Study

STUDIES = {study.name: study for study in (*trained.STUDIES, *searched.STUDIES)}


def find(name: str) -> Study:
    """Returns a study by its name or by the paper's label, such as ``T3``.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    for study in STUDIES.values():
        if name == study.name or name.upper() in study.label.split(", "):
            return study
    near = difflib.get_close_matches(name, STUDIES, n=1, cutoff=0.0)[0]
    raise UsageError(f"{name}: no such study; did you mean {near}? There are {', '.join(STUDIES)}")
