"""A student on a target, for real: exported, timed in the target's runtime, and each architecture once."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.detector.build import build
from jdn_core.detector.folder import save_detector
from jdn_core.export.runtimes import open_file
from jdn_core.run import latency
from jdn_core.run.folder import Run
from jdn_core.settings.search import TargetSettings
from jdn_core.settings.whole import parse
from jdn_core.storage import durable
from tests.made_up_search import FRAMES, keep, make_records

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_student_is_timed_as_it_would_be_shipped(tmp_path: Path, runtime: str) -> None:
    settings = parse({"name": "shapes", "data": {"resolutions": [str(frame) for frame in FRAMES]}})
    run, target = (
        Run(settings, tmp_path),
        TargetSettings(name="edge", runtime=runtime, precision="fp32", threads=1, repeats=3),
    )
    record, other = (keep(each, tmp_path) for each in make_records(2))
    folder = run.records.path(record.pair.key)
    save_detector(build(record.pair.student).eval(), folder)
    file = latency.export(run, folder, target)
    assert open_file(file).label.spec.resolution == FRAMES[-1]
    found = latency.time_file(file, target)
    assert 0 < found.p10_ms <= found.median_ms <= found.p90_ms
    assert (found.resolution, found.runtime, found.threads) == (str(FRAMES[-1]), runtime, 1)
    assert found.sha256 == durable.sha256_of(file)
    assert latency.known(run, folder, target) is None
    run.records.note_latency(record.pair.key, "edge", found)
    assert latency.known(run, folder, target) == found
    if other.pair.student != record.pair.student:
        assert latency.known(run, run.records.path(other.pair.key), target) is None
