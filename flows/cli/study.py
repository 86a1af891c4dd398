"""`jdn study`: a claim of the paper, tried on the data that a user has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.cli.pool import Data, Pool
from flows.console import Answer, answering, count, showing_progress, table

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "Example: jdn study pool-quality runs/pool --data photos --out runs/quality"


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    study = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    study.command("pool-quality", epilog=EXAMPLE)(answering(pool_quality))
    app.add_typer(study, name="study", help="A claim of the paper, tried on your data.", epilog=EXAMPLE)


def pool_quality(
    pool: Pool,
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder of the results; the same command goes on in it."),
    ],
    drawn: Annotated[
        int, typer.Option(min=1, metavar="N", help="Subnets drawn to compare before and after BN reset.")
    ] = 10,
    alone: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="Subnets, from small to large, that are trained alone too."),
    ] = 6,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of each such training. [default: the last phase's]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="K", help="Of the draws.")] = 0,
    device: options.Device = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Table 1. Are a pool's subnets, straight out of it, as good as the same detectors trained alone?"""
    from flows.inputs import pools
    from flows.studies import pool_quality as study

    photos = pools.Photos(data, "val", drop_bad_boxes, device or "auto")
    plan = study.Plan(drawn, alone, epochs, seed)
    with showing_progress():
        answer = study.pool_quality(pools.find(pool), photos, out, plan)
    return Answer(answer, lambda screen: _show(screen, answer))


def _show(screen: Console, answer: dict[str, Any]) -> None:
    """Prints both tables and what follows from them."""
    for name, one, other in (("bn_reset", "ap_before", "ap_after"), ("alone", "ap_pool", "ap_alone")):
        rows = [
            (each["subnet"], count(each["macs"]), f"{each[one]:.4f}", f"{each[other]:.4f}")
            for each in answer[name]
        ]
        titles = {
            "ap_before": "AP before BN reset",
            "ap_after": "AP after it",
            "ap_pool": "AP from the pool",
            "ap_alone": f"AP alone, {answer['epochs_alone']} epochs",
        }
        screen.print(table(["subnet", "MACs", titles[one], titles[other]], rows))
    wins, pairs = answer["pool_wins"], len(answer["alone"])
    screen.print(
        f"BN reset gives {answer['bn_reset_gain']:+.4f} AP. The pool's subnets lead by "
        f"{answer['pool_lead']:+.4f} AP and win {wins} of {pairs}: "
        f"the claim {'holds' if answer['holds'] else 'does not hold'} here."
    )
