"""`jdn arch`: architectures without training anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, table

if TYPE_CHECKING:
    from jdn_core.evaluation.complexity import Complexity
    from jdn_core.space.architecture import DetectorSpec, Resolution

PAPER = ("512x512", "800x600", "1080x720", "1333x800")
EXAMPLE = "Example: jdn arch r50 --resolution 1333x800 --act prune_channels --share 0.1"


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("arch", epilog=EXAMPLE)(answering(arch))


def arch(
    architecture: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="r18, r34, r50, r101, x101, a notation, a JSON file, a detector's folder."
        ),
    ],
    resolution: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", help="Input frame; may be repeated. [default: the paper's four]"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Classes to detect. [default: 80]")
    ] = None,
    act: Annotated[
        str | None,
        typer.Option(
            metavar="ACTION", help="prune_channels, prune_layer, add_layer, rearrange or narrow_heads."
        ),
    ] = None,
    share: Annotated[float, typer.Option(metavar="S", help="Share of the channels to remove.")] = 0.1,
    stage: Annotated[int, typer.Option(metavar="N", help="Stage, 1 to 4, to add to or to move from.")] = 3,
    end: Annotated[
        str, typer.Option(metavar="first|last", help="Which block of the stage to move.")
    ] = "last",
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="K", help="Draws the weights that pruning ranks, where there are none."),
    ] = 0,
    json: options.Json = False,
) -> Answer:
    """Blocks and cost of an architecture. With --act, of what an action makes of it."""
    from rich.console import Console

    from flows.inputs.architectures import after, read

    spec = read(architecture, classes)
    frames = options.frames(resolution or PAPER)
    data = _describe(spec, frames)
    if act is None:
        return Answer(data, lambda screen: _show(screen, data))
    outcome = after(spec, architecture, text=_action_text(act, share=share, stage=stage, end=end), seed=seed)
    new = _describe(outcome.spec, frames) | {
        "action": outcome.action, "removed": outcome.removed, "before": data
    }  # fmt: skip

    def show(screen: Console) -> None:
        screen.print(f"after {outcome.action}{_loss(outcome.removed)}:", markup=False)
        _show(screen, new)

    return Answer(new, show)


def _action_text(act: str, *, share: float, stage: int, end: str) -> str:
    """Builds an action's key of its name and the options that it takes; a whole key passes as it is."""
    arguments = {"add_layer": f":{stage}", "rearrange": f":{stage}:{end}"}
    arguments |= dict.fromkeys(("prune_channels", "narrow_heads"), f":{share}")
    return act + arguments.get(act, "")


def _loss(removed: dict[str, Any]) -> str:
    """Says what pruning removed, for the line above the table; empty where it removed nothing."""
    if not removed:
        return ""
    what = f"block {removed.get('block')} of stage {removed.get('stage')} removed"
    if "channels" in removed:
        what = f"{removed['channels']:,} of {removed['prunable']:,} channels removed ({removed['share']:.2%})"
    return f": {what}, by weights {removed['weights']}"


def _describe(spec: DetectorSpec, frames: list[Resolution]) -> dict[str, Any]:
    """Builds the JSON of an architecture; ``backbone_macs`` and ``parts`` are at the largest resolution."""
    from jdn_core.evaluation.complexity import complexity
    from jdn_core.space.notation import format_backbone

    costs = {frame: complexity(spec, frame) for frame in frames}
    whole = costs[frames[-1]]
    return {
        "notation": format_backbone(spec.backbone),
        "depths": list(spec.backbone.depths),
        "backbone_macs": whole.backbone_macs,
        "macs": {str(frame): cost.macs for frame, cost in costs.items()},
        "backbone_params": whole.backbone_params,
        "params": whole.params,
        "parts": _parts(spec, whole),
    }


def _parts(spec: DetectorSpec, cost: Complexity) -> list[dict[str, Any]]:
    """Builds a row per part; ``width`` is its output's, ``widths`` are all in a stage of several widths."""
    stages = zip(spec.backbone.stages, cost.stages, strict=True)
    rows = [("stem", 1, [spec.backbone.stem], cost.stem)]
    rows += [
        (f"stage {i}", len(blocks), list(dict.fromkeys(block.out for block in blocks)), part)
        for i, (blocks, part) in enumerate(stages, start=1)
    ]
    rows += [
        ("neck", 1, [spec.neck], cost.neck),
        ("rpn", 1, [spec.neck], cost.rpn),
        ("head", 1, [spec.head], cost.head),
    ]
    return [
        {
            "part": name,
            "blocks": blocks,
            "width": widths[-1],
            "widths": widths,
            "macs": part.macs,
            "params": part.params,
        }
        for name, blocks, widths, part in rows
    ]


def _show(screen: Any, data: dict[str, Any]) -> None:
    largest, macs = list(data["macs"].items())[-1]
    screen.print(
        data["notation"].replace("], [", "],\n["), markup=False
    )  # a stage a line; reads back as it is
    rows = [
        (
            part["part"],
            str(part["blocks"]),
            ", ".join(map(str, part["widths"])),
            count(part["macs"]),
            f"{part['macs'] / macs:.1%}",
            count(part["params"]),
        )
        for part in data["parts"]
    ]
    backbone = data["backbone_macs"]
    rows += [
        ("backbone", "", "", count(backbone), f"{backbone / macs:.1%}", count(data["backbone_params"])),
        ("whole", "", "", count(macs), "100.0%", count(data["params"])),
    ]
    screen.print(table(["part", "blocks", "width", f"MACs at {largest}", "share", "parameters"], rows))
    if before := data.get("before"):
        screen.print(table(["", "after", "before", "change"], _changes(data, before)))
    elif len(data["macs"]) > 1:
        screen.print(
            table(["resolution", "MACs"], [(frame, count(number)) for frame, number in data["macs"].items()])
        )


def _changes(after: dict[str, Any], before: dict[str, Any]) -> list[tuple[str, ...]]:
    """Builds a row per resolution, and one of the parameters."""
    pairs = [(f"MACs at {frame}", number, before["macs"][frame]) for frame, number in after["macs"].items()]
    pairs.append(("parameters", after["params"], before["params"]))
    return [(name, count(new), count(old), f"{new / old - 1:+.1%}") for name, new, old in pairs]
