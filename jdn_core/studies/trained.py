"""The studies whose arms are trainings of given architectures (Tables 1-3, 11, 12; Figures 4, 5, 10, 11)."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from random import Random

from jdn_core.evaluation.complexity import complexity
from jdn_core.run import assemble
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.settings.whole import Settings
from jdn_core.space.teachers import SubnetSpec
from jdn_core.studies.arms import Arm, Base, Fresh, Piece, Pruning, Taken
from jdn_core.studies.results import ArmResult
from jdn_core.studies.study import LOSSES, NO_WORSE, Study, regime_of, weighing, without_teacher
from jdn_core.studies.verdict import Comparison

CROWD = 64  # drawn subnets of which the one of middle cost is taken
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the channels that are pruned
KEPT, NEAR = -0.003, -0.03  # what a pool's largest may lose, and how far its smallest may be behind (ours)
WIDTHS = {"small": 0.5, "medium": 0.75, "large": 1.0}  # of the students that are matched with teachers
Known = Mapping[str, ArmResult]


def _subnets(settings: Settings) -> dict[str, SubnetSpec]:
    """Returns the smallest subnet, the one of middle cost among some that are drawn, and the largest."""
    space, template = settings.subnet_space, assemble.base_spec(settings)

    def macs(subnet: SubnetSpec) -> tuple[int, str]:
        spec = space.detector_spec(subnet, template)
        return complexity(spec, spec.resolution).macs, str(subnet)

    rng = Random(0)  # the same under every seed, for its arms are compared over seeds
    ranked = sorted({space.draw(rng) for _ in range(CROWD)}, key=macs)
    return {"smallest": space.smallest, "middle": ranked[len(ranked) // 2], "largest": space.largest}


def _pool_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """Subnets out of the pool, the same trained alone as long as the pool, and the largest after phase 1.

    Trained alone is with the rates of what begins from scratch, as they do: of the pool's first phase, or of
    the base that the pool began as.
    """
    phases, subnets, begins_as_base = (
        settings.pool.phases,
        _subnets(settings),
        settings.pool.start == "base",
    )
    last, epochs = len(phases) - 1, sum(phase.epochs for phase in phases)
    regime = settings.base if begins_as_base else phases[0]
    alone = regime_of(regime, epochs=epochs + (settings.base.epochs if begins_as_base else 0))
    pieces = (Piece(alone, without_teacher(settings)),)
    return (
        *(Arm(f"pool {name}", Taken(subnet, last)) for name, subnet in subnets.items()),
        *(Arm(f"alone {name}", Fresh(subnet=subnet), pieces=pieces) for name, subnet in subnets.items()),
        Arm("largest after phase 1", Taken(subnets["largest"], 0)),
        Arm("smallest without BN reset", Taken(subnets["smallest"], last, bn_reset=False)),
    )


def _pool_compared(settings: Settings) -> tuple[Comparison, ...]:
    names = ("smallest", "middle", "largest")
    pool, alone = (tuple(f"{kind} {name}" for name in names) for kind in ("pool", "alone"))
    return (
        Comparison(pool, alone, least=NO_WORSE),
        Comparison(("pool largest",), ("largest after phase 1",), least=KEPT),
        Comparison(("pool smallest",), ("alone smallest",), least=NEAR),
        Comparison(("pool smallest",), ("smallest without BN reset",), decides=False),
    )


def _pruning_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """The base pruned by several shares, and unpruned, each trained on for one evaluation."""
    pieces = (Piece(regime_of(settings.evaluation), without_teacher(settings)),)
    pruned = (Arm(_share(each), Base(), Pruning(each), pieces) for each in SHARES)
    return (Arm(_share(0), Base(), pieces=pieces), *pruned)


def _pruning_compared(_: Settings) -> tuple[Comparison, ...]:
    main = Comparison((_share(0.3),), (_share(0),), least=NO_WORSE)
    others = (Comparison((_share(s),), (_share(0),), NO_WORSE, decides=False) for s in SHARES if s != 0.3)
    return (main, *others)


def _share(share: float) -> str:
    return f"{share:.0%} pruned"


def _distilled(settings: Settings, name: str, distillation: DistillationSettings) -> Arm:
    """The base's architecture from scratch, under the base's regime and the pool's largest subnet."""
    piece = Piece(regime_of(settings.base), distillation, settings.subnet_space.largest)
    return Arm(name, Fresh(), pieces=(piece,))


