"""A detector that a user names: found on disk, put on a dataset, put on pictures."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from flows.console import say
from flows.inputs import searches
from flows.inputs.folders import is_search
from flows.inputs.other_formats import in_coco
from flows.inputs.photos import drawings
from flows.inputs.settings_file import read_back
from jdn_core.data import pictures as files
from jdn_core.data.coco.dataset import CocoDataset, ImageRecord, load
from jdn_core.data.coco.document import Category
from jdn_core.data.layouts import Place, Split, find_split, images_of, recognise
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector
from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE, load_detector, load_spec, require_weights
from jdn_core.errors import DataError, InputMissing, Problem, StorageError, UsageError
from jdn_core.evaluation.average_precision import to_results
from jdn_core.evaluation.detection import PREDICTION_BATCH, detect
from jdn_core.evaluation.detection import evaluate as evaluate_detector
from jdn_core.export.label import ENDINGS
from jdn_core.export.runtimes import FileDetector, open_file
from jdn_core.processes import devices
from jdn_core.processes.progress import report
from jdn_core.reports.examples import Panel, draw
from jdn_core.reports.tables import NO_PAIR
from jdn_core.run.folder import Run
from jdn_core.space.architecture import Resolution
from jdn_core.storage import durable
from jdn_core.training.resolutions import FrameOf, evaluation_plan, framed

_REGISTERED = re.compile(r"models:/(?P<name>[^/@:]+)(@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")


@dataclass(frozen=True)
class Found:
    """A detector's folder or exported file, and the frame to detect in."""

    folder: Path
    resolution: Resolution

    @property
    def is_file(self) -> bool:
        return self.folder.is_file()

    @property
    def bytes(self) -> int:
        """Returns the size of the weights or of the file, OpenVINO's weights included."""
        path = self.folder if self.is_file else self.folder / WEIGHTS_FILE
        beside = path.with_suffix(".bin")
        extra = beside.stat().st_size if path.suffix == ENDINGS["openvino"] and beside.is_file() else 0
        return path.stat().st_size + extra

    def load(self, device: str) -> Detector | FileDetector:
        """Reads the detector, on a device as the settings name it.

        Raises:
            UsageError: a file's runtime is missing, or it is to run on a GPU.
            CheckpointError: what is there is damaged.
        """
        if not self.is_file:
            return load_detector(self.folder, devices.choose(device))
        if device not in ("auto", "cpu"):
            raise UsageError(f"{self.folder}: an exported file runs on the CPU here, got --device {device}")
        return open_file(self.folder, threads=torch.get_num_threads())


def frame_rule(detector: Detector | FileDetector) -> FrameOf | None:
    """Returns how a file chooses the frame of a picture; None for what takes any."""
    return detector.label.frame_of if isinstance(detector, FileDetector) else None


def find(model: str, *, pair: int | None = None, resolution: str | None = None) -> Found:
    """Finds the detector that ``model`` names: its folder, a search (its result or ``pair``) or SEARCH#INDEX.

    The folder of a run that trained a base alone stands for that base. An exported file stands for itself.

    Raises:
        InputMissing: there is no such folder, file or pair.
        UsageError: the resolution or the index cannot be read, or the file has another frame or none of it.
        CheckpointError: an exported file is damaged, or not ours.
    """
    if Path(model).is_file() or Path(model).suffix in ENDINGS.values():
        return _file(model, pair, resolution)
    name, mark, index = model.rpartition("#")
    if mark and not Path(model).exists():
        if not index.isdecimal():
            raise UsageError(f"{model}: after # must come the index of a pair, got {index!r}")
        model, pair = name, int(index)
    folder = Path(model)
    if pair is None and not (folder / "pairs").is_dir() and (folder / "base" / SPEC_FILE).is_file():
        folder = folder / "base"
    if is_search(folder):
        row = searches.row(folder, pair)
        is_gone = row.index != NO_PAIR and not Path(str(row.weights)).exists()
        if is_gone:  # they may have left for MLflow (tracking.keep_weights)
            from tasks.tracking import restore_files

            restore_files(Run(read_back(folder), folder.resolve()), row.key)
        folder, frame = Path(str(row.weights)).parent, Resolution.parse(str(row.resolution))
    elif pair is not None:
        raise UsageError(f"--pair needs a search's folder, got {model}")
    else:
        frame = load_spec(folder).resolution
    return Found(folder, _frame(resolution) or frame)


