"""A study in MLflow: an experiment of its own, a run for it, and one below that for each arm and seed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings
from jdn_core.storage.canonical import content_key
from jdn_core.studies.answer import Trained
from jdn_core.studies.arms import Arm
from jdn_core.studies.folder import StudyFolder
from jdn_core.studies.results import ARM_FILE, ArmResult
from tasks.tracking.entries import Entry, Number
from tasks.tracking.moving import ARTIFACTS
from tasks.tracking.pages import local_uri, ui_command
from tasks.tracking.server import STATUS, Experiment, reason

ARM_TAG, STUDY_TAG = "jdn.arm_key", "jdn.study_key"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sent:
    """What is sent of a study.

    Attributes:
        settings: name the experiment, and the server.
        home: folder of the database, where no server is named.
        answer: what the study found.
        folder: holds the answer and the page.
        key: tells the study from the same one under other settings.
    """

    settings: Settings
    home: Path
    answer: Mapping[str, Any]
    folder: Path
    key: str

    @property
    def uri(self) -> str:
        own = self.settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
        return own or local_uri(self.home)


def send_study(studies: StudyFolder, by_seed: Sequence[Trained], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Sends a study with all of its arms; what MLflow has is not sent again.

    An MLflow that does not answer is a warning: the study is on the disk, and the same command sends it.

    Returns:
        ``uri``, and ``error``, none where all of it was sent.
    """
    name, settings = answer["study"], studies.settings
    entries = (
        _entry(studies, seed, arm, result)
        for seed, trained in enumerate(by_seed)
        for arm, result in trained.values()
    )
    key = content_key([settings.digest, name])
    return _tried(_Sent(settings, studies.folder, answer, studies.study(name), key), entries)


def send_reading(run: Run, answer: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Sends a study that read searches, of which ``run`` is the first; as ``send_study`` does."""
    key = content_key([run.settings.digest, answer["study"], str(folder)])
    return _tried(_Sent(run.settings, folder.parent, answer, folder, key), ())


def _tried(sent: _Sent, entries: Iterable[Entry]) -> dict[str, Any]:
    try:
        _send(sent, entries)
    except Exception as error:  # of MLflow, its database or the network; there is no class for them all
        logger.warning("MLflow was not told of study %s: %s", sent.answer["study"], reason(error))
        return {"uri": sent.uri, "error": reason(error)}
    return {"uri": sent.uri, "error": None}


def _send(sent: _Sent, entries: Iterable[Entry]) -> None:
    answer, artifacts = sent.answer, None if ui_command(sent.uri) is None else sent.home / ARTIFACTS
    name = f"{sent.settings.name}-study-{answer['study']}"
    experiment = Experiment.connect(sent.uri, name=name, artifacts=artifacts)
    tags = {"jdn.kind": "study", "jdn.study": answer["study"], STUDY_TAG: sent.key}
    found = experiment.the_one({STUDY_TAG: sent.key})
    if found is None:
        started = round((time.time() - answer["seconds"]) * 1000)
        found = experiment.client.create_run(experiment.id, started, tags, f"study {answer['study']}")
    run_id, now = found.info.run_id, round(time.time() * 1000)
    for entry in entries:
        experiment.publish(entry, parent=run_id)
    experiment.numbers(run_id, _numbers_of(answer), now)
    for tag in ("claim", "paper", "verdict"):
        experiment.client.set_tag(run_id, f"jdn.{tag}", answer[tag])
    experiment.client.log_artifacts(run_id, str(sent.folder))
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
    identity = f"{arm.key}-{result.seed}"
    return Entry(
        name=f"{arm.name}, seed {result.seed}",
        identity=(ARM_TAG, identity),
        tags={"jdn.kind": "arm", "jdn.arm": arm.name, ARM_TAG: identity},
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
