"""The base detector: trained from scratch or a checkpoint, or taken from a folder, and recorded as pair 0."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core import assemble, durable, stages
from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.errors import DataError
from jdn_core.search.hill_climbing import first_pair
from jdn_core.search.pairs import PairRecord
from tasks.pairs import commit_evaluation
from tasks.run import TRAINING_FILE, Run


@task(name="train base", cache_policy=NO_CACHE)
def train_base(run: Run) -> Path:
    """Trains the base, unless it is there already; the folder appears whole or not at all."""
    if not run.base.is_dir():
        settings = run.settings
        bench = assemble.bench(settings)
        spec = assemble.base_spec(settings)
        detector, training = stages.train_base(
            lambda: assemble.base_detector(spec, settings),
            bench,
            regime=settings.base,
            sparsity=settings.distillation.sparsity,
            checkpoints=run.checkpoints("base"),
        )
        staged = durable.stage_folder(run.base)
        save_detector(detector, staged)
        durable.write_json(staged / TRAINING_FILE, training._asdict())
        durable.commit_folder(staged, run.base)
    return run.base


@task(name="evaluate base", cache_policy=NO_CACHE)
def evaluate_base(run: Run) -> PairRecord:
    """Measures the base and commits it as pair 0; the super-network of the pool is its teacher.

    Raises:
        DataError: the base tells other classes apart than the dataset.
    """
    bench = assemble.bench(run.settings)
    detector = load_detector(run.base, bench.device)
    classes = assemble.classes(bench.train_set)
    if detector.spec.classes != classes:
        raise DataError(f"the base knows the classes {detector.spec.classes}, the dataset has {classes}")
    pair = first_pair(assemble.climb_rules(run.settings), detector.spec)
    found = run.records.get(pair.key)
    return found or commit_evaluation(run, pair, detector, _training(run.base))


def _training(folder: Path) -> stages.Training:
    """What is known of a base's training; nothing, where the folder came from elsewhere."""
    file = folder / TRAINING_FILE
    return stages.Training(**durable.read_json(file)) if file.is_file() else stages.Training({}, 0.0)
