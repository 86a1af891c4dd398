"""Addresses of MLflow's pages, for whoever reads them."""

from __future__ import annotations

import pytest

from tasks.tracking.links import LOCAL_UI, pages


def test_pages_are_where_the_server_is_unless_readers_know_it_by_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JDN_MLFLOW_PAGES", raising=False)
    assert pages("http://me:secret@mlflow:5000") == "http://mlflow:5000"
    assert pages("sqlite:///mlflow.db") == LOCAL_UI
    monkeypatch.setenv("JDN_MLFLOW_PAGES", "http://localhost:5000")
    assert pages("http://mlflow:5000") == "http://localhost:5000"
