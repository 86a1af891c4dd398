"""Are a pool's subnets, straight out of it, as good as the same detectors trained alone (paper, Table 1)?

Also shown is what BN reset does for drawn subnets. AP is the mean over the pool's resolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from flows.inputs import pools
from flows.inputs.folders import writable
from jdn_core.detector.build import Detector, build
from jdn_core.errors import UsageError
from jdn_core.evaluation.complexity import complexity
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import load_pool
from jdn_core.run import fingerprint
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.search.subnets import SubnetRecord, SubnetRecords
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.teachers import SubnetSpec
from jdn_core.stages.base_training import fit_base
from jdn_core.stages.bench import Bench
from jdn_core.stages.pool_assessment import assess
from jdn_core.storage import durable
from jdn_core.training.checkpoints import Checkpoints

STUDY_FILE = "pool_quality.json"
CROWD = 64  # drawn subnets among which those that are trained alone are spread by cost


@dataclass(frozen=True)
class Plan:
    """How much is tried.

    Attributes:
        drawn: subnets whose AP is measured before and after BN reset.
        alone: subnets, from small to large, that are trained alone too; two at least.
        epochs: of those trainings; none: as many as the pool's last phase has.
        seed: of the draws.
    """

    drawn: int = 10
    alone: int = 6
    epochs: int | None = None
    seed: int = 0


def pool_quality(found: pools.FoundPool, photos: pools.Photos, out: Path, plan: Plan) -> dict[str, Any]:
    """Measures both tables and the verdict; in the same folder it goes on where it stopped.

    Trained alone is with the rates of the pool's first phase, which begins from scratch as they do: those of
    the later ones are for weights that are trained already.

    Raises:
        UsageError: the folder holds another run.
        FingerprintError: it was begun with another plan, data, pool or versions.
        OwnedByAnother: another process works in the folder.
    """
    out = writable(out)
    if (out / SETTINGS_FILE).exists():
        raise UsageError(f"{out} holds another run already; choose another --out")
    place, phases = pools.bench(found, photos), found.settings.pool.phases
    regime = phases[0].model_copy(update={"epochs": plan.epochs or phases[-1].epochs})
    with durable.own(out):
        durable.clean_leftovers(out)
        fingerprint.require_same(out / STUDY_FILE, _fingerprint(found, place, photos, regime))
        supernet = load_pool(found.folder)

        def measured(kind: str, subnet: SubnetSpec, make: Callable[[], Detector]) -> SubnetRecord:
            records = SubnetRecords(out / kind)
            if (record := records.get(subnet)) is None:
                record = assess(make(), subnet, place, frames=place.frames)
                records.put(record)
            return record

        def raw(subnet: SubnetSpec) -> SubnetRecord:
            return measured("raw", subnet, lambda: extract(supernet, subnet).to(place.device))

        def reset(subnet: SubnetSpec) -> SubnetRecord:
            return measured("reset", subnet, lambda: pools.calibrated(found, supernet, subnet, place))

        def alone(subnet: SubnetSpec) -> SubnetRecord:
            return measured("alone", subnet, lambda: _trained(found, subnet, place, regime, out))

        before_after = [(raw(subnet), reset(subnet)) for subnet in _drawn(found, plan)]
        pool_alone = [(reset(subnet), alone(subnet)) for subnet in _spread(found, plan)]
    rows = [_row(old, new, "ap_before", "ap_after") for old, new in before_after]
    pairs = [_row(pool, own, "ap_pool", "ap_alone") for pool, own in pool_alone]
    return {"study": "pool-quality", "out": str(out), "epochs_alone": regime.epochs} | _verdict(rows, pairs)


def _verdict(rows: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the tables with their means; ``holds``: the pool's subnets are as good on average."""
    gain = mean(row["ap_after"] - row["ap_before"] for row in rows)
    lead = mean(row["ap_pool"] - row["ap_alone"] for row in pairs)
    return {
        "bn_reset": rows,
        "bn_reset_gain": gain,
        "alone": pairs,
        "pool_lead": lead,
        "pool_wins": sum(row["ap_pool"] >= row["ap_alone"] for row in pairs),
        "holds": lead >= 0,
    }


def _drawn(found: pools.FoundPool, plan: Plan) -> list[SubnetSpec]:
    rng = Random(plan.seed)
    return [found.space.draw(rng) for _ in range(plan.drawn)]


def _spread(found: pools.FoundPool, plan: Plan) -> list[SubnetSpec]:
    """Returns the smallest, the largest, and drawn ones between, at even steps of the rank by cost."""
    space, rng = found.space, Random(plan.seed)
    frame = found.settings.data.frames[-1]

    def macs(subnet: SubnetSpec) -> int:
        return complexity(space.detector_spec(subnet, found.spec.template), frame).macs

    crowd = {space.smallest, space.largest, *(space.draw(rng) for _ in range(CROWD))}
    ranked = sorted(crowd, key=lambda subnet: (macs(subnet), str(subnet)))
    return [ranked[round(i * (len(ranked) - 1) / (plan.alone - 1))] for i in range(plan.alone)]


def _trained(
    found: pools.FoundPool, subnet: SubnetSpec, place: Bench, regime: TrainingSettings, out: Path
) -> Detector:
    """Trains the subnet's architecture from scratch, without a teacher, over the same data."""
    name = str(subnet).replace(" ", "_")
    checkpoints = Checkpoints(out / "work" / name, identity=name)
    spec = found.space.detector_spec(subnet, found.spec.template)
    detector, _ = fit_base(lambda: build(spec), place, regime=regime, sparsity=0.0, checkpoints=checkpoints)
    return detector


def _row(first: SubnetRecord, second: SubnetRecord, one: str, other: str) -> dict[str, Any]:
    frame = max(first.macs, key=lambda frame: first.macs[frame])
    aps = {one: mean(first.ap.values()), other: mean(second.ap.values())}
    return {"subnet": str(first.subnet), "macs": first.macs[frame], "params": first.params, **aps}


def _fingerprint(
    found: pools.FoundPool, place: Bench, photos: pools.Photos, regime: TrainingSettings
) -> Mapping[str, Any]:
    """Returns what a record of this study depends on; more subnets only add to them."""
    return {
        "pool": found.spec.sha256,
        "train": place.train_set.fingerprint,
        photos.split: place.val.dataset.fingerprint,
        "epochs": regime.epochs,
        **fingerprint.versions(),
    }
