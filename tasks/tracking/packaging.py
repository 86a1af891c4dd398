"""Writes the files of a registered model: a pyfunc model from code, whole in itself and without pickle."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jdn_core
from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from mlflow.models import Model

CARD_FILE = "README.md"  # the card beside the model, whole, for who has the files alone
_MODEL_FILE = Path(__file__).with_name("model.py")
# What jdn_core imports to detect, and MLflow. jdn itself comes along as files: no index has it.
_REQUIRED = ("mlflow", "numpy", "pillow", "pycocotools", "pydantic", "safetensors", "torch", "torchvision")


@dataclass(frozen=True)
class Package:
    """What becomes a version of a registered model.

    Attributes:
        folder: holds ``detector.json`` and ``weights.safetensors``, verified.
        name: of the registered model.
        alias: that will point to the version.
        resolution: the frame that the score chose.
        card: markdown, for people.
        tags: where the detector comes from.
    """

    folder: Path
    name: str
    alias: str
    resolution: str
    card: str
    tags: Mapping[str, str]


def save(folder: Path, package: Package, *, run_id: str | None, model_id: str | None) -> None:
    """Writes the pyfunc model into a new folder; the ids are of its run and of its row in the models."""
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # or the current folder's uv files come along
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
                "detector": str(package.folder / SPEC_FILE),
                "weights": str(package.folder / WEIGHTS_FILE),
            },
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={_public(metadata.version(name))}" for name in _REQUIRED],
            model_config={"device": "auto", "resolution": package.resolution},
            metadata=dict(package.tags),
        )
    _remove_paths(folder, Model.load(str(folder)))
    (folder / CARD_FILE).write_text(package.card, encoding="utf-8")


def _public(version: str) -> str:
    """Cuts the local part, such as ``+cpu``, which no index has."""
    return version.partition("+")[0]


def _remove_paths(folder: Path, model: Model) -> None:
    """Takes this machine's paths, which MLflow writes and never reads, out of ``MLmodel``."""
    flavor: dict[str, Any] = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = Path(artifact["uri"]).name
    model.save(str(folder / "MLmodel"))


def _signature() -> tuple[Any, Any]:
    """Returns the types of inputs and outputs, and a drawn picture as example: photos may be private."""
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