def _teacher(settings: Settings) -> Arm:
    """The largest teacher itself: with none better than its student there is little to teach."""
    return Arm("the teacher itself", Taken(settings.subnet_space.largest, len(settings.pool.phases) - 1))


def _parts_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    return (
        Arm("no teacher", Base()),
        _teacher(settings),
        _distilled(settings, "all losses", weighing(settings, *LOSSES)),
        _distilled(settings, "RoI features", weighing(settings, "feature")),
        _distilled(settings, "prediction", weighing(settings, "classification", "localisation")),
    )


def _parts_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("all losses",), ("no teacher",)),
        Comparison(("RoI features",), ("no teacher",), decides=False),
        Comparison(("prediction",), ("no teacher",), decides=False),
    )


def _features_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """Features alone, of the shared proposals or of the cells inside the boxes, as masks of older methods."""
    alone = weighing(settings, "feature")
    rois, boxes = (alone.model_copy(update={"feature_form": form}) for form in ("rois", "boxes"))
    return (
        Arm("no teacher", Base()),
        _distilled(settings, "RoI features", rois),
        _distilled(settings, "features inside boxes", boxes),
    )


def _features_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("RoI features",), ("features inside boxes",)),
        Comparison(("features inside boxes",), ("no teacher",), decides=False),
    )


def _localisation_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    whole = weighing(settings, *LOSSES)
    plain, aware = (whole.model_copy(update={"localisation_form": form}) for form in ("l1", "class_aware"))
    return (
        Arm("no teacher", Base()),
        _distilled(settings, "class-aware", aware),
        _distilled(settings, "plain L1", plain),
        _distilled(settings, "without localisation", weighing(settings, "feature", "classification")),
    )


def _localisation_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("class-aware",), ("plain L1",)),
        Comparison(("class-aware",), ("without localisation",), decides=False),
        Comparison(("class-aware",), ("no teacher",), decides=False),
    )


def _evaluations(settings: Settings) -> int:
    """Returns how many evaluations are as long as the base's training, two at least."""
    return max(2, ceil(settings.base.epochs / settings.evaluation.epochs))


def _in_a_row(settings: Settings, name: str, teachers: list[SubnetSpec]) -> Arm:
    """The unchanged base through one evaluation for each teacher."""
    regime, taught = regime_of(settings.evaluation), weighing(settings, *LOSSES)
    return Arm(name, Base(), pieces=tuple(Piece(regime, taught, each) for each in teachers))


def _teacher_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """The same evaluations under the largest teacher, and each under one that is drawn (paper, 4.1.2)."""
    space, rng, count = settings.subnet_space, Random(settings.seed), _evaluations(settings)
    return (
        _in_a_row(settings, "dynamic teacher", [space.draw(rng) for _ in range(count)]),
        _in_a_row(settings, "largest teacher", [space.largest] * count),
        Arm("before", Base()),
        _teacher(settings),
    )


def _teacher_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("dynamic teacher",), ("largest teacher",)),
        Comparison(("dynamic teacher",), ("before",), decides=False),
    )


def _iterative_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """Many evaluations under the largest teacher, and one training of as many steps (paper, Figure 10)."""
    largest, count = settings.subnet_space.largest, _evaluations(settings)
    whole = regime_of(settings.evaluation, epochs=count * settings.evaluation.epochs)
    return (
        _in_a_row(settings, "iterative", [largest] * count),
        Arm("full training", Base(), pieces=(Piece(whole, weighing(settings, *LOSSES), largest),)),
        Arm("before", Base()),
    )


