"""The doctor finds what is wrong and says what to do."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from importlib import metadata

import pytest

from flows.servers import examination


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Healthy) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def by_name(checks: list[examination.Check]) -> dict[str, examination.Check]:
    return {check.name: check for check in checks}


def test_a_sound_installation_has_no_failure() -> None:
    checks = by_name(examination.examine())
    assert [check for check in checks.values() if check.state == "fail"] == []
    assert {"python", "torch", "torchvision", "prefect", "mlflow", "fastapi", "sqlalchemy"} <= checks.keys()
    assert {"torch + torchvision", "threads", "disk", "writing", "presets"} <= checks.keys()
    assert all(check.remedy for check in checks.values() if check.state != "ok")


def test_versions_known_to_break_servers_fail_with_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.155.1" if name == "fastapi" else real(name))
    found = by_name(list(examination._packages()))["fastapi"]
    assert (found.state, found.found[:7]) == ("fail", "0.155.1")
    assert "<0.151" in found.remedy


def test_a_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert {check.found for check in examination._packages()} == {"not installed"}


def test_servers_that_answer_are_fine(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    found = next(examination._mlflow())
    assert (found.state, found.found) == ("ok", f"{server}/health answers")


def test_a_server_that_is_gone_fails_and_keeps_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    found = next(examination._mlflow())
    assert (found.state, found.remedy) == ("fail", "start it, or unset MLFLOW_TRACKING_URI")
    assert "secret" not in found.found


def test_a_local_store_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert next(examination._mlflow()).state == "ok"


def test_a_check_that_breaks_is_a_failure_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def _disk() -> Iterator[examination.Check]:
        raise RuntimeError("no such disk")
        yield

    monkeypatch.setattr(examination, "_disk", _disk)
    checks = by_name(examination.examine())
    assert checks["disk"][1:3] == ("fail", "RuntimeError: no such disk")
    assert "presets" in checks
