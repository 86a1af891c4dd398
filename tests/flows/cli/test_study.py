"""`jdn study` before anything is trained: what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import study
from flows.inputs import settings_file
from flows.studies.opening import prepared
from jdn_core.errors import UsageError
from jdn_core.studies import catalogue
from tests.tiny_run import shapes, tiny_settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(settings_file.dump(tiny_settings(shapes(tmp_path / "shapes"))))
    return tmp_path / "tiny.yaml"


def test_the_help_names_every_study() -> None:
    assert (tuple(catalogue.STUDIES), tuple(catalogue.READERS)) == (study.TRAINED, study.READ)


def test_bad_words_are_refused(jdn: Run, file: Path, tmp_path: Path) -> None:
    code, _, err = jdn("study", "distilation", file)
    assert (code, "did you mean distillation?" in err) == (64, True)
    code, _, err = jdn("study", "progress", tmp_path / "nothing")
    assert (code, "reads finished searches" in err) == (66, True)
    code, _, err = jdn("study", "pruning", file, file)
    assert (code, "one settings file" in err) == (64, True)


def test_the_folder_of_a_search_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("name: run\n")
    with pytest.raises(UsageError, match="holds a search"):
        prepared(settings_file.load(str(file)), tmp_path)
