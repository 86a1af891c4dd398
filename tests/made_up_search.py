"""A search as it could have gone, made of real values without training, for tables, pages and trackers."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from jdn_core.evaluation.complexity import complexity
from jdn_core.run import assemble
from jdn_core.run.folder import Run
from jdn_core.run.outcome import Outcome
from jdn_core.search import held_out
from jdn_core.search.contenders import ContenderRecord, winner
from jdn_core.search.held_out import Difference, HeldOut
from jdn_core.search.pairs import Evaluation, Measurement, Pair, PairRecord, Timing
from jdn_core.search.score import Grade
from jdn_core.search.standing import Standing
from jdn_core.space.actions import AddLayer, PruneChannels, Rearrange, apply, key, legal
from jdn_core.space.architecture import BackboneSpec, BlockSpec, DetectorSpec, RegionSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage import durable

FRAMES = (Resolution(96, 96), Resolution(128, 96), Resolution(160, 120))
CLASSES = ((1, "circle"), (2, "square <b>"), (7, "star & moon"))
SPACE = SubnetSpace(depths=((2, 3), (2, 3), (2, 4), (2, 3)), width=0.25, neck=32, head=64)
COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def base_spec() -> DetectorSpec:
    region = RegionSpec(train_proposals=(200, 100), proposals=(100, 50))
    return DetectorSpec(
        family("r18", width=0.5), CLASSES, neck=32, head=64, region=region, resolution=FRAMES[-1]
    )


def make_records(count: int, *, search: str = "shapes", failing: Collection[int] = ()) -> list[PairRecord]:
    """``count`` records of hill climbing by chance; the indices in ``failing`` have no evaluation."""
    draw = random.Random(3)
    done = [_done(Pair(search, 0, 3, None, "base", base_spec(), SPACE.largest), ap=0.44)]
    failed = []
    for index in range(1, count):
        parent = max(draw.sample(done, k=min(3, len(done))), key=_ap)
        pair = _child(parent.pair, index, draw)
        if index in failing:
            failed.append(
                PairRecord(pair, "failed", reason="nan: epoch 2 step 17 lr 0.01 last finite loss 3.2")
            )
        else:
            done.append(_done(pair, ap=min(0.7, max(0.05, _ap(parent) + draw.gauss(0.002, 0.01)))))
    return sorted(done + failed, key=lambda record: record.pair.index)


def keep(record: PairRecord, folder: Path, *, weights: bytes = b"weights") -> PairRecord:
    """Writes a record's folder under ``folder/pairs`` and gives the record with the hashes of its files."""
    place = folder / "pairs" / record.pair.key
    place.mkdir(parents=True)
    if record.state == "done":
        files = {
            "detector.json": json.dumps(record.pair.student.to_json()).encode(),
            "weights.safetensors": weights,
        }
        files["detections.png"] = b"\x89PNG"
        for name, content in files.items():
            (place / name).write_bytes(content)
        record = replace(
            record, files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        )
    durable.write_json(place / "pair.json", record.to_json(), indent=None, seal=True)
    return record


def _ap(record: PairRecord) -> float:
    assert record.evaluation is not None
    return record.evaluation.measurements[-1].ap


def _done(pair: Pair, *, ap: float) -> PairRecord:
    measurements = tuple(
        Measurement(frame, _coco(ap * (0.8 + 0.1 * place)), complexity(pair.student, frame).macs)
        for place, frame in enumerate(FRAMES)
    )
    latency = {str(m.resolution): 2.0 + m.macs / 1e8 for m in measurements}
    timing = Timing(
        latency,
        train_seconds=9.0 + pair.index % 5,
        finished=1.79e9 + 10 * pair.index,
        device="cpu",
        threads=2,
    )
    losses = {"loss_classifier": (0.9, 0.6, 0.5), "loss_box_reg": (0.5, 0.4, 0.3), "feature": (0.2, 0.1, 0.1)}
    params = complexity(pair.student, FRAMES[-1]).params
    weights = hashlib.sha256(pair.key.encode()).hexdigest()
    return PairRecord(pair, "done", Evaluation(measurements, params, losses, {}, weights, timing))


def _coco(ap: float) -> dict[str, float]:
    factors = (1.0, 1.6, 1.1, 0.5, 1.0, 1.2, 0.7, 1.1, 1.2, 0.6, 1.1, 1.3)
    return {name: min(1.0, ap * factor) for name, factor in zip(COCO, factors, strict=True)}


def _child(parent: Pair, index: int, draw: random.Random) -> Pair:
    if draw.random() < 0.5:
        action, teacher = draw.choice(SPACE.mutations(parent.teacher))
        return replace(parent, index=index, parent=parent.key, action=action, teacher=teacher)
    spec = parent.student
    chosen = draw.choice(legal(spec, prune_shares=(0.05, 0.1)))
    if isinstance(chosen, AddLayer | Rearrange):
        student = apply(spec, chosen)
    else:
        student = replace(spec, backbone=_thinner(spec.backbone, chosen))
    return replace(parent, index=index, parent=parent.key, action=key(chosen), student=student)


def _thinner(spec: BackboneSpec, action: object) -> BackboneSpec:
    """Inner channels cut by a share: near enough to pruning for a table."""
    share = action.share if isinstance(action, PruneChannels) else 0.15

    def cut(block: BlockSpec) -> BlockSpec:
        return replace(block, channels=(max(1, round(block.channels[0] * (1 - share))), *block.channels[1:]))

    return replace(spec, stages=tuple(tuple(map(cut, blocks)) for blocks in spec.stages))


def keep_contenders(run: Run, records: Sequence[PairRecord], **factors: float) -> Outcome:
    """Writes contenders that cost what the winner costs and have ``factor`` times its AP; 0: it failed."""
    standing = Standing(run.settings.score, records)
    best = winner(standing).record
    assert best.evaluation is not None
    for contender in assemble.contenders(run.settings, standing):
        factor = factors[contender.name]
        measured = tuple(
            replace(each, coco={**each.coco, "AP": factor * each.ap}) for each in best.evaluation.measurements
        )
        weights = hashlib.sha256(contender.key.encode()).hexdigest()
        evaluation = replace(best.evaluation, measurements=measured, weights=weights)
        record = ContenderRecord(contender, best.pair.student, evaluation)
        if not factor:
            record = ContenderRecord(contender, reason="oom: peak 2 GiB")
        run.contenders.commit(record, run.contenders.staging(contender.name))
    return Outcome(run, standing)


def keep_held_out(outcome: Outcome, *, boxes: int = 900, missing: tuple[str, ...] = ()) -> HeldOut:
    """Writes held-out numbers: half of what each detector has on the search's own photos."""

    def half(grade: Grade | None) -> Measurement:
        assert grade is not None
        return replace(grade.measurement, coco={**grade.measurement.coco, "AP": grade.measurement.ap / 2})

    measured = {"base": half(outcome.base.grade)} | {each.name: half(each.grade) for each in outcome.entrants}
    result = outcome.result.name
    differences = tuple(
        Difference(name, measured[result].ap - each.ap, (-0.01, 0.05))
        for name, each in measured.items()
        if name != result
    )
    found = HeldOut(outcome.key, 34, boxes, missing, measured, measured["base"], result, differences)
    held_out.write(outcome.run.held_out, found)
    return found
