"""Evolutionary search over the pool itself, without a student (paper, Table 10).

The paper gives no settings of it, so they are ours; the scheme is that of single-path supernets: the best
subnets so far are crossed and mutated, and what costs too much is never evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from jdn_core.evaluation.complexity import complexity
from jdn_core.search.subnets import SubnetRecord
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.chance import pick
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from jdn_core.storage.canonical import content_key

TRIES = 20  # draws per wanted child before a generation stays smaller, where the space is nearly used up
Genes = Sequence[float]  # depths of the four stages; factors of stem, stages and neck


@dataclass(frozen=True)
class EvolutionRules:
    """Everything but the results that decides which subnets are tried.

    Attributes:
        space: the subnets.
        template: of their detectors, whose cost is bounded.
        frames: resolutions a subnet may detect at, smallest area first.
        max_macs: most multiply-accumulates of a subnet at one frame at least; none: no bound.
        population: subnets a generation (ours).
        parents: how many of the best so far have children (ours).
        mutation: chance that a slot of a mutated child is drawn anew, in (0, 1] (ours).
        seed: of every draw.
    """

    space: SubnetSpace
    template: DetectorSpec
    frames: tuple[Resolution, ...]
    max_macs: int | None = None
    population: int = 20
    parents: int = 5
    mutation: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("population", "parents"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.mutation <= 1:
            raise ValueError(f"mutation must be in (0, 1], got {self.mutation}")
        if not self.fits(self.space.smallest):
            least = self.macs(self.space.smallest, self.frames[0])
            what = f"max_macs must be >= {least}, the cost of the smallest subnet at {self.frames[0]}"
            raise ValueError(f"{what}, got {self.max_macs}")

    def macs(self, subnet: SubnetSpec, frame: Resolution) -> int:
        """Counts the cost of a subnet's whole detector, from its specification alone."""
        return complexity(self.space.detector_spec(subnet, self.template), frame).macs

    def fits(self, subnet: SubnetSpec, frame: Resolution | None = None) -> bool:
        """Returns whether a subnet keeps to the bound at a frame; none: at the cheapest."""
        return self.max_macs is None or self.macs(subnet, frame or self.frames[0]) <= self.max_macs

    def affordable(self, subnet: SubnetSpec) -> tuple[Resolution, ...]:
        """Returns the frames at which a subnet keeps to the bound, smallest area first."""
        return tuple(frame for frame in self.frames if self.fits(subnet, frame))


def ranked(records: Iterable[SubnetRecord]) -> tuple[SubnetRecord, ...]:
    """Returns best first: highest AP at any affordable frame, then lowest cost."""
    return tuple(sorted(records, key=lambda record: record.order))


def breed(rules: EvolutionRules, number: int, *, known: Collection[SubnetRecord]) -> tuple[SubnetSpec, ...]:
    """Breeds a generation: a function of the rules, the number and the earlier generations' results.

    The first generation is drawn uniformly. A later child is, by an even chance, a cross of two of the best
    subnets, slot by slot, or a mutant of one. A child over the bound loses steps in random slots until it
    fits; one that is known already is not taken.

    Args:
        rules: of the search.
        number: of the generation, from 0.
        known: records of all earlier generations; of generation 0 there are none.

    Returns:
        ``rules.population`` subnets, fewer where the space has hardly any new ones; none ends the search.
    """
    rng = Random(content_key([rules.seed, "evolution", number]))
    best = [record.subnet for record in ranked(known)][: rules.parents]
    tried = {record.subnet for record in known}
    children: list[SubnetSpec] = []
    for _ in range(TRIES * rules.population):
        child = _fitted(rng, _child(rng, best, rules), rules)
        if child not in tried:
            tried.add(child)
            children.append(child)
        if len(children) == rules.population:
            break
    return tuple(children)


def _child(rng: Random, parents: Sequence[SubnetSpec], rules: EvolutionRules) -> SubnetSpec:
    """Returns one more subnet, whatever it costs."""
    if not parents:
        return rules.space.draw(rng)
    first, slots = _genes(pick(rng, parents)), _slots(rules.space)
    if rng.random() < 0.5:
        second = _genes(pick(rng, parents))
        return _subnet([pick(rng, pair) for pair in zip(first, second, strict=True)], rules.space)
    genes = [
        pick(rng, slot) if rng.random() < rules.mutation else gene
        for gene, slot in zip(first, slots, strict=True)
    ]
    return _subnet(genes, rules.space)


def _fitted(rng: Random, subnet: SubnetSpec, rules: EvolutionRules) -> SubnetSpec:
    """Returns the subnet, smaller by as many single steps as the bound asks for."""
    slots, genes = _slots(rules.space), list(_genes(subnet))
    while not rules.fits(_subnet(genes, rules.space)):
        place = pick(rng, [i for i, gene in enumerate(genes) if gene > slots[i][0]])
        genes[place] = slots[place][slots[place].index(genes[place]) - 1]
    return _subnet(genes, rules.space)


def _slots(space: SubnetSpace) -> tuple[tuple[float, ...], ...]:
    """Returns the values of every gene, rising."""
    depths = tuple(tuple(range(least, most + 1)) for least, most in space.depths)
    return (*depths, *(space.widths,) * 6)


def _genes(subnet: SubnetSpec) -> Genes:
    return (*subnet.depths, subnet.stem, *subnet.widths, subnet.neck)


def _subnet(genes: Genes, space: SubnetSpace) -> SubnetSpec:
    a, b, c, d, stem, e, f, g, h, neck = genes
    return space.tied(SubnetSpec((int(a), int(b), int(c), int(d)), stem, (e, f, g, h), neck))
