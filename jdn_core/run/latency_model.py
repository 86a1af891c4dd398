"""Predicts the latency of architectures that a target has not timed, from those that it has (ours).

Latency is taken to be a sum over the detector's parts, each of a time for every multiply-accumulate and a
time for every block: a ridge regression on what ``complexity`` counts. How far it is off is found by leaving
out each measured architecture in turn, in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jdn_core.evaluation.complexity import complexity
from jdn_core.search.pairs import PairRecord
from jdn_core.search.score import reference
from jdn_core.space.architecture import DetectorSpec, Resolution

LEAST = 4  # different architectures, of which one is left out at a time
_PENALTIES = tuple(10.0**power for power in range(-4, 4))  # on standardised features
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """A ridge regression, fitted.

    Attributes:
        measured: architectures that it was fitted on.
        penalty: chosen by the error.
        error: median over the measured ones of |predicted - measured| / measured, each left out in turn.
    """

    measured: int
    penalty: float
    error: float
    mean: Values
    scale: Values
    weights: Values
    intercept: float
    least: float

    def predict(self, spec: DetectorSpec, resolution: Resolution) -> float:
        """Returns milliseconds; no less than half of the least that was measured."""
        features = (_features(spec, resolution) - self.mean) / self.scale
        return max(self.least / 2, float(self.intercept + features @ self.weights))

    def to_json(self) -> dict[str, Any]:
        return {"measured": self.measured, "penalty": self.penalty, "error": self.error}


def fit(specs: Sequence[DetectorSpec], ms: Sequence[float], resolution: Resolution) -> LatencyModel | None:
    """Fits a model on measured architectures; none where fewer than four of them differ.

    Args:
        specs: the architectures.
        ms: milliseconds of each, > 0.
        resolution: at which they were measured.
    """
    unique = dict(zip(specs, ms, strict=True))
    if len(unique) < LEAST:
        return None
    features = np.stack([_features(spec, resolution) for spec in unique])
    times = np.array([*unique.values()], np.float64)
    mean, scale = _standard(features)
    table = (features - mean) / scale
    tried = [(_left_out(table, times, penalty), penalty) for penalty in _PENALTIES]
    error, penalty = min(tried)
    weights = _solve(table, times, penalty)
    return LatencyModel(
        len(unique), penalty, error, mean, scale, weights, float(times.mean()), float(times.min())
    )


def with_predictions(
    records: Sequence[PairRecord], target: str
) -> tuple[tuple[PairRecord, ...], LatencyModel | None]:
    """Returns records whose latency on a target is measured or predicted, and the model of the latter.

    Args:
        records: of one search, by index.
        target: its name.

    Returns:
        The records, unchanged where nothing can be predicted, and the model: none where none is needed, or
        fewer than four architectures were measured.
    """
    done = [(record, record.evaluation) for record in records if record.evaluation is not None]
    known = {record.pair.student: found.latency[target] for record, found in done if target in found.latency}
    if all(target in found.latency for _, found in done):
        return tuple(records), None
    frame = reference(done[0][1]).resolution
    model = fit([*known], [*known.values()], frame)
    return tuple(_filled(records, known, model, target, frame)), model


def _filled(
    records: Sequence[PairRecord],
    known: dict[DetectorSpec, float],
    model: LatencyModel | None,
    target: str,
    frame: Resolution,
) -> Iterator[PairRecord]:
    for record in records:
        student, found = record.pair.student, record.evaluation
        ms = known.get(student) or (model.predict(student, frame) if model else None)
        if found is None or ms is None:
            yield record
        else:
            yield replace(record, evaluation=replace(found, latency={**found.latency, target: ms}))


def _features(spec: DetectorSpec, resolution: Resolution) -> Values:
    """Returns MACs of each part in billions, and the number of blocks of each stage."""
    parts = complexity(spec, resolution)
    costs = [parts.stem, *parts.stages, parts.neck, parts.rpn, parts.head]
    blocks = [float(len(stage)) for stage in spec.backbone.stages]
    return np.array([*(cost.macs / 1e9 for cost in costs), *blocks], np.float64)


def _standard(features: Values) -> tuple[Values, Values]:
    """Returns mean and deviation of each feature; what never differs but by rounding is divided away."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(deviation > 1e-9 * np.abs(mean), deviation, np.inf)


def _solve(table: Values, times: Values, penalty: float) -> Values:
    gram = table.T @ table + penalty * len(times) * np.eye(table.shape[1])
    found: Values = np.linalg.solve(gram, table.T @ (times - times.mean()))
    return found


def _left_out(table: Values, times: Values, penalty: float) -> float:
    """Returns the median relative error of predictions of each row by all others.

    A row's residual without it is its residual with it over one minus its leverage, that of the mean
    included.
    """
    gram = table.T @ table + penalty * len(times) * np.eye(table.shape[1])
    leverage = np.einsum("ij,ji->i", table, np.linalg.solve(gram, table.T)) + 1 / len(times)
    residuals = times - times.mean() - table @ _solve(table, times, penalty)
    missed = np.abs(residuals / np.maximum(1 - leverage, 1e-9)) / times
    return float(np.median(missed))
