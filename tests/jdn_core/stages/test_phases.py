"""Phases of a tiny pool under the settings that only large ones need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jdn_core.errors import SettingsError
from jdn_core.pool.folder import load_pool
from jdn_core.pool.supernet import SuperNet
from jdn_core.processes.progress import listening
from jdn_core.run import datasets, steps
from jdn_core.run.folder import TRAINING_FILE, Run
from jdn_core.settings.whole import Settings
from jdn_core.storage.durable import read_json
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes"))


def settings_of(photos: Path, **changes: Any) -> Settings:
    """Two phases, the second one distilled, with the same changes to both."""
    plain = tiny_settings(photos)
    phases = [phase.model_copy(update=changes) for phase in plain.pool.phases]
    pool = plain.pool.model_copy(update={"phases": tuple(phases)})
    return plain.model_copy(update={"pool": pool})


def trained(folder: Path, settings: Settings) -> tuple[SuperNet, dict[str, list[float]]]:
    run = Run(settings, folder)
    for index in range(len(settings.pool.phases)):
        steps.ensure_phase(run, index)
    return load_pool(run.pool), read_json(run.pool / TRAINING_FILE)["losses"]


def test_recomputed_activations_give_the_same_pool(photos: Path, tmp_path: Path) -> None:
    kept, _ = trained(tmp_path / "kept", settings_of(photos))
    again, _ = trained(tmp_path / "again", settings_of(photos, recompute=True))
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in kept.state_dict().items())


def test_a_pool_trains_in_bfloat16_and_in_parts(photos: Path, tmp_path: Path) -> None:
    _, wanted = trained(tmp_path / "plain", settings_of(photos))
    _, found = trained(tmp_path / "narrow", settings_of(photos, precision="bfloat16", device_batch=2))
    assert found.keys() == wanted.keys()
    assert found["loss_objectness"] == pytest.approx(wanted["loss_objectness"], rel=0.1)


def test_a_sandwich_trains_what_a_single_draw_leaves_alone(photos: Path, tmp_path: Path) -> None:
    single, sandwich = settings_of(photos), settings_of(photos, sampling="sandwich")
    _, losses = trained(tmp_path / "single", single)
    _, averaged = trained(tmp_path / "sandwich", sandwich)
    first, same = (
        load_pool(Run(settings, tmp_path / name).phase(0)).state_dict()
        for name, settings in (("single", single), ("sandwich", sandwich))
    )
    assert all(torch.equal(tensor, same[name]) for name, tensor in first.items())
    assert averaged.keys() == losses.keys()
    assert averaged != losses


def shared(photos: Path, count: int | None, **settings: Any) -> Settings:
    plain = settings_of(photos, **settings)
    return plain.model_copy(update={"pool": plain.pool.model_copy(update={"processes": count})})


def test_two_processes_train_a_pool_and_its_first_phase_is_that_of_one_in_parts(
    photos: Path, tmp_path: Path
) -> None:
    together, parts = shared(photos, 2), settings_of(photos, device_batch=2)
    told = []
    with listening(lambda stage, done, total, _: told.append((stage, done, total))):
        pool, losses = trained(tmp_path / "two", together)
    trained(tmp_path / "one", parts)
    assert told == [(f"pool {name}", step, 4) for name in ("supernet", "shrink-1") for step in (1, 2, 3, 4)]
    assert "loss_feature" in losses
    assert all(torch.isfinite(weight).all() for weight in pool.parameters())
    two, one = (load_pool(Run(together, tmp_path / name).phase(0)) for name in ("two", "one"))
    expected = dict(one.named_parameters())
    assert all(torch.equal(weight, expected[name]) for name, weight in two.named_parameters())


def test_the_processes_of_a_pool_share_every_batch_evenly(photos: Path) -> None:
    assert datasets.pool_processes(shared(photos, None)) == 1
    message = r"pool\.phases\.1\.batch: must be a multiple of pool\.processes \(3\), got 4"
    with pytest.raises(SettingsError, match=message):
        datasets.check_data(shared(photos, 3))


def test_an_averaged_super_network_is_the_same_from_two_processes_and_is_what_is_kept(
    photos: Path, tmp_path: Path
) -> None:
    pools = {}
    for name, average, count in (("plain", 0.0, 1), ("one", 1.0, 1), ("two", 1.0, 2)):
        parts = {"device_batch": 2} if count == 1 else {}
        settings = shared(photos, count, average=average, **parts)
        alone = settings.pool.model_copy(update={"phases": settings.pool.phases[:1]})
        pool, _ = trained(tmp_path / name, settings.model_copy(update={"pool": alone}))
        pools[name] = dict(pool.named_parameters())
    assert all(torch.equal(weight, pools["one"][name]) for name, weight in pools["two"].items())
    assert not all(torch.equal(weight, pools["plain"][name]) for name, weight in pools["one"].items())
