"""A detector that a user names becomes one file, with its parity report beside it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from flows.console import say
from flows.inputs import models
from flows.inputs.folders import is_search, writable
from flows.inputs.settings_file import read_back
from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.layouts import Split
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector
from jdn_core.detector.folder import load_detector
from jdn_core.errors import DataError, InputMissing, UsageError
from jdn_core.evaluation.detection import evaluate
from jdn_core.evaluation.latency import measure
from jdn_core.export import parity
from jdn_core.export.extras import extra
from jdn_core.export.label import (
    ENDINGS,
    RUNTIMES,
    Format,
    Label,
    Precision,
    chosen_format,
    chosen_precision,
)
from jdn_core.export.quantisation import PHOTOS, quantise
from jdn_core.export.runtimes import FileDetector, open_file
from jdn_core.export.writing import convert_to_openvino, write
from jdn_core.run import datasets
from jdn_core.storage import durable

WARMUP, REPEATS = 5, 30
_PACKAGES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "pt2": (),
    "torchscript": (),
}


@dataclass(frozen=True)
class Wish:
    """What to export, and how.

    Attributes:
        model: as ``models.find`` reads it.
        pair: index of a pair of a search.
        resolution: the frame, ``WxH``; none: the detector's own.
        format: of the file.
        precision: of the network.
        out: the file; none: ``NAME-PRECISION`` with the format's ending, here.
        data: dataset of the photos; none: that of the search.
        dynamic: take any frame.
        calibration: photos that int8 learns from.
    """

    model: str
    format: Format
    precision: Precision
    pair: int | None = None
    resolution: str | None = None
    out: Path | None = None
    data: Path | None = None
    dynamic: bool = False
    calibration: int = PHOTOS

    def check(self) -> None:
        """Refuses what cannot be had, before anything is read.

        Raises:
            UsageError: a package is missing, or the format does not have the precision or the ending.
        """
        if self.precision == "int8" and self.format not in ("onnx", "openvino"):
            raise UsageError(f"--precision int8 is for onnx and openvino, not for {self.format}")
        ending = ENDINGS[self.format]
        if self.out is not None and self.out.suffix != ending:
            raise UsageError(f"--out {self.out}: a file of {self.format} ends in {ending}")
        for package in (*_PACKAGES[self.format], *(("onnxruntime",) if self.precision == "int8" else ())):
            extra(package)


def wish(format: str, precision: str, **others: Any) -> Wish:
    """Returns a checked wish; raises UsageError for an unknown name and as ``Wish.check`` does."""
    wanted = Wish(format=chosen_format(format), precision=chosen_precision(precision), **others)
    wanted.check()
    return wanted


def export(wanted: Wish) -> dict[str, Any]:
    """Writes the file and the report beside it, ``FILE.json``; returns the report.

    Nothing is written before the file has been compared with the detector.

    Raises:
        UsageError: the model is a file already, or no dataset is named.
        DataError: the model's classes are not the dataset's.
        InputMissing: there is no such model, or there are no photos.
        StorageError: the place cannot be written.
    """
    with models.opened(wanted.model, pair=wanted.pair, resolution=wanted.resolution) as found:
        if found.is_file:
            raise UsageError(f"{wanted.model}: is an exported file; export takes what it was made from")
        out = wanted.out or Path(f"{_name(wanted.model)}-{wanted.precision}{ENDINGS[wanted.format]}")
        writable(out.parent)
        detector = load_detector(found.folder)
        spec = replace(detector.spec, resolution=found.resolution)
        photos = _photos(wanted, "val", detector)
        label = Label(spec, wanted.format, wanted.precision, wanted.dynamic)
        with tempfile.TemporaryDirectory() as scratch:
            files, ap = _written(detector, label, wanted, Path(scratch))
            report = _report(detector, files, out, photos) | ap
            for file in files:
                durable.write_bytes(out.with_suffix(file.suffix), file.read_bytes())
    durable.write_json(out.with_name(f"{out.name}.json"), report)
    return report


def _name(model: str) -> str:
    """Returns a file's name for a model without an ending: the last part of its path or of its address."""
    name = model.rstrip("/").rpartition("/")[2].replace("#", "-").replace("@", "-")
    return name or "model"


