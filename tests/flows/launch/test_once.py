"""What a resume does once: its settings parsed, its dataset checked, its deployment looked up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from flows import search, upgrade
from flows.inputs.settings_file import dump
from jdn_core.data.coco import dataset
from jdn_core.settings.whole import Settings
from tasks.orchestration.work_pool import find_deployment
from tests.tiny_run import shapes, tiny_settings

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]


def test_a_resume_does_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jdn: Callable[..., tuple[int, str, str]]
) -> None:
    settings = tiny_settings(shapes(tmp_path / "shapes"), iterations=1).with_lookback()
    out = tmp_path / "out"
    out.mkdir()
    (out / "settings.yaml").write_text(dump(settings))
    names = {Settings: "model_validate", dataset: "read_document"}
    counted = {of: MagicMock(wraps=getattr(of, name)) for of, name in names.items()}
    for of, name in names.items():
        monkeypatch.setattr(of, name, counted[of])
    find = MagicMock(wraps=find_deployment)
    for flow in (search, upgrade):
        monkeypatch.setattr(flow, "find_deployment", find)
    code, _, said = jdn("resume", out)
    assert code == 0, said
    assert [spy.call_count for spy in (*counted.values(), find)] == [1, 2, 1]  # two splits
