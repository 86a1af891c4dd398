"""1,000 paired resamples of AP at COCO's size: 5,000 images, 80 classes."""

from __future__ import annotations

import resource
import time

import pytest

from jdn_core.evaluation.bootstrap import difference, matches
from tests.benchmarks.conftest import Note
from tests.jdn_core.evaluation.coco_worlds import evaluated, world

IMAGES, CLASSES, RESAMPLES = 5000, 80, 1000


@pytest.mark.timeout(1800)
def test_an_interval_at_the_size_of_coco(note: Note) -> None:
    found = matches(evaluated(*world(IMAGES, CLASSES, objects=7.3, detections=60, seed=0)))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert difference(found, found, seed=0, resamples=RESAMPLES).value == 0.0
    seconds = time.monotonic() - started
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    note(f"{RESAMPLES} paired resamples of {IMAGES} images", seconds, "s", bound=60)
    note("memory of it above the matches", more, "GiB", bound=2)
