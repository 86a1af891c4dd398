"""`jdn pool` on a pool of a few channels: measured, taken out, searched; the pool itself never changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from flows.cli import main
from flows.inputs import pools
from jdn_core.detector.folder import load_detector, load_spec
from jdn_core.errors import InputMissing, OwnedByAnother, UsageError
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import POOL_FILE, Origin, load_pool, save_pool
from jdn_core.pool.supernet import SuperNet
from jdn_core.run import assemble
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage import durable
from tests.tiny_run import shapes, tiny_settings

Jdn = Callable[..., tuple[int, dict[str, Any], str]]
SEARCH = ("--population", 3, "--generations", 3, "--parents", 2, "--seed", 1, "--resolution", "48x48")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("pools") / "shapes")


@pytest.fixture(scope="module")
def pool(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained pool whose subnets detect something all the same, and all of them something else."""
    settings = tiny_settings(data)
    template = assemble.base_spec(settings)
    region = replace(template.region, score_threshold=0.0, detections=300, proposals=(300, 300), nms_iou=0.9)
    torch.manual_seed(0)
    net = SuperNet(settings.subnet_space, replace(template, region=region))
    folder = tmp_path_factory.mktemp("pool") / "pool"
    save_pool(net, folder, origin=Origin(settings.of_pool))
    return folder


@pytest.fixture
def jdn(capfd: pytest.CaptureFixture[str]) -> Jdn:
    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with pytest.raises(SystemExit) as ended:
                main.main(["pool", *map(str, arguments), "--json"])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(out), err

    return run


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: durable.sha256_of(path) for path in folder.iterdir()}


def test_a_subnet_is_measured_before_and_after_its_bn_reset(pool: Path, data: Path, jdn: Jdn) -> None:
    before = hashes(pool)
    code, found, err = jdn("evaluate", pool, "--data", data, "--seed", 5, "--without-bn-reset")
    assert code == 0
    subnet = pools.find(pool).space.draw(Random(5))
    assert found["subnet"] == str(subnet)
    assert list(found["ap_by_resolution"]) == list(found["macs_by_resolution"]) == ["48x48", "64x64"]
    assert (found["resolution"], found["ap"]) == ("64x64", found["ap_by_resolution"]["64x64"])
    assert found["macs"] == found["macs_by_resolution"]["64x64"] > found["macs_by_resolution"]["48x48"]
    assert found["ap_by_resolution_before"].keys() == found["ap_by_resolution"].keys()
    assert found["ap_before"] != found["ap"]
    assert (found["split"], found["images"]) == ("val", 4)
    assert "evaluate 64x64: 1/1" in err
    assert hashes(pool) == before


def test_an_extracted_subnet_is_worth_what_the_pool_says(
    pool: Path, data: Path, tmp_path: Path, jdn: Jdn, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "d1-2-1-2 w1-1.5-1-1 s1.5 n1"
    said = jdn("evaluate", pool, "--data", data, "--subnet", text)[1]
    code, told, _ = jdn("extract", pool, "--data", data, "--subnet", text, "--out", tmp_path / "one")
    assert (code, told["subnet"], told["bn_reset"]) == (0, text, True)
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(["evaluate", str(tmp_path / "one"), "--data", str(data), "--json"])
    found = json.loads(capfd.readouterr().out)
    assert (found["AP"], found["resolution"]) == (said["ap"], said["resolution"])
    code, _, err = jdn("extract", pool, "--data", data, "--smallest", "--out", tmp_path / "one")
    assert (code, "holds detector.json already" in err) == (64, True)


def test_without_bn_reset_a_subnet_keeps_the_pools_statistics(pool: Path, tmp_path: Path, jdn: Jdn) -> None:
    out = tmp_path / "raw"
    code, told, _ = jdn("extract", pool, "--smallest", "--without-bn-reset", "--out", out)
    assert (code, told["bn_reset"]) == (0, False)
    supernet = load_pool(pool)
    expected = extract(supernet, supernet.space.smallest).state_dict()
    torch.testing.assert_close(dict(load_detector(out).state_dict()), dict(expected), rtol=0, atol=0)


def test_measuring_leaves_the_loaded_pool_bit_equal(pool: Path, data: Path) -> None:
    found = pools.find(pool)
    supernet = load_pool(pool)
    shared = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    place = pools.bench(found, pools.Photos(data))
    for seed in range(3):
        pools.calibrated(found, supernet, supernet.space.draw(Random(seed)), place)
    assert all(torch.equal(tensor, shared[name]) for name, tensor in supernet.state_dict().items())


def test_size_and_sample_take_a_pools_folder(pool: Path, tmp_path: Path, jdn: Jdn) -> None:
    space = pools.find(pool).space
    assert jdn("size", pool)[1] == {"size": space.size(2)}
    assert jdn("sample", pool, "--seed", 4)[1]["subnet"] == str(space.draw(Random(4)))
    assert jdn("sample", tmp_path)[0] == InputMissing.exit_code


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--largest", "--seed", "1"], "give one of --subnet, --largest, --smallest and --seed"),
        (["--subnet", "d1"], "--subnet: a subnet must look like"),
        (["--subnet", "d9-1-1-1 w1-1-1-1 s1 n1"], "--subnet: d9-1-1-1 w1-1-1-1 s1 n1 is not in the pool"),
        (["--resolution", "9"], "--resolution: "),
        (["--split", "best"], "--split must be train, val or test"),
    ],
)
def test_what_cannot_be_measured_is_said(
    asked: list[str], said: str, pool: Path, data: Path, jdn: Jdn
) -> None:
    code, _, err = jdn("evaluate", pool, "--data", data, *asked)
    assert code == UsageError.exit_code
    assert f"ERROR 64 {said}" in err


