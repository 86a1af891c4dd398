"""Whether a disk has room for what a search will still write, checked before anything is trained.

An estimate: students are taken to be as large as the base, and teachers to lie half way between the smallest
and the largest. A disk that fills up all the same loses nothing (RELIABILITY, rule 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jdn_core.errors import StorageError
from jdn_core.evaluation.complexity import complexity
from jdn_core.reports import texts
from jdn_core.settings.training import TrainingSettings
from jdn_core.settings.whole import Settings
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage.durable import free_bytes

PARAMETER = 4  # bytes
RECORD = 200_000  # bytes of a pair beside its weights: its JSON, pictures, rows of the tracker (ours)
CHECKPOINTS = 3  # of a training at a time: two that are kept, one that is being written


def needed_bytes(
    settings: Settings,
    base: DetectorSpec,
    space: SubnetSpace,
    *,
    pairs: int,
    trained: frozenset[str] = frozenset(),
    copies: int = 2,
) -> dict[str, int]:
    """Estimates what a search will still write, in bytes by what it is for.

    Args:
        settings: of the search.
        base: the detector that it begins with.
        space: the pool's subnets.
        pairs: how many are still to be evaluated.
        trained: ``base`` and ``pool``, where they are there already.
        copies: of every record; 2 where the tracker's artifacts lie on the same disk.
    """
    student, largest, smallest = (
        PARAMETER * complexity(spec, spec.resolution).params
        for spec in (
            base,
            space.detector_spec(space.largest, base),
            space.detector_spec(space.smallest, base),
        )
    )
    rules = settings.search
    kept = pairs
    if settings.tracking.keep_weights == "needed":
        kept = min(pairs, rules.top_k + rules.effective_lookback + rules.workers)
    pair = _kept(settings.evaluation)
    trainings = [rules.workers * student * _checkpointed(settings.evaluation) * (pairs > 0)]
    if "base" not in trained:
        trainings.append(student * _checkpointed(settings.base))
    if "pool" not in trained:
        trainings += [largest * _checkpointed(phase) for phase in settings.pool.phases]
    return {
        "base": 0 if "base" in trained else copies * student * _kept(settings.base),
        "pool": 0 if "pool" in trained else (len(settings.pool.phases) + copies - 1) * largest,
        "pairs": (kept + (copies - 1) * pairs) * student * pair + copies * pairs * RECORD,
        "controls": copies * (len(rules.controls) + (rules.finish > 0)) * student,
        # Half of the proposals change the teacher, and each new one is kept for the others.
        "teachers": min(-(-pairs // 2), space.size()) * (largest + smallest) // 2,
        "checkpoints": CHECKPOINTS * max(trainings),
    }


def _kept(regime: TrainingSettings) -> int:
    """Returns how many times a detector's size is kept of it: measured weights, raw weights and momentum."""
    return 3 if regime.schedule == "constant" else 1


def _checkpointed(regime: TrainingSettings) -> int:
    """Returns how many times a model's size a checkpoint has: weights, momentum and, maybe, the average."""
    return 3 if regime.average else 2


def require_room(folder: Path, needed: Mapping[str, int]) -> None:
    """Raises StorageError where the disk of ``folder`` has less free than is needed, with both numbers."""
    total, free = sum(needed.values()), free_bytes(folder)
    if total > free:
        parts = ", ".join(f"{name} {texts.size(size)}" for name, size in needed.items() if size)
        raise StorageError(
            f"{folder}: needed {total} bytes ({parts}), free {free}; "
            "make room, or lower search.iterations, or set tracking.keep_weights to needed"
        )
