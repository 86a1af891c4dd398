"""`jdn pool`: the teachers of a pool, counted, drawn, measured, taken out, and searched without a student."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, showing_progress, table
from jdn_core.run.file_names import SETTINGS_FILE

if TYPE_CHECKING:
    from rich.console import Console

    from flows.inputs.pools import FoundPool
    from jdn_core.space.teachers import SubnetSpace, SubnetSpec

SHOWN = 10
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
Space = Annotated[
    str, typer.Argument(metavar="POOL", help="A pool's folder, a settings file, or the name of a preset.")
]
Pool = Annotated[
    Path, typer.Argument(metavar="POOL", help="A pool's folder, or that of the run that trained it.")
]
Data = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", help="Dataset folder in COCO format; its train split resets BN."),
]
Text = Annotated[
    str | None,
    typer.Option("--subnet", metavar="TEXT", help="A subnet as `sample` prints it: d2-3-5-2 w1-1-1-1 s1 n1."),
]
Largest = Annotated[
    bool, typer.Option("--largest", help="The super-network. [default: this one, if no other is asked for]")
]
Smallest = Annotated[bool, typer.Option("--smallest", help="The smallest subnet.")]
Drawn = Annotated[
    int | None, typer.Option("--seed", min=0, metavar="K", help="Draw one; the same seed draws the same.")
]
Split = Annotated[str, typer.Option("--split", metavar="train|val|test", help="Where AP is measured.")]
Frames = Annotated[
    list[str] | None,
    typer.Option("--resolution", metavar="WxH", help="Input frame; may be repeated. [default: the pool's]"),
]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    subnet = "'d2-3-5-2 w1-1.25-1-1 s1 n1'"
    examples: dict[Callable[..., Answer], str] = {
        size: "size coco_r101",
        sample: "sample coco_r101 --seed 3",
        evaluate: "evaluate runs/pool --data photos --smallest --without-bn-reset",
        extract: f"extract runs/pool --data photos --subnet {subnet} --out detector",
        search: "search runs/pool --data photos --max-macs 150G --out runs/pool-search",
    }
    pool = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    for command, example in examples.items():
        pool.command(command.__name__, epilog=f"Example: jdn pool {example}")(answering(command))
    app.add_typer(pool, name="pool", help="The pool of teachers.", epilog="Example: jdn pool size coco_r101")


def size(source: Space, json: options.Json = False) -> Answer:
    """Count the subnets of a pool, each with the resolutions."""
    space, frames = _space(source)
    number = space.size(frames)
    return Answer(
        {"size": number}, lambda screen: screen.print(f"{number:,} subnets, counted with the resolutions")
    )


def sample(
    source: Space,
    seed: Annotated[int, typer.Option(min=0, metavar="K", help="The same seed draws the same subnet.")] = 0,
    json: options.Json = False,
) -> Answer:
    """Draw a subnet of a pool."""
    from random import Random

    subnet = _space(source)[0].draw(Random(seed))
    return Answer(
        {"subnet": str(subnet), **subnet.to_json()}, lambda screen: screen.print(str(subnet), markup=False)
    )


def evaluate(
    pool: Pool,
    data: Data,
    subnet: Text = None,
    largest: Largest = False,
    smallest: Smallest = False,
    seed: Drawn = None,
    split: Split = "val",
    resolution: Frames = None,
    without_bn_reset: Annotated[
        bool, typer.Option("--without-bn-reset", help="Print AP before the BN reset too.")
    ] = False,
    device: options.Device = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Measure AP and cost of one subnet after its BN reset. The pool stays as it is."""
    from flows.inputs import pools

    found = pools.find(pool)
    one = _one(found, subnet, largest=largest, smallest=smallest, seed=seed)
    frames = options.frames(resolution or ())
    photos = pools.Photos(data, split, drop_bad_boxes, device or "auto")
    with showing_progress():
        answer = pools.evaluate(found, one, photos, frames=frames, before=without_bn_reset)

    def show(screen: Console) -> None:
        screen.print(f"{answer['subnet']} on {answer['images']} images of {data}", markup=False)
        before = answer.get("ap_by_resolution_before", {})
        rows = [
            (frame, *([f"{before[frame]:.4f}"] if before else []), f"{ap:.4f}", count(cost))
            for (frame, ap), cost in zip(
                answer["ap_by_resolution"].items(), answer["macs_by_resolution"].values(), strict=True
            )
        ]
        middle = ["AP before BN reset", "AP after it"] if before else ["AP"]
        screen.print(table(["resolution", *middle, "MACs"], rows))
        screen.print(f"{count(answer['params'])} parameters")

    return Answer(answer, show)


