"""Studies: what is claimed on the data at hand, with the numbers behind it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from flows.studies.pool_quality import Plan, _spread, pool_quality

from flows.cli import main
from flows.inputs import pools
from jdn_core.evaluation.complexity import complexity
from jdn_core.pool.folder import Origin, save_pool
from jdn_core.pool.supernet import SuperNet
from jdn_core.run import assemble
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage import durable
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn shapes in ``data`` and an untrained ``pool`` for them."""
    folder = tmp_path_factory.mktemp("studies")
    settings = tiny_settings(shapes(folder / "data"))
    torch.manual_seed(0)
    net = SuperNet(settings.subnet_space, assemble.base_spec(settings))
    save_pool(net, folder / "pool", origin=Origin(settings.of_pool))
    return folder


def study(
    place: Path, out: Path, capfd: pytest.CaptureFixture[str], *options: object
) -> tuple[int, dict[str, Any], str]:
    words = ["study", "pool-quality", place / "pool", "--data", place / "data", "--out", out, *options]
    with pytest.raises(SystemExit) as ended:
        main.main([*map(str, words), "--json"])
    said, err = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(said), err


def test_the_subnets_trained_alone_are_spread_from_small_to_large(place: Path) -> None:
    found = pools.find(place / "pool")
    chosen = _spread(found, Plan(alone=5))
    frame = found.settings.data.frames[-1]
    costs = [complexity(found.space.detector_spec(each, found.spec.template), frame).macs for each in chosen]
    assert (chosen[0], chosen[-1]) == (found.space.smallest, found.space.largest)
    assert costs == sorted(set(costs))
    assert chosen == _spread(found, Plan(alone=5))


def test_the_verdict_follows_from_the_tables(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    code, told, err = study(place, out, capfd, "--drawn", 2, "--alone", 2)
    assert (code, told["epochs_alone"], len(told["bn_reset"]), len(told["alone"])) == (0, 1, 2, 2)
    lead = mean(row["ap_pool"] - row["ap_alone"] for row in told["alone"])
    assert (told["pool_lead"], told["holds"]) == (lead, lead >= 0)
    assert "base: 4/4" in err
    files = {path: path.stat().st_mtime_ns for path in out.glob("*/d*.json")}
    assert len(files) == 2 + 4 + 2
    again = study(place, out, capfd, "--drawn", 2, "--alone", 2)
    assert again[1] == told
    assert "base: " not in again[2]
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_study_under_another_plan_takes_another_folder(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pool_quality.json").write_text(json.dumps({"schema": 1, "epochs": 7}))
    code, _, err = study(place, tmp_path, capfd)
    assert (code, "pool_quality.json: epochs: was 7 when the search began, got 1" in err) == (65, True)
    (tmp_path / "settings.yaml").write_text("name: run\n")
    code, _, err = study(place, tmp_path, capfd)
    assert (code, "holds another run already" in err) == (64, True)


def test_a_pool_of_good_subnets_holds_the_claim(place: Path, tmp_path: Path) -> None:
    """Numbers are put in the places where the study keeps them, so nothing is measured here."""
    found = pools.find(place / "pool")
    plan = Plan(drawn=1, alone=2)
    photos = pools.Photos(place / "data")
    first = pool_quality(found, photos, tmp_path, plan)
    for file in (tmp_path / "reset").glob("d*.json"):
        _rewrite(file, 0.5)
    second = pool_quality(found, photos, tmp_path, plan)
    assert second["holds"]
    assert (second["pool_lead"], second["pool_wins"]) == (pytest.approx(0.5 - _mean_alone(first)), 2)
    assert SubnetSpec.parse(second["alone"][0]["subnet"]) == found.space.smallest


def _mean_alone(told: dict[str, Any]) -> float:
    return mean(row["ap_alone"] for row in told["alone"])


def _rewrite(file: Path, ap: float) -> None:

    data = durable.read_json(file, schema=1)
    data["ap_by_resolution"] = dict.fromkeys(data["ap_by_resolution"], ap)
    durable.write_json(file, data, schema=1, seal=True)
