"""What MLflow shows of the pool's subnets after each phase, asked of a real SQLite store."""

from __future__ import annotations

from jdn_core.run.folder import Run
from jdn_core.search.phases import mean_aps, read
from tasks.tracking import sync
from tests.tasks.tracking.searches import client_of, runs_of, send_all


def _curves(run: Run, wanted: str) -> dict[str, list[tuple[int, float]]]:
    """Metric of subnets -> (phase, AP) as often as it was logged."""
    (found,) = runs_of(run, wanted)
    names = [name for name in found.data.metrics if name.startswith("ap_")]
    client = client_of(run)
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(found.info.run_id, name)]
        for name in names
    }


def _known(run: Run, index: int) -> dict[str, float]:
    assessment = read(run.assessment(index))
    assert assessment is not None
    return mean_aps(assessment)


def test_ap_of_subnets_is_told_by_phase_and_over_phases(search: Run) -> None:
    assert send_all(search).error == ""
    first, second = (_known(search, index) for index in range(2))
    assert (set(first), set(second)) == ({"ap_largest"}, {"ap_largest", "ap_smallest", "ap_random"})
    for index, known in enumerate((first, second)):
        name = search.settings.pool.phases[index].name
        curves = _curves(search, f"tags.`jdn.stage` = '{name}'")
        assert curves == {kind: [(index, ap)] for kind, ap in known.items()}
    assert _curves(search, "tags.`jdn.kind` = 'search'") == {
        "ap_largest": [(0, first["ap_largest"]), (1, second["ap_largest"])],
        "ap_smallest": [(1, second["ap_smallest"])],
        "ap_random": [(1, second["ap_random"])],
    }


def test_an_assessment_that_comes_after_its_phase_is_told_once(search: Run) -> None:
    files = [search.assessment(index) for index in range(2)]
    contents = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    assert send_all(search).error == ""
    assert _curves(search, "tags.`jdn.kind` = 'search'") == {}
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    for _ in range(2):
        assert sync(search, state="finished")[1:3] == (0, "")
    told = _curves(search, "tags.`jdn.kind` = 'search'")
    assert {kind: len(points) for kind, points in told.items()} == {
        "ap_largest": 2,
        "ap_smallest": 1,
        "ap_random": 1,
    }
    assert len(_curves(search, "tags.`jdn.stage` = 'shrink-1'")) == 3