def extract(
    pool: Pool,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the detector.")],
    data: options.Data = None,
    subnet: Text = None,
    largest: Largest = False,
    smallest: Smallest = False,
    seed: Drawn = None,
    without_bn_reset: Annotated[
        bool, typer.Option("--without-bn-reset", help="Keep the statistics that all subnets share; no data.")
    ] = False,
    device: options.Device = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Make one subnet a plain detector's folder, its BN reset. `jdn evaluate` and `jdn predict` take it."""
    from flows.inputs import pools
    from jdn_core.errors import UsageError

    if (data is None) != without_bn_reset:
        raise UsageError(
            "BN reset looks at training images: give --data DIR, or --without-bn-reset without it"
        )
    found = pools.find(pool)
    one = _one(found, subnet, largest=largest, smallest=smallest, seed=seed)
    photos = None if data is None else pools.Photos(data, "train", drop_bad_boxes, device or "auto")
    with showing_progress():
        answer = pools.take_out(found, one, out, photos)
    return Answer(answer, lambda screen: screen.print(f"{one} is now {out}", markup=False, soft_wrap=True))


def search(
    pool: Pool,
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder of the results; the same command goes on in it."),
    ],
    max_macs: Annotated[
        str | None,
        typer.Option("--max-macs", metavar="M", help="Most MACs of one image, as 150G. [default: no bound]"),
    ] = None,
    population: Annotated[int, typer.Option(min=1, metavar="P", help="Subnets a generation.")] = 20,
    generations: Annotated[int, typer.Option(min=1, metavar="G", help="How often the best breed.")] = 10,
    parents: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the best breed.")] = 5,
    mutation: Annotated[
        float, typer.Option(metavar="P", help="Chance that a slot of a mutant is drawn anew.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, metavar="K", help="Of every draw.")] = 0,
    split: Split = "val",
    resolution: Frames = None,
    device: options.Device = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Search the pool itself by evolution, without a student. Makes the best subnet a detector's folder."""
    from flows.inputs import pools
    from jdn_core.errors import UsageError
    from jdn_core.search.evolution import EvolutionRules

    found = pools.find(pool)
    try:
        rules = EvolutionRules(
            found.space,
            found.spec.template,
            tuple(options.frames(resolution or found.settings.data.resolutions)),
            max_macs=None if max_macs is None else _macs(max_macs),
            population=population,
            parents=parents,
            mutation=mutation,
            seed=seed,
        )
    except ValueError as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from None
    photos = pools.Photos(data, split, drop_bad_boxes, device or "auto")
    with showing_progress():
        answer = pools.search(found, photos, out, rules=rules, generations=generations)
    return Answer(answer, lambda screen: _show(screen, answer))


def _space(source: str) -> tuple[SubnetSpace, int]:
    """Returns the subnets, and the number of resolutions, of a pool or of settings, which need no torch."""
    folder = Path(source)
    if (folder / "pool.json").is_file():
        from flows.inputs.pools import find

        found = find(folder)
        return found.space, len(found.settings.data.frames)
    from flows.inputs.settings_file import load

    kept = folder / SETTINGS_FILE
    settings = load(str(kept) if kept.is_file() else source)
    return settings.subnet_space, len(settings.data.frames)


def _one(
    found: FoundPool, text: str | None, *, largest: bool, smallest: bool, seed: int | None
) -> SubnetSpec:
    from flows.inputs.pools import choose

    return choose(found.space, text=text, largest=largest, smallest=smallest, seed=seed)


def _macs(text: str) -> int:
    """Parses ``150G`` as a whole number; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*([kMGT]?)", text)
    if not match:
        raise ValueError(f"max_macs must be a number such as 150G or 1.5e11, got {text!r}")
    return round(float(match[1]) * UNITS[match[2]])


def _show(screen: Console, answer: dict[str, Any]) -> None:
    """Prints the best subnets, then where the best one is."""
    rows = [
        (
            each["subnet"],
            each["resolution"],
            f"{each['ap']:.4f}",
            count(each["macs"]),
            count(each["params"]),
        )
        for each in answer["subnets"][:SHOWN]
    ]
    screen.print(table(["subnet", "resolution", "AP", "MACs", "params"], rows, left=2))
    screen.print(
        f"{answer['evaluated']} subnets were evaluated; the best is {answer['best']['folder']}",
        markup=False,
        soft_wrap=True,
    )
