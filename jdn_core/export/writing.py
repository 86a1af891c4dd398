"""A detector written in one of the formats, its label inside; the exporters are torch's own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from jdn_core.data.loading import SIZE_DIVISOR
from jdn_core.detector.build import Detector
from jdn_core.errors import UsageError
from jdn_core.export.extras import extra
from jdn_core.export.graph import ExportGraph, keep_mask
from jdn_core.export.label import ENDINGS, KEY, MEMBER, Label
from jdn_core.storage.durable import sha256_of

OPSET = 18
INPUTS, OUTPUTS = ("images", "sizes"), ("boxes", "scores", "labels", "counts")
_MOST_BATCH, _MOST_SIDE = 1024, 256  # images, and multiples of 32 pixels
_PAIRS = (0, 2)  # columns of NonMaxSuppression's answer that name group and row


def write(detector: Detector, label: Label, folder: Path) -> tuple[Path, ...]:
    """Writes a detector into a folder that is there and returns the files, the one to be opened last.

    Args:
        detector: in eval mode, of the label's specification.
        label: what to write; a quantised one is made by ``quantisation.quantise`` out of an ONNX file.
        folder: of the files.

    Raises:
        UsageError: a package is missing, or the label is a quantised one.
    """
    if label.precision == "int8":
        raise UsageError("int8 needs calibration, which is done on a file of fp32")
    path = folder / f"model{ENDINGS[label.format]}"
    with _quietly(), torch.no_grad():
        match label.format:
            case "onnx":
                _write_onnx(detector, label, path)
            case "openvino":
                return _write_openvino(detector, label, path)
            case "pt2":
                program = _exported(_graph(detector, label), label)
                torch.export.save(program, path, extra_files={MEMBER: label.to_text()})
            case "torchscript":
                trace: Any = torch.jit.trace
                traced = trace(_graph(detector, label), _example(label), check_trace=False)
                torch.jit.save(traced, path, _extra_files={MEMBER: label.to_text()})
    return (path,)


def convert_to_openvino(onnx_file: Path, label: Label, path: Path) -> tuple[Path, ...]:
    """Turns an ONNX file into OpenVINO's pair of files, ``.bin`` and ``.xml``, and labels it.

    Raises:
        UsageError: openvino is not installed.
    """
    openvino = extra("openvino")
    model = openvino.Core().read_model(onnx_file)
    weights = path.with_suffix(".bin")
    model.set_rt_info(label.to_text(), [KEY, "label"])
    openvino.serialize(model, path, weights)
    # The runtime maps the weights into memory and dies of a file that was cut short; hence the hash.
    model.set_rt_info(sha256_of(weights), [KEY, "weights"])
    openvino.serialize(model, path, weights)
    return weights, path


def _graph(detector: Detector, label: Label, **options: Any) -> ExportGraph:
    return ExportGraph(detector, **{"keep": keep_mask, **options}, half=label.precision == "fp16").eval()


def _example(label: Label) -> tuple[Tensor, Tensor]:
    """Returns two images; a side of one cell in any level would be taken for a constant."""
    height, width = (4 * SIZE_DIVISOR, 5 * SIZE_DIVISOR) if label.dynamic else label.shape
    return torch.rand(2, 3, height, width), torch.tensor([[height, width], [height - 7, width - 3]])


def _exported(graph: ExportGraph, label: Label) -> ExportedProgram:
    batch = Dim("batch", min=1, max=_MOST_BATCH)
    images: dict[int, Any] = {0: batch}
    if label.dynamic:
        rows, columns = (Dim(name, min=1, max=_MOST_SIDE) for name in ("rows", "columns"))
        images |= {2: SIZE_DIVISOR * rows, 3: SIZE_DIVISOR * columns}
    shapes = {"images": images, "sizes": {0: batch}}
    program = torch.export.export(graph, _example(label), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files of this machine
    return program


def _write_onnx(detector: Detector, label: Label, path: Path) -> None:
    onnxscript, onnx = extra("onnxscript"), extra("onnx")
    program = torch.onnx.export(
        _exported(_graph(detector, label, keep=_keep_mask), label),
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=OPSET,
        input_names=INPUTS,
        output_names=OUTPUTS,
        custom_translation_table={torch.ops.jdn.keep_mask.default: _suppression()},
    )
    assert program is not None
    # The exporter's own optimisation takes as long as the rest, for what runtimes do when they load.
    optimizer = onnxscript.optimizer
    optimizer.inline(program.model)
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    proto = program.model_proto
    for entry in (*proto.graph.node, *proto.graph.value_info):
        del entry.metadata_props[:]  # the exporter's traces: a fifth of the file
    onnx.helper.set_model_props(proto, {KEY: label.to_text()})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _write_openvino(detector: Detector, label: Label, path: Path) -> tuple[Path, ...]:
    between = path.with_suffix(".onnx")
    _write_onnx(detector, label, between)
    files = convert_to_openvino(between, label, path)
    between.unlink()
    return files


@torch.library.custom_op("jdn::keep_mask", mutates_args=())
def _keep_mask(boxes: Tensor, scores: Tensor, iou: float, above: float) -> Tensor:
    """Stands for ``keep_mask`` in a graph that becomes ONNX, which has this operation itself."""
    return keep_mask(boxes, scores, iou, above)


@_keep_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, above: float) -> Tensor:
    return scores.new_empty(scores.shape, dtype=torch.bool)


def _suppression() -> Any:
    """Returns how ``keep_mask`` is said in ONNX: boxes [G, N, 4] as G images of one class."""
    op, boolean = extra("onnxscript").opset18, extra("onnx").TensorProto.BOOL

    def suppression(boxes: Any, scores: Any, iou: float, above: float) -> Any:
        one_class = op.Unsqueeze(scores, op.Constant(value_ints=[1]))
        most, least = op.Constant(value_float=iou), op.Constant(value_float=above)
        chosen = op.NonMaxSuppression(boxes, one_class, op.Shape(scores, start=1), most, least)
        where = op.Gather(chosen, op.Constant(value_ints=list(_PAIRS)), axis=1)
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(chosen, end=1))
        marked = op.ScatterND(op.ConstantOfShape(op.Shape(scores)), where, ones)
        return op.Cast(marked, to=boolean)

    return suppression


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences warnings that exporters mean for their own authors, and their loggers below an error."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
