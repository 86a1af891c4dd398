"""The studies whose arms are searches over the base and pool of a seed (paper, Tables 4, 5, 9 and 10)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from jdn_core.evaluation.complexity import complexity
from jdn_core.run import assemble, datasets, finetuning
from jdn_core.settings.whole import Settings
from jdn_core.studies.arms import Arm, Base, Bred, Piece, Pruning, Searched, Source, Taken
from jdn_core.studies.costs import images_of, macs_per_image
from jdn_core.studies.results import ArmResult
from jdn_core.studies.study import LOSSES, Study, regime_of, without_teacher
from jdn_core.studies.verdict import Comparison

STEP = 0.05  # share of the channels that a pruning down to a cost removes at a time (ours)
POPULATION = 20  # subnets a generation of the pool's search, at the most
Known = Mapping[str, ArmResult]


def _joint(settings: Settings) -> Searched:
    """The search as the settings have it."""
    return Searched(settings.search.iterations)


def _students_alone(settings: Settings) -> dict[str, object]:
    """What makes a search change students alone, under the largest teacher from its first pair on."""
    return {"student_probability": 1.0, "frozen_student_iterations": 0}


def _fixed(settings: Settings) -> Searched:
    return Searched(settings.search.iterations, search=tuple(_students_alone(settings).items()))


def _nas(settings: Settings) -> Searched:
    """A search of architectures alone for half of the pairs: channels stay, and nobody teaches."""
    changes = _students_alone(settings) | {"prune_shares": ()}
    silent = dict.fromkeys(LOSSES, 0.0)
    half = max(1, settings.search.iterations // 2)
    return Searched(half, search=tuple(changes.items()), distillation=tuple(silent.items()))


def _search_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    random = Searched(settings.search.iterations, search=(("parents", "any"),))
    named: dict[str, Source] = {
        "joint": _joint(settings),
        "random search": random,
        "largest teacher": _fixed(settings),
        "NAS": _nas(settings),
        "base": Base(),
    }
    return tuple(Arm(name, source, chosen_by="score") for name, source in named.items())


def _pipeline_arms(settings: Settings, known: Known) -> tuple[Arm, ...]:
    """Prunes to the cost of the joint search's result, then distils for what is left of its budget."""
    joint = known["joint"]
    if joint.numbers is None:
        return ()
    pruning = Pruning(STEP, max_macs=joint.numbers.macs_by[str(settings.data.frames[-1])])
    arms = []
    for name, before, source in (("prune-KD", "base", Base()), ("NAS-prune-KD", "NAS", _nas(settings))):
        left = joint.cost.image_macs - known[before].cost.image_macs
        piece = Piece(
            regime_of(settings.base, epochs=_affordable(settings, joint, left)),
            settings.distillation,
            settings.subnet_space.largest,
        )
        arms.append(Arm(name, source, pruning, (piece,), chosen_by="score"))
    return tuple(arms)


def _affordable(settings: Settings, joint: ArmResult, budget: float) -> int:
    """Returns for how many epochs a student of the joint result's cost can be distilled; one at least."""
    assert joint.numbers is not None
    costs = joint.numbers.macs_by.values()
    space, frames = settings.subnet_space, settings.data.frames
    teacher = space.detector_spec(space.largest, assemble.base_spec(settings))
    images = len(datasets.dataset(settings.data, "train").images)
    epoch = images_of(regime_of(settings.base, epochs=1), images)
    return max(1, round(budget / (epoch * (sum(costs) / len(costs) + macs_per_image(teacher, frames)))))


def _joint_compared(_: Settings) -> tuple[Comparison, ...]:
    deciding = ("prune-KD", "NAS-prune-KD", "random search")
    shown = ("base", "largest teacher")
    return tuple(
        Comparison(("joint",), (other,), measure="score", decides=other in deciding)
        for other in (*deciding, *shown)
    )


def _tuning_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """The search's result, and the same trained on for half of the base's epochs."""
    epochs = max(1, settings.base.epochs // 2)
    regime = regime_of(finetuning.regime_of(settings.evaluation, epochs=epochs))
    taught = Piece(regime, settings.distillation, settings.subnet_space.largest)
    alone = Piece(regime, without_teacher(settings))
    return (
        Arm("search's result", _joint(settings)),
        Arm("fine-tuned", _joint(settings), pieces=(taught,)),
        Arm("fine-tuned without teacher", _joint(settings), pieces=(alone,)),
    )


def _tuning_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("fine-tuned",), ("search's result",)),
        Comparison(("fine-tuned without teacher",), ("search's result",), decides=False),
    )


def _pool_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """The joint search, as many subnets of the pool in generations, and one subnet that is drawn.

    The pool's search keeps to the base's cost at the largest resolution, or that of its smallest subnet.
    """
    space, spec, pairs = settings.subnet_space, assemble.base_spec(settings), settings.search.iterations
    smallest = complexity(space.detector_spec(space.smallest, spec), settings.data.frames[0]).macs
    population = min(POPULATION, pairs)
    bound = max(complexity(spec, settings.data.frames[-1]).macs, smallest)
    bred = Bred(max(1, pairs // population), population, bound)
    drawn = Taken(space.draw(Random(settings.seed)), len(settings.pool.phases) - 1)
    return (
        Arm("joint", _joint(settings), chosen_by="score"),
        Arm("pool search", bred, chosen_by="score"),
        Arm("drawn subnet", drawn, chosen_by="score"),
    )


def _pool_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("joint",), ("pool search",), measure="score"),
        Comparison(("pool search",), ("drawn subnet",), measure="score"),
    )


STUDIES = (
    Study(
        "joint",
        "T4, T5",
        "The joint search beats pruning then distillation, architecture search then both, and random search, "
        "at equal budget.",
        "R101: 41.4 to 43.9 AP at 47 % less latency; above both pipelines by a large margin",
        (_search_arms, _pipeline_arms),
        _joint_compared,
    ),
    Study(
        "fine-tuning",
        "T9",
        "Training the result of a search on adds AP.",
        "a further improvement; the numbers are lost",
        (_tuning_arms,),
        _tuning_compared,
    ),
    Study(
        "pool-search",
        "T10",
        "Searching the pool itself works, and the joint search is better.",
        "the pool's search is more efficient, the joint search more accurate",
        (_pool_arms,),
        _pool_compared,
    ),
)
