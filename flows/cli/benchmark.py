"""`jdn benchmark`: accuracy and latency of several detectors, each as it would be shipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.cli.detectors import Frame
from flows.console import Answer, answering, count, showing_progress, table

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(
        "benchmark", epilog="Example: jdn benchmark runs/first winner.onnx --data photos --threads 2"
    )(answering(benchmark))


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Detectors as `jdn evaluate` takes them, exported files too."
        ),
    ],
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="torch|onnxruntime|openvino",
            help="What runs them. [default: each one's own]",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads. [default: torch's]")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, metavar="B", help="Images at a time.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Dataset for AP, its val split. [default: no AP]"),
    ] = None,
    resolution: Frame = None,
    json: options.Json = False,
) -> Answer:
    """Measure accuracy and latency of detectors side by side, on this machine's CPU.

    Latency is that of one batch through network, proposals and NMS: five rounds of ten, each after three that
    do not count and a pause, the models taking turns.
    """
    from flows.inputs import benchmarks
    from jdn_core.export.label import chosen_runtime

    chosen = None if runtime is None else chosen_runtime(runtime)
    with showing_progress():
        rows = benchmarks.benchmark(
            models, runtime=chosen, threads=threads, batch=batch, data=data, resolution=resolution
        )

    def show(screen: Console) -> None:
        cells = [
            (
                row["model"],
                f"{row['runtime']} {row['precision']}",
                row["resolution"],
                count(row["bytes"], "B"),
                f"{row['load_seconds']:.2f}",
                f"{row['latency_ms']['median']:.2f}",
                f"{row['latency_ms']['p90']:.2f}",
                "-" if row["ap"] is None else f"{row['ap']:.4f}",
            )
            for row in rows
        ]
        columns = ("model", "runs in", "frame", "size", "load s", "ms", "p90", "AP")
        screen.print(table(columns, cells, left=2))
        screen.print(f"batch {batch}, threads: {rows[0]['threads']}", markup=False)

    return Answer({"models": rows}, show)
