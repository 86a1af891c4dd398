"""Detectors in MLflow's Model Registry: registered so that twice changes nothing, found again and fetched.

A pair's row in the table of models is external, without files, until it is registered. Then it gets those of
a pyfunc model from code, and the tag that called it external goes last: it vouches for the files.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import jdn_core
from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE
from jdn_core.errors import InputMissing
from tasks.tracking.links import shown
from tasks.tracking.server import Server, asking, client_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model

    from tasks.tracking.server import MlflowRun

KEY_TAG, WEIGHTS_TAG, FRAME_TAG = "jdn.pair_key", "jdn.weights_sha256", "jdn.resolution"
LONGEST_CARD = 5000  # characters, of MLflow's own limit
_EXTERNAL, _VERSIONS = "mlflow.model.isExternal", "mlflow.modelVersions"
_MODEL_FILE = Path(__file__).with_name("model.py")
# What jdn_core imports to detect, and MLflow. jdn itself comes along as files: no index has it.
_REQUIRED = ("mlflow", "numpy", "pillow", "pycocotools", "pydantic", "safetensors", "torch", "torchvision")
_MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class Submission:
    """A version to be.

    Attributes:
        folder: holds ``detector.json`` and ``weights.safetensors``, verified.
        name: of the registered model.
        alias: that shall point to the version.
        resolution: the frame that the score chose.
        card: markdown, for people.
        tags: where the detector comes from; ``KEY_TAG`` and ``WEIGHTS_TAG`` tell it from all others.
    """

    folder: Path
    name: str
    alias: str
    resolution: str
    card: str
    tags: Mapping[str, str]


def register(server: Server, run: MlflowRun, submission: Submission) -> int:
    """Makes the version of a pair, unless it is there, and gives it the alias; its number.

    Raises:
        InputMissing: the pair's run has no row in the table of models.
    """
    client = server.client
    found = _version_of(client, submission)
    if found is None:
        model = server.model_of(run.info.run_id)
        if model is None:
            raise InputMissing(f"{run.info.run_name}: MLflow has no model of its run {run.info.run_id}")
        _fill(client, model, submission)
        _require_name(client, submission)
        client.create_model_version(
            submission.name,
            model.artifact_location,  # unlike models:/ID it needs no tracking URI of the whole process
            run.info.run_id,
            dict(submission.tags),
            description=submission.card[:LONGEST_CARD],
            model_id=model.model_id,
        )
        found = _version_of(client, submission)
        assert found is not None
        _link(client, model, found)
    if submission.alias not in found.aliases:
        client.set_registered_model_alias(submission.name, submission.alias, found.version)
    return int(found.version)


def fetch_model(name: str, label: str, uri: str, folder: Path) -> tuple[Path, str, str]:
    """Where a registered detector lies, its frame, and the hash that its weights must have.

    Only ``detector.json`` and the weights are looked at; what else MLflow has of the model is never run.

    Args:
        name: of the registered model.
        label: an alias with ``@`` before it, or the number of a version.
        uri: where MLflow listens.
        folder: for downloads; files of a store on this machine are read where they lie.

    Raises:
        InputMissing: there is no such model, version or alias, or it is no detector of ours.
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(uri):
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        client, what = client_of(uri), f"models:/{name}{label if label.startswith('@') else f'/{label}'}"
        try:
            alias = label.removeprefix("@")
            version = (
                client.get_model_version(name, label)
                if alias == label
                else client.get_model_version_by_alias(name, alias)
            )
            place = client.get_model_version_download_uri(name, version.version)
        except MlflowException as error:
            if error.error_code not in (_MISSING, "INVALID_PARAMETER_VALUE"):
                raise
            raise InputMissing(f"{what}: not in MLflow at {shown(uri)}: {error.message}") from error
        frame, sha256 = version.tags.get(FRAME_TAG), version.tags.get(WEIGHTS_TAG)
        if frame is None or sha256 is None:
            raise InputMissing(f"{what}: version {version.version} is no detector that jdn published")
        parts = urlsplit(place)
        if parts.scheme in ("", "file"):
            return Path(unquote(parts.path)) / "artifacts", frame, sha256
        for file in (SPEC_FILE, WEIGHTS_FILE):
            download_artifacts(f"{place}/artifacts/{file}", dst_path=str(folder), tracking_uri=uri)
        return folder, frame, sha256


