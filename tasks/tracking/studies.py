"""A study in MLflow: an experiment of its own, a run for it, and one below that for each arm and seed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jdn_core.storage.canonical import content_key
from jdn_core.studies.answer import Trained
from jdn_core.studies.arms import Arm
from jdn_core.studies.folder import StudyFolder
from jdn_core.studies.results import ARM_FILE, ArmResult
from jdn_core.studies.study import Study
from tasks.tracking.entries import Entry, Number
from tasks.tracking.moving import ARTIFACTS
from tasks.tracking.pages import local_uri, ui_command
from tasks.tracking.server import STATUS, Experiment, reason

ARM_TAG, STUDY_TAG = "jdn.arm_key", "jdn.study_key"
logger = logging.getLogger(__name__)


def send_study(
    studies: StudyFolder, study: Study, by_seed: Sequence[Trained], answer: Mapping[str, Any]
) -> dict[str, Any]:
    """Sends a study with all of its arms; what MLflow has is not sent again.

    An MLflow that does not answer is a warning: the study is on the disk, and the same command sends it.

    Returns:
        ``uri``, and ``error``, none where all of it was sent.
    """
    uri = studies.settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or local_uri(studies.folder)
    try:
        _send(uri, studies, study, by_seed, answer)
    except Exception as error:  # of MLflow, its database or the network; there is no class for them all
        logger.warning("MLflow was not told of study %s: %s", study.name, reason(error))
        return {"uri": uri, "error": reason(error)}
    return {"uri": uri, "error": None}


def _send(
    uri: str, studies: StudyFolder, study: Study, by_seed: Sequence[Trained], answer: Mapping[str, Any]
) -> None:
    artifacts = None if ui_command(uri) is None else studies.folder / ARTIFACTS
    name = f"{studies.settings.name}-study-{study.name}"
    experiment = Experiment.connect(uri, name=name, artifacts=artifacts)
    key = content_key([studies.settings.digest, study.name])
    tags = {"jdn.kind": "study", "jdn.study": study.name, STUDY_TAG: key}
    found = experiment.the_one({STUDY_TAG: key})
    if found is None:
        started = round((time.time() - answer["seconds"]) * 1000)
        found = experiment.client.create_run(experiment.id, started, tags, f"study {study.name}")
    run_id, now = found.info.run_id, round(time.time() * 1000)
    for seed, trained in enumerate(by_seed):
        for arm, result in trained.values():
            experiment.publish(_entry(studies, seed, arm, result), parent=run_id)
    experiment.numbers(run_id, _numbers_of(answer), now)
    for tag in ("claim", "paper", "verdict"):
        experiment.client.set_tag(run_id, f"jdn.{tag}", answer[tag])
    experiment.client.log_artifacts(run_id, str(studies.study(study.name)))
    experiment.client.set_tag(run_id, STATUS, "done")
    experiment.client.set_terminated(run_id, "FINISHED", now)


def _numbers_of(answer: Mapping[str, Any]) -> list[Number]:
    ends = answer["interval"] or (None, None)
    numbers = {"difference": answer["difference"], "low": ends[0], "high": ends[1], "seeds": answer["seeds"]}
    return [Number(name, float(value)) for name, value in numbers.items() if value is not None]


def _entry(studies: StudyFolder, seed: int, arm: Arm, result: ArmResult) -> Entry:
    """Returns the run of one arm under one seed."""
    folder = studies.arm(seed, arm)
    finished = (folder / ARM_FILE).stat().st_mtime
    return Entry(
        name=f"{arm.name}, seed {result.seed}",
        identity=(ARM_TAG, f"{arm.key}-{result.seed}"),
        tags={"jdn.kind": "arm", "jdn.arm": arm.name, ARM_TAG: f"{arm.key}-{result.seed}"},
        params={"arm": arm.name, "seed": str(result.seed)}
        | ({"reason": result.reason} if result.reason else {}),
        numbers=tuple(_numbers(result)),
        folder=folder,
        state="failed" if result.numbers is None else "done",
        started=finished - result.cost.seconds,
        finished=finished,
        files=(ARM_FILE,),
    )


def _numbers(result: ArmResult) -> Iterator[Number]:
    yield Number("image_gmacs", result.cost.image_macs / 1e9)
    yield Number("train_seconds", result.cost.seconds)
    if (found := result.numbers) is not None:
        yield Number("ap", found.ap)
        yield Number("gmacs", found.macs / 1e9)
        yield Number("params_m", found.params / 1e6)
        yield from (Number(f"ap_val_{frame}", ap) for frame, ap in found.ap_val.items())