def _file(model: str, pair: int | None, resolution: str | None) -> Found:
    if pair is not None:
        raise UsageError(f"--pair needs a search's folder, got {model}")
    label, frame = open_file(Path(model)).label, _frame(resolution)
    if frame not in (None, label.spec.resolution) and not label.dynamic:
        has = f"has the frame {label.spec.resolution} alone"
        raise UsageError(f"--resolution {frame}: {model} {has}; `jdn export --dynamic` makes one for any")
    return Found(Path(model), frame or label.spec.resolution)


@contextmanager
def opened(model: str, *, pair: int | None = None, resolution: str | None = None) -> Iterator[Found]:
    """Does as ``find``; ``model`` may also be ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    A registered detector is fetched from the server of ``MLFLOW_TRACKING_URI`` and gone after use. Its
    weights are compared with the hash that its version names; nothing else of it is read, no code of it runs.

    Raises:
        UsageError: the name cannot be read, or no server is named.
        InputMissing: the server has no such detector.
        CheckpointError: the weights are not those that were published.
        ServiceUnavailable: the server does not answer.
    """
    if not model.startswith("models:"):
        yield find(model, pair=pair, resolution=resolution)
        return
    if (named := _REGISTERED.fullmatch(model)) is None:
        raise UsageError(f"a registered model is models:/NAME@ALIAS or models:/NAME/VERSION, got {model!r}")
    if pair is not None:
        raise UsageError(f"--pair needs a search's folder, got {model}")
    uri = registry_address(model)
    from tasks.tracking.registry import fetch_model

    with tempfile.TemporaryDirectory() as scratch:
        label = named["version"] or f"@{named['alias']}"
        folder, frame, sha256 = fetch_model(named["name"], label, uri, Path(scratch))
        require_weights(folder, sha256)
        yield Found(folder, _frame(resolution) or Resolution.parse(frame))


def registry_address(model: str) -> str:
    """Returns where the Model Registry is that holds ``model``; raises UsageError where none is named."""
    if not (uri := os.environ.get("MLFLOW_TRACKING_URI")):
        raise UsageError(f"{model}: no MLflow; MLFLOW_TRACKING_URI names the server, or sqlite:///FILE")
    return uri


def read_split(root: Path, split: str, *, drop_bad_boxes: bool, images: Path | None = None) -> CocoDataset:
    """Reads one split of a dataset for evaluation, where an image may be without boxes.

    Args:
        root: folder of the dataset, or one annotation file, which is taken whole.
        split: ``train``, ``val`` or ``test``.
        drop_bad_boxes: leave unusable boxes out.
        images: folder of the images, if it is another one.

    Raises:
        UsageError: there is no such split.
        InputMissing: the split or the folder is not there.
        DataError: the dataset breaks rules.
    """
    if split not in get_args(Split):
        raise UsageError(f"--split must be train, val or test, got {split!r}")
    which: Split = split  # type: ignore[assignment]  # it is one of them
    root = in_coco(root, drop_bad_boxes=drop_bad_boxes)
    if root.is_file():
        place = Place(root, images or images_of(root))
    else:
        say(f"data: {recognise(root).line}")
        place = find_split(root, which, images=images)
    return load(*place, drop_bad_boxes=drop_bad_boxes, require_boxes=False)


def evaluate(found: Found, dataset: CocoDataset, *, device: str, match: str = "name") -> dict[str, Any]:
    """Measures the twelve numbers and ``per_class`` of a detector on a dataset.

    Args:
        found: the detector.
        dataset: what it is measured on.
        device: as the settings have it.
        match: ``name`` or ``id``, by which classes of the two are the same.

    Raises:
        UsageError: ``match`` is neither.
        DataError: the detector's classes are not the dataset's.
    """
    return numbers(found.load(device), found.resolution, dataset, match=match)


def numbers(
    detector: Detector | FileDetector, frame: Resolution, dataset: CocoDataset, *, match: str = "name"
) -> dict[str, Any]:
    """Measures a detector that is loaded already; everything else is as ``evaluate`` has it."""
    categories = match_classes(detector.spec.classes, dataset.categories, by=match)
    dataset = replace(dataset, categories=categories)
    with BatchLoader(dataset) as loader:
        return asdict(evaluate_detector(detector, loader, [frame], frame_of=frame_rule(detector))[frame])