def _version_of(client: MlflowClient, submission: Submission) -> ModelVersion | None:
    """The version of this pair with these weights; later ones, which lost replies left, are deleted."""
    wanted = f"name = '{submission.name}'"
    for tag in (KEY_TAG, WEIGHTS_TAG):
        wanted += f" and tags.`{tag}` = '{submission.tags[tag]}'"
    found = sorted(client.search_model_versions(wanted), key=lambda version: int(version.version))
    for ghost in found[1:]:
        with _or_already(_MISSING):
            client.delete_model_version(submission.name, ghost.version)
    # A search tells no aliases on every store.
    return client.get_model_version(submission.name, found[0].version) if found else None


def _require_name(client: MlflowClient, submission: Submission) -> None:
    """The registered model itself; two that make it at once are both served."""
    with _or_already("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(
            submission.name,
            {"jdn.search": submission.tags["jdn.search"]},
            "Detectors that jdn published; the versions tell what each is worth.",
        )


def _fill(client: MlflowClient, model: LoggedModel, submission: Submission) -> None:
    """Gives a pair's row in the table of models its files, once."""
    if model.tags.get(_EXTERNAL) != "true":
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save(folder, submission, run_id=model.source_run_id, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, str(folder))
    with _or_already(_MISSING):
        client.delete_logged_model_tag(model.model_id, _EXTERNAL)


@contextmanager
def _or_already(code: str) -> Iterator[None]:
    """For what cannot be repeated: MLflow's client repeats it when a reply is lost, and hears this."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


def save(folder: Path, submission: Submission, *, run_id: str | None, model_id: str | None) -> None:
    """Writes the pyfunc model, whole in itself, into a new folder; the ids are of its run and its row."""
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # or files of whoever's folder this is come along
    for noisy in ("mlflow.pyfunc", "mlflow.models"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own type hints and its calls of pandas
        from mlflow.models import Model
        from mlflow.pyfunc import save_model

        signature, example = _signature()
        save_model(
            folder,
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            python_model=str(_MODEL_FILE),
            code_paths=[str(Path(jdn_core.__file__).parent)],
            artifacts={
                "detector": str(submission.folder / SPEC_FILE),
                "weights": str(submission.folder / WEIGHTS_FILE),
            },
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={_public(metadata.version(name))}" for name in _REQUIRED],
            model_config={"device": "auto", "resolution": submission.resolution},
            metadata=dict(submission.tags),
        )
    _forget_paths(folder, Model.load(str(folder)))


def _public(version: str) -> str:
    """Without the local part, such as ``+cpu``, which no index knows."""
    return version.partition("+")[0]


def _forget_paths(folder: Path, model: Model) -> None:
    """Takes this machine's paths, which nobody reads, out of ``MLmodel``."""
    flavor: dict[str, Any] = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = Path(artifact["uri"]).name
    model.save(str(folder / "MLmodel"))


def _signature() -> tuple[Any, Any]:
    """What goes in and comes out, and a drawn picture as an example, for photos of a dataset are not ours."""
    import io

    import numpy as np
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array
    from PIL import Image

    from jdn_core.data.shapes import draw_scene

    outputs = Schema(
        [
            ColSpec(DataType.long, "image_id"),
            ColSpec(DataType.long, "category_id"),
            ColSpec(Array(DataType.double), "bbox"),
            ColSpec(DataType.double, "score"),
            ColSpec(DataType.string, "category"),
        ]
    )
    inputs = Schema([ColSpec(DataType.binary, "image")])
    params = ParamSchema([ParamSpec("score", DataType.double, 0.5)])
    pixels = draw_scene(np.random.default_rng(0), 64).pixels.clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ModelSignature(inputs, outputs, params), pd.DataFrame({"image": [file.getvalue()]})


def _link(client: MlflowClient, model: LoggedModel, version: ModelVersion) -> None:
    """Notes the version, and no ghost of it, on the row in the table of models.

    MLflow's server notes every version that it makes, a database none.
    """
    noted = json.loads(client.get_logged_model(model.model_id).tags.get(_VERSIONS, "[]"))
    entry = {"name": version.name, "version": int(version.version)}
    wanted = [*(each for each in noted if each["name"] != version.name), entry]
    if noted != wanted:
        client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(wanted)})
