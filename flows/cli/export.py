"""`jdn export`: a detector as one file for another runtime, compared with itself before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.cli.detectors import Frame, Pair
from flows.console import Answer, answering, count, showing_progress

if TYPE_CHECKING:
    from rich.console import Console

Source = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A detector's folder, a search's folder (its result), SEARCH#INDEX, or models:/NAME@ALIAS.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("export", epilog="Example: jdn export runs/first --format onnx --out winner.onnx")(
        answering(export)
    )


def export(
    model: Source,
    format: Annotated[
        str, typer.Option("--format", metavar="onnx|pt2|torchscript|openvino", help="Of the file.")
    ],
    precision: Annotated[
        str, typer.Option("--precision", metavar="fp32|fp16|int8", help="Of the network.")
    ] = "fp32",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file. [default: named after the model, here]"),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Take images of any size in multiples of 32 pixels.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Dataset that the file is compared on. [default: the search's]"
        ),
    ] = None,
    calibration: Annotated[
        int, typer.Option("--calibration", min=1, metavar="N", help="Training photos that int8 learns from.")
    ] = 128,
    pair: Pair = None,
    resolution: Frame = None,
    json: options.Json = False,
) -> Answer:
    """Write a detector as one file for another runtime, NMS inside, and compare it with itself.

    The report is printed and kept beside the file, as FILE.json. A file of fp32 that does not find the same
    boxes ends the command with exit code 65.
    """
    from flows.inputs import exports
    from jdn_core.errors import DataError

    wanted = exports.wish(
        format,
        precision,
        model=model,
        pair=pair,
        resolution=resolution,
        out=out,
        data=data,
        dynamic=dynamic,
        calibration=calibration,
    )
    with showing_progress():
        report = exports.export(wanted)

    def show(screen: Console) -> None:
        for name, line in _lines(report).items():
            screen.print(f"{name:10} {line}", markup=False, soft_wrap=True)

    return Answer(report, show, DataError.exit_code if report["same"] is False else 0)


def _lines(report: dict[str, Any]) -> dict[str, str]:
    verdict = {True: ", the same", False: ", NOT the same", None: ""}[report["same"]]
    lines = {
        "file": f"{report['file']}, {count(report['bytes'], 'B')}",
        "contents": f"{report['format']} {report['precision']}, "
        + ("any frame" if report["dynamic"] else f"frame {report['resolution']}"),
        "parity": f"{report['matched']} of {report['boxes']} boxes on {report['images']} photos matched, "
        f"{report['file_boxes']} in the file{verdict}",
        "largest": f"{report['max_box_difference']:.2g} px, score {report['max_score_difference']:.2g}",
        "load": f"{report['load_seconds']:.2f} s",
        "latency": f"{report['latency_ms']:.2f} ms (p90 {report['latency_p90_ms']:.2f}) in "
        f"{report['runtime']}, {report['eager_latency_ms']:.2f} ms in torch before, "
        f"threads: {report['threads']}",
    }
    if "ap" in report:
        lines["AP"] = f"{report['ap']['int8']:.4f}, {report['ap']['fp32']:.4f} in fp32, out of files"
    return lines