def _photos(wanted: Wish, split: Split, detector: Detector) -> CocoDataset:
    """Returns a split of the dataset that is named, else of the search's, classes in the model's order."""
    if wanted.data is not None:
        dataset = models.read_split(wanted.data, split, drop_bad_boxes=True)
    elif is_search(folder := Path(wanted.model.rpartition("#")[0] or wanted.model)):
        dataset = datasets.dataset(read_back(folder).data, split)
    else:
        raise UsageError(
            f"{wanted.model}: the file is compared on photos; name their dataset with --data DIR"
        )
    if not dataset.images:
        raise InputMissing(f"{dataset.annotation_file}: no photos to compare the file on")
    try:
        return replace(dataset, categories=models.match_classes(detector.spec.classes, dataset.categories))
    except DataError as error:
        raise DataError(str(error).partition("; correct")[0], error.problems) from None


def _written(
    detector: Detector, label: Label, wanted: Wish, scratch: Path
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Returns the files, and what int8 costs in AP, both numbers out of files in one runtime."""
    say(f"writing {label.format}, {label.precision}")
    if label.precision != "int8":
        return write(detector, label, scratch), {}
    training = _photos(wanted, "train", detector)
    full = write(detector, replace(label, format="onnx", precision="fp32"), scratch)[-1]
    path = scratch / f"int8{ENDINGS['onnx']}"
    quantise(full, path, training.images, photos=wanted.calibration)
    files: tuple[Path, ...] = (path,)
    if label.format == "openvino":
        files = convert_to_openvino(path, label, path.with_suffix(ENDINGS["openvino"]))
    runtime = RUNTIMES[label.format][0]
    val = _photos(wanted, "val", detector)
    ap = {
        name: _ap(open_file(file, runtime=runtime), val)
        for name, file in (("fp32", full), ("int8", files[-1]))
    }
    return files, {"ap": ap, "calibration": min(wanted.calibration, len(training.images))}


def _ap(file: FileDetector, dataset: CocoDataset) -> float:
    with BatchLoader(dataset) as loader:
        frame = file.spec.resolution
        return evaluate(file, loader, [frame], frame_of=file.label.frame_of)[frame].AP


def _report(detector: Detector, files: Sequence[Path], out: Path, dataset: CocoDataset) -> dict[str, Any]:
    start = time.perf_counter()
    threads = torch.get_num_threads()  # the same for both sides
    file = open_file(files[-1], threads=threads)
    loaded = time.perf_counter() - start
    same = parity.compare(detector, file, parity.pictures(dataset.images))
    label = file.label
    times, eager = (
        measure(each, label.spec.resolution, warmup=WARMUP, repeats=REPEATS) for each in (file, detector)
    )
    return {
        "file": str(out),
        "format": label.format,
        "precision": label.precision,
        "dynamic": label.dynamic,
        "resolution": str(label.spec.resolution),
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": {out.with_suffix(path.suffix).name: durable.sha256_of(path) for path in files},
        **asdict(same),
        # What a lower precision may change is for its user to judge, by the numbers above and AP.
        "same": same.is_same if label.precision == "fp32" else None,
        "load_seconds": loaded,
        "latency_ms": times.median_ms,
        "latency_p90_ms": times.p90_ms,
        "eager_latency_ms": eager.median_ms,
        "runtime": file.runtime,
        "threads": threads,
        "versions": _versions(file),
    }


def _versions(file: FileDetector) -> dict[str, str]:
    names = ["jdn", "torch", *([file.runtime] if file.runtime != "torch" else [])]
    return {name: torch.__version__ if name == "torch" else metadata.version(name) for name in names}
