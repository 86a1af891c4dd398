"""What a search came to: winner and controls on its own photos, the best of them, and held-out photos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.folder import load_detector
from jdn_core.evaluation import bootstrap
from jdn_core.evaluation.complexity import complexity
from jdn_core.evaluation.detection import evaluate_with_matches
from jdn_core.faults import Point, faultpoint
from jdn_core.processes import devices
from jdn_core.run import assemble, datasets
from jdn_core.run.folder import Run
from jdn_core.search import contenders, held_out
from jdn_core.search.contenders import ContenderRecord, Entrant
from jdn_core.search.held_out import Difference, HeldOut
from jdn_core.search.pairs import Measurement
from jdn_core.search.standing import Graded, Standing
from jdn_core.space.architecture import Resolution
from jdn_core.storage.canonical import content_key

RESAMPLES = 1000
RESULT_FRAME = "base at the result's frame"
Measured = tuple[Measurement, bootstrap.Matches]


class Shown(NamedTuple):
    """A detector at the frame at which it is compared."""

    folder: Path
    resolution: Resolution
    weights: str


@dataclass(frozen=True)
class Outcome:
    """What stands beside each other at the end of a search; a pure function of its records.

    Attributes:
        run: of the search.
        standing: of its pairs, the base among them.
    """

    run: Run
    standing: Standing

    @cached_property
    def records(self) -> tuple[ContenderRecord, ...]:
        """Returns the records that there are of what was to be trained beside the winner, failed ones too."""
        wanted = assemble.contenders(self.run.settings, self.standing)
        return tuple(found for each in wanted if (found := self.run.contenders.get(each)))

    @cached_property
    def entrants(self) -> tuple[Entrant, ...]:
        """Returns the winner, and the controls that there are."""
        return contenders.entrants(self.standing, self.records)

    @property
    def winner(self) -> Graded:
        """Returns the best pair."""
        return contenders.winner(self.standing)

    @cached_property
    def result(self) -> Entrant:
        """Returns the best of them under H on the search's own photos: what is shipped."""
        return contenders.result(self.entrants)

    @property
    def result_folder(self) -> Path:
        """Returns where the detector is that the search hands out."""
        return self.folder(self.result)

    @property
    def base(self) -> Graded:
        """Returns the base at the frame that its score chooses."""
        return self.standing.graded(self.standing.records[0].pair.key)

    @cached_property
    def shown(self) -> Mapping[str, Shown]:
        """Returns the detectors to compare, by name; the base stands at its own frame and at the result's."""
        assert self.base.grade is not None
        assert self.base.record.evaluation is not None
        folder, weights = (
            self.run.records.path(self.base.record.pair.key),
            self.base.record.evaluation.weights,
        )
        found = {
            "base": Shown(folder, self.base.grade.measurement.resolution, weights),
            RESULT_FRAME: Shown(folder, self.result.grade.measurement.resolution, weights),
        }
        for each in self.entrants:
            found[each.name] = Shown(
                self.folder(each), each.grade.measurement.resolution, each.evaluation.weights
            )
        return found

    def folder(self, entrant: Entrant) -> Path:
        """Returns where an entrant's detector is."""
        if entrant.pair is not None:
            return self.run.records.path(entrant.pair.pair.key)
        return self.run.contenders.path(entrant.name)

    @property
    def key(self) -> str:
        """SHA-256 of which weights are compared at which frames, and which of them is the result."""
        shown = {name: [each.weights, str(each.resolution)] for name, each in self.shown.items()}
        return content_key({"shown": shown, "result": self.result.name})

    @cached_property
    def held_out(self) -> HeldOut | None:
        """Returns what was measured of these detectors on held-out photos; none where that is not done."""
        return held_out.read(self.run.held_out, key=self.key)


def of(run: Run) -> Outcome:
    """Reads the records of a run, the base's among them."""
    return Outcome(run, Standing(run.settings.score, run.records.all()))


def ensure_held_out(run: Run) -> HeldOut | None:
    """Measures base, winner and controls on the held-out photos, unless that is done; none without photos.

    Raises:
        CheckpointError: weights are damaged.
        StorageError: the disk is full or broken.
    """
    outcome, photos = of(run), datasets.held_out(run.settings.data)
    if photos is None:
        return None
    if found := outcome.held_out:
        return found
    faultpoint(Point.HOLDOUT_START)
    device = devices.choose(run.settings.device)
    measured: dict[Shown, Measured] = {}  # the winner may be the base, and the two frames of the base one
    with BatchLoader(photos, cache_mb=run.settings.data.cache_mb // 2) as loader:
        for shown in dict.fromkeys(outcome.shown.values()):
            detector = load_detector(shown.folder, device)
            numbers, matches = evaluate_with_matches(detector, loader, shown.resolution)
            macs = complexity(detector.spec, shown.resolution).macs
            measured[shown] = Measurement(shown.resolution, numbers.twelve, macs), matches
    faultpoint(Point.HOLDOUT_MEASURED)
    by_name = {name: measured[shown] for name, shown in outcome.shown.items()}
    compared = _compared(outcome, photos, by_name)
    held_out.write(run.held_out, compared)
    faultpoint(Point.HOLDOUT_SAVED)
    return compared


def _compared(outcome: Outcome, photos: CocoDataset, measured: Mapping[str, Measured]) -> HeldOut:
    """Sets the result against the others, with intervals over resamples of the photos."""
    result, seed = outcome.result.name, outcome.run.settings.seed
    differences = []
    for name, (_, matches) in measured.items():
        if name not in (result, RESULT_FRAME):
            found = bootstrap.difference(matches, measured[result][1], seed=seed, resamples=RESAMPLES)
            interval = (found.low, found.high) if math.isfinite(found.low) else None
            differences.append(Difference(name, found.value, interval))
    classes = [category.name for category in photos.categories]
    labels = np.concatenate([image.labels for image in photos.images])
    measurements = {name: measurement for name, (measurement, _) in measured.items()}
    return HeldOut(
        key=outcome.key,
        images=len(photos.images),
        boxes=len(labels),
        without_boxes=tuple(name for rank, name in enumerate(classes, start=1) if rank not in labels),
        base_at=measurements.pop(RESULT_FRAME),
        measured=measurements,
        result=result,
        differences=tuple(differences),
    )
