"""An exported file opened in a runtime, as a detector that can be evaluated and asked like any other."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jdn_core.errors import CheckpointError, InputMissing, UsageError
from jdn_core.export.extras import extra
from jdn_core.export.label import KEY, MEMBER, RUNTIMES, Format, Label, Runtime, format_of
from jdn_core.space.reading import reason
from jdn_core.storage.durable import sha256_of

Run = Callable[[Tensor, Tensor], Sequence[Tensor]]


class FileDetector(nn.Module):
    """Detects by an exported file, as ``Detector`` does.

    Attributes:
        label: what the file says of itself.
        runtime: what computes.
        spec: of the detector.
    """

    def __init__(self, label: Label, runtime: Runtime, run: Run) -> None:
        super().__init__()
        self.label = label
        self.runtime = runtime
        self.spec = label.spec
        self._run = run
        self.eval()

    def detect(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Tensor]]:
        """Does as ``Detector.detect``, on the CPU; raises as ``filled_up`` does."""
        boxes, scores, labels, counts = self._run(self.filled_up(images), torch.tensor(list(sizes)))
        return [
            {"boxes": b[:count], "scores": s[:count], "labels": label[:count]}
            for b, s, label, count in zip(boxes, scores, labels, counts.tolist(), strict=True)
        ]

    def filled_up(self, images: Tensor) -> Tensor:
        """Returns images [B, 3, H, W] with zeros to the right and below, as large as a fixed frame is.

        Raises:
            ValueError: they are larger.
        """
        if self.label.dynamic:
            return images
        height, width = self.label.shape
        if images.shape[2] > height or images.shape[3] > width:
            got = f"{images.shape[3]}x{images.shape[2]}"
            raise ValueError(f"images must be at most {width}x{height}, got {got}")
        return functional.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))


def open_file(path: Path, *, runtime: Runtime | None = None, threads: int | None = None) -> FileDetector:
    """Opens an exported file.

    Args:
        path: what ``jdn export`` wrote.
        runtime: what computes; none: the format's own.
        threads: inside one operation; none: what the runtime takes by itself. Those of torch are torch's own
            setting, which is left alone.

    Raises:
        InputMissing: there is no such file.
        UsageError: the runtime does not read the format, or is not installed.
        CheckpointError: the file is damaged, or another tool wrote it.
    """
    format = format_of(path)
    if not path.is_file():
        raise InputMissing(f"{path}: no such file")
    runtime = runtime or RUNTIMES[format][0]
    if runtime not in RUNTIMES[format]:
        raise UsageError(f"{path}: {format} is read by {' and '.join(RUNTIMES[format])}, not by {runtime}")
    opener = {"torch": _open_torch, "onnxruntime": _open_onnxruntime, "openvino": _open_openvino}[runtime]
    _import_runtime(runtime)
    try:
        text, run = opener(path, format, threads)
    except (CheckpointError, UsageError):
        raise
    except Exception as error:  # on damaged bytes readers raise whatever their parsers happen to raise
        raise CheckpointError(f"{path}: damaged, or not a file of {format}: {reason(error)}") from error
    if not text:
        raise CheckpointError(f"{path}: not a file of jdn, it has no label; `jdn export` writes one")
    label = replace(Label.from_text(text, path), format=format)
    return FileDetector(label, runtime, run)


def _import_runtime(runtime: Runtime) -> None:
    if runtime != "torch":
        extra(runtime)


def _open_torch(path: Path, format: Format, threads: int | None) -> tuple[str, Run]:
    # torch's readers run no pickled code: PT2 is JSON and tensors, TorchScript has a reader in C++.
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise CheckpointError(f"{path}: damaged: {broken} has another checksum")
    files: dict[str, Any] = {MEMBER: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if format == "torchscript":
            module: Any = torch.jit.load(path, _extra_files=files)  # type: ignore[no-untyped-call]
        else:
            module = torch.export.load(path, extra_files=files).module(check_guards=False)

    def run(images: Tensor, sizes: Tensor) -> Sequence[Tensor]:
        with torch.inference_mode():
            found: Sequence[Tensor] = module(images, sizes)
            return found

    text = files[MEMBER]
    return text.decode() if isinstance(text, bytes) else text, run


def _open_onnxruntime(path: Path, format: Format, threads: int | None) -> tuple[str, Run]:
    onnxruntime = extra("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor, sizes: Tensor) -> Sequence[Tensor]:
        found = session.run(None, {"images": images.numpy(force=True), "sizes": sizes.numpy()})
        return [torch.from_numpy(value) for value in found]

    return session.get_modelmeta().custom_metadata_map.get(KEY, ""), run


def _open_openvino(path: Path, format: Format, threads: int | None) -> tuple[str, Run]:
    openvino = extra("openvino")
    core = openvino.Core()
    if format == "openvino":
        _require_whole(path)
    model = core.read_model(path)
    text = _label_of(path, model, format)
    # Without the hint a CPU with bfloat16 would use it.
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", config)

    def run(images: Tensor, sizes: Tensor) -> Sequence[Tensor]:
        found = compiled([np.ascontiguousarray(images.numpy(force=True)), sizes.numpy()])
        return [torch.from_numpy(found[position].copy()) for position in range(len(found))]

    return text, run


def _label_of(path: Path, model: Any, format: Format) -> str:
    if format == "onnx":
        properties = extra("onnx").load(path, load_external_data=False).metadata_props
        return next((entry.value for entry in properties if entry.key == KEY), "")
    return str(model.get_rt_info([KEY, "label"]).value) if model.has_rt_info([KEY, "label"]) else ""


def _require_whole(path: Path) -> None:
    """Compares an OpenVINO file's weights with the hash in it; a file of another tool has none."""
    from xml.etree import ElementTree

    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such file; OpenVINO's weights lie beside the .xml")
    wanted = ElementTree.parse(path).find(f"rt_info/{KEY}/weights")
    if wanted is None:
        raise CheckpointError(f"{path}: not a file of jdn, it has no label; `jdn export` writes one")
    if (got := sha256_of(weights)) != wanted.get("value"):
        raise CheckpointError(f"{weights}: damaged: SHA-256 must be {wanted.get('value')}, got {got}")
