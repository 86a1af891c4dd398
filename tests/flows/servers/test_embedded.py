"""Prefect's folder is looked at before Prefect is imported, for it would try for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.servers import examination
from flows.servers.embedded import require_home
from jdn_core.errors import StorageError


@pytest.mark.parametrize(
    ("variable", "place"), [("HOME", "file"), ("PREFECT_HOME", "file/x"), ("HOME", "/proc/no")]
)
def test_a_home_that_cannot_be_written_is_said_at_once(
    variable: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / place))
    with pytest.raises(StorageError, match=r"cannot be written \(.*\); set HOME or PREFECT_HOME to a folder"):
        require_home()
    [check] = examination._prefect()
    assert (check.state, check.remedy) == ("fail", "set HOME or PREFECT_HOME to a folder that can be written")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    require_home()
