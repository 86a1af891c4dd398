from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.run import estimates, report, warm
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings
from jdn_core.stages.clock import middle
from jdn_core.storage import durable
from tests.made_up_search import keep, make_records
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return tiny_settings(shapes(tmp_path_factory.mktemp("shapes") / "data"), iterations=3)


@pytest.fixture(scope="module")
def made(settings: Settings) -> estimates.Estimate:
    found = estimates.estimate(settings)
    warm.close()
    return found


def test_every_kind_of_step_is_measured(made: estimates.Estimate) -> None:
    kinds = {"base", "pool", "shrinking", "distilled", "evaluation", "reading"}
    assert made.steps.keys() == kinds
    assert min(made.steps.values()) > 0
    assert list(made.seconds) == ["start", "base", "pool", "pairs", "controls"]
    assert made.seconds["pairs"] > made.seconds["base"] > 0
    assert sum(made.bytes.values()) > 1_000_000
    assert made.device == "cpu"


def test_a_run_keeps_its_estimate(made: estimates.Estimate, settings: Settings, tmp_path: Path) -> None:
    run = Run(settings, tmp_path)
    assert estimates.read(run) is None
    durable.write_json(tmp_path / estimates.ESTIMATE_FILE, made.to_json(), schema=estimates.SCHEMA)
    assert estimates.ensure(run) == estimates.read(run) == made


def test_what_a_stage_took_is_added_up(settings: Settings, tmp_path: Path) -> None:
    run = Run(settings, tmp_path)
    for _ in range(2):
        with estimates.clocked(run, "base"):
            pass
    first = estimates.taken(run)
    with pytest.raises(KeyError), estimates.clocked(run, "base"):
        raise KeyError
    assert estimates.taken(run) == first
    assert 0 < first["base"] < 5


def test_a_report_compares_with_the_estimate(
    made: estimates.Estimate, settings: Settings, tmp_path: Path
) -> None:
    run = Run(settings, tmp_path)
    records = [keep(each, tmp_path) for each in make_records(4)]
    standing = Standing(settings.score, records)
    assert "estimate" not in report.summary(run, standing)
    durable.write_json(tmp_path / estimates.ESTIMATE_FILE, made.to_json(), schema=estimates.SCHEMA)
    with estimates.clocked(run, "base"):
        pass
    found = report.summary(run, standing)["estimate"]
    assert found["estimated"] == {"base": made.seconds["base"]}
    assert found["seconds"] == found["taken"]["base"]
    assert found["bytes"] > 0
    facts = report.gather(run, standing, links={}, is_finished=False).facts
    assert "estimated" in facts["time"]
    assert "estimated at the most" in facts["disk"]


@pytest.mark.parametrize(("workers", "evaluator", "number"), [(3, "work_pool", 3), (3, "local", 1)])
def test_processes_on_one_cpu_slow_each_other(
    made: estimates.Estimate, settings: Settings, workers: int, evaluator: str, number: int
) -> None:
    search = settings.search.model_copy(update={"workers": workers, "evaluator": evaluator})
    several = settings.model_copy(update={"search": search, "device": "cpu"})
    assert estimates.at_a_time(several) == number


def test_the_middle_of_a_space_is_one_subnet_of_it(settings: Settings) -> None:
    space = settings.subnet_space
    found = middle(replace(space, widths=(1.0, 1.25, 1.5)))
    assert found.smallest == found.largest
    assert found.widths == (1.25,)
