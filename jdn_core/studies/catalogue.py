"""Every study by its name, in the order in which ``jdn study all`` runs them."""

from __future__ import annotations

import difflib

from jdn_core.errors import UsageError
from jdn_core.studies import searched, trained
from jdn_core.studies.read import READERS as EVERY_READER
from jdn_core.studies.read import Reader
from jdn_core.studies.study import Study

STUDIES = {study.name: study for study in (*trained.STUDIES, *searched.STUDIES)}
READERS = {reader.name: reader for reader in EVERY_READER}


def find(name: str) -> Study | Reader:
    """Returns what trains, or reads searches, by its name or by the paper's label, such as ``T3``.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    known: dict[str, Study | Reader] = {**STUDIES, **READERS}
    for each in known.values():
        if name == each.name or name.upper() in each.label.split(", "):
            return each
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise UsageError(f"{name}: no such study; did you mean {near}? There are {', '.join(known)}")
