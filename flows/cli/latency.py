"""`jdn measure-latency`: the pairs of a search timed as they would be shipped, on a machine of choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.console import Answer, answering, table
from flows.servers.embedded import before_prefect, require_home

if TYPE_CHECKING:
    from rich.console import Console

    from jdn_core.settings.search import TargetSettings
    from jdn_core.settings.whole import Settings


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("measure-latency", epilog="Example: jdn measure-latency runs/first --target here --top 10")(
        answering(measure_latency)
    )


def measure_latency(
    folder: options.Search,
    target: Annotated[
        str,
        typer.Option("--target", metavar="NAME", help="One of `targets`, or a new name."),
    ],
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="POOL", help="Prefect work pool that times. [default: this machine]"),
    ] = None,
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="onnxruntime|openvino|torch", help="What runs the students.")
    ] = "onnxruntime",
    precision: Annotated[
        str, typer.Option("--precision", metavar="fp32|fp16", help="Of the exported network.")
    ] = "fp32",
    threads: Annotated[int, typer.Option("--threads", min=1, metavar="N", help="CPU threads.")] = 1,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="N", help="The best N pairs. [default: all]"),
    ] = None,
    json: options.Json = False,
) -> Answer:
    """Time a search's students as they would be shipped: exported, in a runtime, on a machine.

    `jdn rescore --target NAME` then ranks by it. The base is always timed. What is known is not timed again.
    """
    from flows.inputs.folders import absolute
    from flows.inputs.settings_file import read_back

    require_home()
    options_given = {"work_pool": pool, "runtime": runtime, "precision": precision, "threads": threads}
    chosen = _target(read_back(folder), target, options_given)
    before_prefect()
    from flows.latencies import measure_latencies

    data = measure_latencies(absolute(folder), chosen, top)

    def show(screen: Console) -> None:
        rows = [
            (str(each["index"]), each["action"], f"{each['median_ms']:.2f}", f"{each['p90_ms']:.2f}")
            for each in data["pairs"]
        ]
        screen.print(table(("pair", "action", "ms", "p90"), rows, left=2))
        where = f"pool {chosen.work_pool}" if chosen.work_pool else "this machine"
        how = f"{chosen.runtime} {chosen.precision}, threads: {chosen.threads}"
        screen.print(f"{chosen.name}: {how}, {where}", markup=False)
        screen.print(f"jdn rescore {folder} --target {chosen.name}", markup=False, soft_wrap=True)
        if data["error"]:
            screen.print(f"MLflow was not told: {data['error']}", markup=False, soft_wrap=True)

    return Answer(data, show)


def _target(settings: Settings, name: str, given: Mapping[str, object]) -> TargetSettings:
    """Returns the settings' target of a name; one that they do not have is made of what was given."""
    from pydantic import ValidationError

    from jdn_core.errors import UsageError
    from jdn_core.settings.search import TargetSettings

    for target in settings.targets:
        if target.name == name:
            return target
    try:
        return TargetSettings.model_validate({"name": name, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"target {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