def _iterative_compared(_: Settings) -> tuple[Comparison, ...]:
    return (
        Comparison(("iterative",), ("full training",), least=NO_WORSE),
        Comparison(("full training",), ("before",), decides=False),
    )


def _sparsity_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """The base, and the same trained without the L1 term on BN weights."""
    dense = weighing(settings).model_copy(update={"sparsity": 0.0})
    pieces = (Piece(regime_of(settings.base), dense),)
    return (Arm("with the term", Base()), Arm("without the term", Fresh(), pieces=pieces))


def _sparsity_compared(_: Settings) -> tuple[Comparison, ...]:
    arms = ("without the term",), ("with the term",)
    return (Comparison(*arms, measure="BN weight"), Comparison(*arms, decides=False))


def _matching_arms(settings: Settings, _: Known) -> tuple[Arm, ...]:
    """Students of three widths from scratch, each under the smallest and under the largest teacher."""
    space, regime = settings.subnet_space, regime_of(settings.base)
    teachers = {"smallest": space.smallest, "largest": space.largest}
    return tuple(
        Arm(_match(size, name), Fresh(width), pieces=(Piece(regime, weighing(settings, *LOSSES), teacher),))
        for size, width in WIDTHS.items()
        for name, teacher in teachers.items()
    )


def _matching_compared(_: Settings) -> tuple[Comparison, ...]:
    """Whether the small student gains more by the small teacher than the large student does."""
    matched = (_match("small", "smallest"), _match("large", "largest"))
    crossed = (_match("small", "largest"), _match("large", "smallest"))
    each = (
        Comparison((_match(size, "smallest"),), (_match(size, "largest"),), decides=False) for size in WIDTHS
    )
    return (Comparison(matched, crossed), *each)


def _match(student: str, teacher: str) -> str:
    return f"{student} student, {teacher} teacher"


STUDIES = (
    Study(
        "pool-quality",
        "T1",
        "Subnets straight out of the pool are as good as the same nets trained alone; the largest loses at "
        "most 0.3 points while the pool shrinks, and the smallest is within 3 points.",
        "sampled subnets consistently outperform the same detectors trained alone",
        (_pool_arms,),
        _pool_compared,
    ),
    Study(
        "pruning",
        "T2",
        "30 % of the channels can go with little loss after one short training.",
        "comparable to the original at 30 %",
        (_pruning_arms,),
        _pruning_compared,
    ),
    Study(
        "distillation",
        "T3",
        "Distillation by RoI features and predictions raises AP.",
        "by a large margin over other methods; the numbers are lost",
        (_parts_arms,),
        _parts_compared,
    ),
    Study(
        "features",
        "T11",
        "Features of the shared proposals distil better than features inside the ground-truth boxes.",
        "the most gain of all forms; the numbers are lost",
        (_features_arms,),
        _features_compared,
    ),
    Study(
        "localisation",
        "T12",
        "Class-aware localisation distils better than plain L1 on the deltas.",
        "a noticeable improvement; the numbers are lost",
        (_localisation_arms,),
        _localisation_compared,
    ),
    Study(
        "dynamic-teacher",
        "F4",
        "A teacher that changes with every evaluation beats the largest one.",
        "a higher final AP, sooner; the numbers are lost",
        (_teacher_arms,),
        _teacher_compared,
    ),
    Study(
        "iterative",
        "F10",
        "Many short trainings in a row end where one training of as many steps ends.",
        "on par",
        (_iterative_arms,),
        _iterative_compared,
    ),
    Study(
        "sparsity",
        "F11",
        "The sparsity term draws the BN weights of the backbone towards zero.",
        "more weights are close to 0",
        (_sparsity_arms,),
        _sparsity_compared,
    ),
    Study(
        "teacher-size",
        "F5",
        "Smaller students match smaller teachers.",
        "a clear pattern",
        (_matching_arms,),
        _matching_compared,
    ),
)
