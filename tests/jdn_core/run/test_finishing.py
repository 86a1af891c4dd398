"""The cool-down of a winner: it goes on from the record, once, and leaves the record alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jdn_core.detector.folder import load_detector
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.storage import durable
from tests.tiny_run import shapes, tiny_settings, trained_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, PairRecord]:
    """A run whose base, pool and pair 0 are there."""
    folder = tmp_path_factory.mktemp("trained")
    run = trained_run(tiny_settings(shapes(folder / "shapes")), folder / "run")
    return run, steps.ensure_base_record(run)


def test_a_winner_is_trained_on_and_its_record_stays(base: tuple[Run, PairRecord], tmp_path: Path) -> None:
    run, record = base
    training = steps.finish(run, record, epochs=2, folder=tmp_path / "finished")
    assert {len(losses) for losses in training.losses.values()} == {2}
    assert "loss_feature" in training.losses
    state = load_detector(run.records.path(record.pair.key)).state_dict()
    finished = load_detector(tmp_path / "finished").state_dict()
    assert finished.keys() == state.keys()
    assert not torch.equal(finished["rpn.head.cls_logits.weight"], state["rpn.head.cls_logits.weight"])
    assert run.records.all() == (record,)


def test_a_winner_is_finished_once(base: tuple[Run, PairRecord], tmp_path: Path) -> None:
    run, record = base
    folder = tmp_path / "finished"
    first = steps.finish(run, record, epochs=1, folder=folder)
    hashes = {path.name: durable.sha256_of(path) for path in folder.iterdir()}
    again = steps.finish(run, record, epochs=1, folder=folder)
    assert {path.name: durable.sha256_of(path) for path in folder.iterdir()} == hashes
    assert again.seconds == first.seconds
    assert not (run.folder / "work" / "checkpoints" / "finish" / record.pair.key / "epochs-1").exists()
