"""The table of the paper's claims names every study, by its command."""

from __future__ import annotations

import re

from flows.inputs import settings_file
from jdn_core.studies.catalogue import READERS, STUDIES
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "paper.md").read_text()


def test_every_study_has_its_line() -> None:
    rows = re.findall(r"(?m)^\| ([TF]\d+(?:, [TF]\d+)*):.*\| `jdn study ([\w-]+)` \|.*\|$", PAGE)
    every = {name: study.label for name, study in STUDIES.items()}
    every |= {name: reader.label for name, reader in READERS.items()}
    assert dict(map(reversed, rows)) == every


def test_the_settings_that_it_names_can_be_read() -> None:
    assert "(studies.yaml)" in PAGE
    assert settings_file.load(str(ROOT / "docs" / "studies.yaml")).data.holdout
