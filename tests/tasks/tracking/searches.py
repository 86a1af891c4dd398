"""Searches to send to MLflow, made up and real, and what it holds of them."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from jdn_core.run import assemble, steps
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings, parse
from jdn_core.storage import durable
from tasks.tracking import Publication, Publisher
from tasks.tracking.pages import tracking_uri
from tests import results
from tests.made_up_search import keep, make_records


def made(folder: Path, **tracked: object) -> Run:
    """A base, one phase of a pool, and four records, of which the third failed; nothing of it loads."""
    settings = parse(
        {"name": "shapes", "seed": 3, "pool": {"phases": [{"name": "supernet"}]}, "tracking": tracked}
    )
    run = Run(settings, folder)
    for stage in (run.base, run.pool):
        stage.mkdir(parents=True)
        (stage / "weights.safetensors").write_bytes(stage.name.encode())
        durable.write_json(
            stage / "training.json", {"losses": {"loss_classifier": [1.0, 0.5]}, "seconds": 20.0}, schema=1
        )
    durable.write_json(folder / "fingerprint.json", {"train": "a" * 64, "val": "b" * 64}, schema=1)
    (folder / "settings.yaml").write_text("name: shapes\n")
    for record in make_records(4, failing={2}):
        keep(record, folder)
    return run


def trained(settings: Settings, folder: Path) -> Run:
    """A run whose base, pool and pair 0 are real and there."""
    run = Run(settings, folder)
    folder.mkdir()
    durable.write_json(folder / "fingerprint.json", {"train": "a" * 64, "val": "b" * 64}, schema=1)
    steps.ensure_base(run)
    for index in range(len(settings.pool.phases)):
        steps.ensure_phase(run, index)
        steps.ensure_assessment(run, index)
    steps.ensure_base_record(run)
    return run


def climb(run: Run, pairs: int) -> str:
    """Goes on to so many pairs after the base; the digest of all records."""
    climber = HillClimber(assemble.climb_rules(run.settings), run.records.all())
    while climber.next_index <= pairs and (pair := climber.ask()):
        student, teacher = steps.make_student(run, pair), steps.ensure_teacher(run, pair.teacher)
        climber.tell(steps.ensure_record(run, pair, student, teacher))
    return results.digest(run.records)


def standing_of(run: Run) -> Standing:
    return Standing(run.settings.score, run.records.all())


def send_all(run: Run, publisher: Publisher | None = None, *, timeout: float = 60.0) -> Publication:
    """Sends all that the folder holds, as a flow does, and ends the search's run."""
    publisher = publisher or Publisher(run)
    publisher.await_restored()
    publisher.follow(standing_of(run))
    return publisher.finish(timeout=timeout)


def client_of(run: Run) -> MlflowClient:
    return MlflowClient(tracking_uri(run))


def runs_of(run: Run, wanted: str = "") -> list[MlflowRun]:
    client = client_of(run)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, wanted, order_by=["attributes.start_time ASC"]))


def pair_of(run: Run, index: int) -> MlflowRun:
    (found,) = runs_of(run, f"tags.`jdn.pair_index` = '{index}'")
    return found


def files_of(run: Run, run_id: str, folder: str | None = None) -> set[str]:
    return {file.path for file in client_of(run).list_artifacts(run_id, folder)}