def match_classes(
    classes: Sequence[tuple[int, str]], categories: Sequence[Category], *, by: str = "name"
) -> tuple[Category, ...]:
    """Returns the category of every class of the detector, in the order of its labels.

    Numbers mean something in one dataset alone, so they count only ``by`` ``id``, where that is asked for; or
    where every number has the same name on both sides, which settles names that occur twice.

    Raises:
        UsageError: ``by`` is neither ``name`` nor ``id``.
        DataError: the classes are not the same.
    """
    if by not in ("name", "id"):
        raise UsageError(f"--match-classes must be name or id, got {by!r}")
    by_name = {category.name: category for category in categories}
    by_id = {category.id: category for category in categories}
    same_ids = by_id.keys() == {id_ for id_, _ in classes}
    if same_ids and (by == "id" or all(by_id[id_].name == name for id_, name in classes)):
        return tuple(by_id[id_] for id_, _ in classes)
    names = {name for _, name in classes}
    unique = len(by_name) == len(categories) and len(names) == len(classes)
    if by == "name" and unique and by_name.keys() == names:
        return tuple(by_name[name] for _, name in classes)
    raise DataError.of(_differing(classes, categories, by=by))


def _differing(
    classes: Sequence[tuple[int, str]], categories: Sequence[Category], *, by: str
) -> list[Problem]:
    """Says which classes are on one side alone, then both lists."""
    theirs, ours = (
        {str(pair[by == "name"]) for pair in pairs}
        for pairs in (classes, [(category.id, category.name) for category in categories])
    )
    problems = [Problem("dataset", one, "is missing, a class of the detector") for one in theirs - ours]
    problems += [Problem("dataset", one, "is no class of the detector") for one in ours - theirs]
    told, got = (
        ", ".join(f"{id_} {name}" for id_, name in pairs)
        for pairs in (classes, [(category.id, category.name) for category in categories])
    )
    remedy = "correct the names, or pass --match-classes id to `jdn evaluate` where the numbers mean the same"
    whole = Problem("dataset", "classes", f"must be those of the detector, {told}", got, remedy)
    return [*sorted(problems, key=str), whole]


def predict(
    found: Found, paths: Sequence[Path], *, out: Path | None, least: float, device: str
) -> tuple[list[dict[str, Any]], list[Path]]:
    """Detections of score ``least`` and more in COCO's results form, and the pictures drawn into ``out``.

    Each detection also has its class's name as ``category``; ``image_id`` is the path as given.

    Raises:
        UsageError: a drawing would take the place of one of the pictures.
        InputMissing: a picture is not there.
        DataError: a picture cannot be read.
        StorageError: ``out`` cannot be written.
    """
    targets = drawings(paths, out) if out is not None else []
    dataset = CocoDataset(tuple(_records(paths)), (), Path(), "")
    detector = found.load(device)
    categories = tuple(Category(id_, name) for id_, name in detector.spec.classes)
    names = {category.id: category.name for category in categories}
    results = []
    plan = evaluation_plan(len(paths), batch=PREDICTION_BATCH, resolution=found.resolution)
    if (rule := frame_rule(detector)) is not None:
        plan = framed(plan, dataset.images, rule)
    with BatchLoader(dataset) as loader:
        for number, batch in enumerate(loader.batches(plan), start=1):
            outputs = detect(detector, batch)
            for hit in to_results(outputs, batch.ids, categories):
                if hit["score"] >= least:
                    path = str(paths[hit["image_id"]])
                    results.append({**hit, "image_id": path, "category": names[hit["category_id"]]})
            if targets:
                for id_, output in zip(batch.ids, outputs, strict=True):
                    _draw(paths[id_], output, least, list(names.values()), targets[id_])
            report("predict", number, len(plan))
    return results, targets


def _frame(resolution: str | None) -> Resolution | None:
    try:
        return Resolution.parse(resolution) if resolution else None
    except ValueError as error:
        raise UsageError(f"--resolution: {error}") from None


def _records(paths: Sequence[Path]) -> Iterator[ImageRecord]:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputMissing("\n".join(f"{path}: no such picture" for path in missing))
    sizes = files.measure(paths)
    if problems := [problem for error in sizes if isinstance(error, DataError) for problem in error.problems]:
        raise DataError.of(problems)
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        assert not isinstance(size, DataError)
        yield ImageRecord(number, path, *size, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def _draw(path: Path, output: Mapping[str, Tensor], least: float, names: Sequence[str], target: Path) -> None:
    boxes, labels, scores = (output[key].numpy(force=True) for key in ("boxes", "labels", "scores"))
    panel = Panel(path.name, boxes, labels, scores).confident(least=least)
    photo = files.read_pixels(path)
    drawing = io.BytesIO()
    draw(photo, [panel], names=names, width=photo.shape[1]).save(drawing, "PNG")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error
    durable.write_bytes(target, drawing.getvalue())  # renamed into place: a link there is not followed