def test_other_classes_and_missing_folders_are_refused(
    pool: Path, data: Path, tmp_path: Path, jdn: Jdn
) -> None:
    other = durable.read_json(pool / POOL_FILE)
    other["template"]["classes"] = [[1, "cat"], [2, "dog"], [9, "cow"]]
    (tmp_path / POOL_FILE).write_text(json.dumps(other))
    code, _, err = jdn("evaluate", tmp_path, "--data", data)
    assert (code, "cat: is missing, a class of the detector" in err) == (65, True)
    assert jdn("evaluate", tmp_path / "none", "--data", data)[0] == 66
    assert jdn("extract", pool, "--out", tmp_path / "x")[0] == 64


def test_a_pool_is_found_by_its_own_folder_and_by_its_run(pool: Path, data: Path, tmp_path: Path) -> None:
    save_pool(load_pool(pool), tmp_path / "pool", origin=Origin(tiny_settings(data).of_pool))
    for folder in (tmp_path, tmp_path / "pool"):
        found = pools.find(folder)
        assert (found.folder, found.settings) == (tmp_path / "pool", pools.find(pool).settings)


def test_a_search_ends_with_the_best_affordable_subnet_as_a_detector(
    pool: Path, data: Path, tmp_path: Path, jdn: Jdn
) -> None:
    space, template = pools.find(pool).space, pools.find(pool).spec.template
    out = tmp_path / "found"
    most = jdn("evaluate", pool, "--data", data, "--seed", 0, "--resolution", "48x48")[1]["macs"]
    before = hashes(pool)
    code, found, err = jdn("search", pool, "--data", data, "--out", out, "--max-macs", most, *SEARCH)
    assert code == 0, err
    assert hashes(pool) == before
    rows = found["subnets"]
    assert found["evaluated"] == len(rows) == len({row["subnet"] for row in rows}) == 9
    assert max(row["macs"] for row in rows) <= most
    assert [row["ap"] for row in rows] == sorted((row["ap"] for row in rows), reverse=True)
    assert found["best"] == {**rows[0], "folder": str(out / "best")}
    spec = load_spec(out / "best")
    assert replace(spec, resolution=template.resolution) == space.detector_spec(
        SubnetSpec.parse(rows[0]["subnet"]), template
    )
    assert str(spec.resolution) == rows[0]["resolution"]
    assert "pool search: 9/9, generation 3/3 best AP" in err


def test_a_killed_search_goes_on_as_if_nothing_had_been(
    pool: Path, data: Path, tmp_path: Path, jdn: Jdn
) -> None:
    arguments = ["search", str(pool), "--data", str(data), *map(str, SEARCH), "--out"]
    whole = jdn(*arguments, tmp_path / "whole")[1]
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "flows.cli.main", "pool", *arguments, str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as child:
        assert child.stderr is not None
        measured = (line for line in child.stderr if line.startswith("evaluate 48x48: 1/1"))
        for _ in range(5):
            next(measured)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    written = {path.name: path.stat().st_mtime_ns for path in (out / "subnets").glob("d*.json")}
    assert 4 <= len(written) < 9
    (out / "subnets" / ".half.json.0a.tmp").write_text("{")
    code, found, _ = jdn(*arguments, out)
    assert code == 0
    assert found["subnets"] == whole["subnets"]
    assert hashes(out / "best") == hashes(tmp_path / "whole" / "best")
    assert all((out / "subnets" / name).stat().st_mtime_ns == time for name, time in written.items())
    assert not list(out.rglob("*.tmp"))


def test_a_search_goes_on_with_more_generations_but_not_with_other_rules(
    pool: Path, data: Path, tmp_path: Path, jdn: Jdn
) -> None:
    start = ["search", pool, "--data", data, "--out", tmp_path / "s", "--resolution", "48x48"]
    first = jdn(*start, "--population", 2, "--generations", 1)[1]
    more = jdn(*start, "--population", 2, "--generations", 2)[1]
    assert {row["subnet"] for row in first["subnets"]} < {row["subnet"] for row in more["subnets"]}
    code, _, err = jdn(*start, "--population", 3, "--generations", 1)
    assert (code, "pool_search.json: population: was 2 when the search began, got 3" in err) == (65, True)


def test_a_search_of_a_pool_has_a_folder_of_its_own(pool: Path, data: Path, tmp_path: Path, jdn: Jdn) -> None:
    command = ("search", pool, "--data", data, "--out", tmp_path, "--population", 1, "--generations", 1)
    with durable.own(tmp_path):
        assert jdn(*command)[0] == OwnedByAnother.exit_code
    (tmp_path / "settings.yaml").write_text("name: other\n")
    code, _, err = jdn(*command)
    assert (code, "holds another run already" in err) == (64, True)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--max-macs", "lots"], "--max-macs must be a number such as 150G"),
        (["--max-macs", "5"], "--max-macs must be >= "),
        (["--mutation", "2"], "--mutation must be in (0, 1], got 2.0"),
    ],
)
def test_impossible_rules_are_refused_before_anything_is_written(
    option: list[str], said: str, pool: Path, data: Path, tmp_path: Path, jdn: Jdn
) -> None:
    code, _, err = jdn("search", pool, "--data", data, "--out", tmp_path / "s", *option)
    assert (code, f"ERROR 64 {said}" in err) == (64, True)
    assert not (tmp_path / "s").exists()


def test_macs_are_read_as_people_write_them() -> None:
    from flows.cli.pool import _macs

    assert [_macs(text) for text in ("150G", "1.5e11", "2.5 M", "12k", "7")] == [
        150 * 10**9, 150 * 10**9, 2_500_000, 12_000, 7
    ]  # fmt: skip
