"""What some subnets are worth after each phase of a tiny pool, told without a trace in the pool itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.search import phases
from jdn_core.search.phases import Assessment
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def assessed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pool whose phases were assessed as they came."""
    run = Run(tiny_settings(photos, pool={"assessed_subnets": 2}), tmp_path_factory.mktemp("assessed"))
    for index in range(2):
        steps.ensure_phase(run, index)
        steps.ensure_assessment(run, index)
    return run


def of_phase(run: Run, index: int) -> Assessment:
    found = phases.read(run.assessment(index))
    assert found is not None
    return found


def files_of(folder: Path) -> dict[str, str]:
    """Name -> hash of what does not depend on the clock."""
    return {path.name: durable.sha256_of(path) for path in folder.iterdir() if path.name != "training.json"}


def test_a_phase_tells_of_its_largest_its_smallest_and_random_subnets(assessed: Run) -> None:
    first, second = (of_phase(assessed, index) for index in range(2))
    space = assessed.settings.subnet_space
    assert [record.subnet for record in first["largest"]] == [space.largest]
    assert list(first) == ["largest"]
    assert (second["largest"][0].subnet, second["smallest"][0].subnet) == (space.largest, space.smallest)
    assert len({record.subnet for record in second["random"]} - {space.largest, space.smallest}) == 2
    assert {frame for records in second.values() for each in records for frame in each.ap} == {"64x64"}
    assert all(0 <= each.ap["64x64"] <= 1 for records in second.values() for each in records)


def test_an_assessment_leaves_no_trace_in_the_pool(assessed: Run, photos: Path, tmp_path: Path) -> None:
    plain = Run(tiny_settings(photos), tmp_path)
    for index in range(2):
        steps.ensure_phase(plain, index)
        assert files_of(plain.phase(index)) == files_of(assessed.phase(index))
        assert not plain.assessment(index).exists()


def test_what_is_known_is_not_measured_again_and_what_is_damaged_is(assessed: Run) -> None:
    file = steps.ensure_assessment(assessed, 1)
    before, stamp = file.read_bytes(), file.stat().st_mtime_ns
    assert steps.ensure_assessment(assessed, 1).stat().st_mtime_ns == stamp
    file.write_bytes(before[:-9])
    assert steps.ensure_assessment(assessed, 1).read_bytes() == before


def test_a_draw_does_not_depend_on_how_many_follow(assessed: Run) -> None:
    settings: Settings = assessed.settings
    fewer = settings.pool.model_copy(update={"assessed_subnets": 1})
    run = Run(settings.model_copy(update={"pool": fewer}), assessed.folder)
    both = of_phase(assessed, 1)["random"]
    assessed.assessment(1).unlink()
    steps.ensure_assessment(run, 1)
    assert of_phase(run, 1)["random"] == both[:1]


def test_a_phase_whose_folder_is_gone_is_left_alone(photos: Path, tmp_path: Path) -> None:
    run = Run(tiny_settings(photos), tmp_path)
    assert not steps.ensure_assessment(run, 0).exists()
