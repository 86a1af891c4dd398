"""What a study says is kept, and read again only where it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jdn_core.errors import InputMissing
from jdn_core.reports import study_page
from jdn_core.run.folder import Run
from jdn_core.studies import answer, read
from jdn_core.studies.catalogue import READERS
from jdn_core.studies.folder import STUDY_FILE
from tests.tiny_run import tiny_settings

ROW = {
    "arm": "<a>", "seeds": 2, "ap": 0.25, "ap_by_seed": [0.2, 0.3, None], "ap_val": 0.3, "score": None,
    "macs": 2.5e6, "params": 1e5, "resolutions": ["48x48"], "image_macs": 3e9, "seconds": 61.0,
    "failures": ["nan: epoch 1"],
}  # fmt: skip
FINDING = {
    "comparison": "a against b", "measure": "ap", "least": -0.01, "decides": True, "seeds": 2,
    "difference": 0.015, "interval": [-0.001, 0.03], "verdict": "undecided at 2 seeds",
}  # fmt: skip
TOLD = {
    "study": "s", "label": "T1", "claim": "a is better", "paper": "by 1 %", "verdict": "undecided at 2 seeds",
    "difference": 0.015, "interval": [-0.001, 0.03], "rows": [ROW], "comparisons": [FINDING], "seeds": 2,
    "measured_on": {"photos": "held-out photos", "images": 7, "boxes": 30},
}  # fmt: skip


def test_an_answer_that_says_the_same_stays(tmp_path: Path) -> None:
    first = answer.keep(TOLD, tmp_path, seconds=1.0)
    later = TOLD | {"rows": [ROW | {"seconds": 2.0}]}
    assert answer.keep(later, tmp_path, seconds=2.0) == first
    assert answer.keep(TOLD | {"seeds": 3}, tmp_path, seconds=2.0)["seconds"] == 2.0


def test_a_damaged_answer_counts_for_none(tmp_path: Path) -> None:
    answer.keep(TOLD, tmp_path, seconds=1.0)
    (tmp_path / STUDY_FILE).write_text((tmp_path / STUDY_FILE).read_text()[:-40])
    assert answer.read(tmp_path) is None
    assert answer.keep(TOLD, tmp_path, seconds=3.0)["seconds"] == 3.0


def test_a_folder_without_pairs_is_no_finished_search(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no finished search"):
        read.conclude(READERS["cost"], [Run(tiny_settings(tmp_path), tmp_path)])


def test_the_page_says_what_was_found_and_on_what() -> None:
    page = study_page.render(TOLD)
    for words in (
        "Undecided at 2 seeds. Difference: +1.5 points (95 % interval −0.1 to +3.0).",
        "2 seeds, 7 held-out photos with 30 boxes.",
        "&lt;a&gt;",
        "nan: epoch 1",
        "20.0 30.0 –",
    ):
        assert words in page
    assert "<a>" not in page
    assert "://" not in page


def test_a_page_without_results_says_so() -> None:
    nothing: dict[str, Any] = {"rows": [], "comparisons": [], "difference": None, "interval": None}
    assert "Not finished." in study_page.render(TOLD | nothing | {"verdict": "not finished"})


def test_a_study_of_searches_shows_the_columns_that_it_has() -> None:
    page = study_page.render(TOLD | {"rows": [{"search": "one", "base_gmacs": 1.23456, "pair": None}]})
    assert all(words in page for words in ("base gmacs", "1.235", "–"))
