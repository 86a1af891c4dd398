"""A pool that a user names: one of its subnets chosen, measured, taken out, or searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from flows.inputs import models
from flows.inputs.folders import writable
from flows.inputs.other_formats import in_coco
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector
from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE, save_detector
from jdn_core.errors import UsageError
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import POOL_FILE, PoolSpec, load_pool, load_pool_spec
from jdn_core.pool.supernet import SuperNet
from jdn_core.processes import devices
from jdn_core.run import datasets, fingerprint
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.search.evolution import EvolutionRules
from jdn_core.search.subnets import SubnetRecord, SubnetRecords
from jdn_core.settings.whole import Settings, parse
from jdn_core.space.architecture import Resolution
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from jdn_core.stages.bench import Bench
from jdn_core.stages.pool_assessment import assess, search_pool
from jdn_core.stages.pool_phase import calibrated_teacher
from jdn_core.storage import durable
from jdn_core.training.randomness import Stream

POOL_SEARCH_FILE = "pool_search.json"
BEST = "best"


@dataclass(frozen=True)
class FoundPool:
    """A pool on disk.

    Attributes:
        folder: its own.
        spec: what its file says.
        settings: those it was trained under.
    """

    folder: Path
    spec: PoolSpec
    settings: Settings

    @property
    def space(self) -> SubnetSpace:
        return self.spec.space


@dataclass(frozen=True)
class Photos:
    """What subnets are measured on.

    Attributes:
        root: dataset folder; its training split resets BN.
        split: ``train`` or ``val``, that AP is measured on.
        drop_bad_boxes: leave unusable boxes out.
        device: as the settings have it.
    """

    root: Path
    split: str = "val"
    drop_bad_boxes: bool = False
    device: str = "auto"


def find(source: Path) -> FoundPool:
    """Finds the pool in a folder of its own, or in the folder of the run that trained it.

    Raises:
        InputMissing: there is none.
        CheckpointError: its file is damaged.
    """
    folder = source / "pool" if (source / "pool" / POOL_FILE).is_file() else source
    spec = load_pool_spec(folder)
    return FoundPool(folder, spec, parse(spec.origin.settings, source=POOL_FILE))


def choose(
    space: SubnetSpace, *, text: str | None, largest: bool, smallest: bool, seed: int | None
) -> SubnetSpec:
    """Returns the one subnet that was asked for; the largest where nothing was.

    Raises:
        UsageError: several were asked for, or the text names none of the space.
    """
    asked = [text is not None, largest, smallest, seed is not None]
    if sum(asked) > 1:
        raise UsageError("give one of --subnet, --largest, --smallest and --seed")
    if text is not None:
        try:
            subnet = SubnetSpec.parse(text)
        except ValueError as error:
            raise UsageError(f"--subnet: {error}") from None
        if subnet not in space:
            what = f"is not in the pool, whose depths are {space.depths} and widths {space.widths}"
            raise UsageError(f"--subnet: {subnet} {what}")
        return subnet
    if seed is not None:
        return space.draw(Random(seed))
    return space.smallest if smallest else space.largest


def bench(found: FoundPool, photos: Photos) -> Bench:
    """Loads data; the calibration set is that of the pool's own searches where the data is the same.

    Raises:
        DataError: the dataset's classes are not the pool's.
    """
    photos = replace(photos, root=in_coco(photos.root, drop_bad_boxes=photos.drop_bad_boxes))
    data = found.settings.data.model_copy(
        update={
            "root": photos.root,
            "drop_bad_boxes": photos.drop_bad_boxes or found.settings.data.drop_bad_boxes,
        }
    )
    judged = models.read_split(photos.root, photos.split, drop_bad_boxes=data.drop_bad_boxes)
    categories = models.match_classes(found.spec.template.classes, judged.categories)
    return Bench(
        train=BatchLoader(datasets.dataset(data, "train"), cache_mb=data.cache_mb // 2),
        val=BatchLoader(replace(judged, categories=categories), cache_mb=data.cache_mb // 2),
        frames=data.frames,
        flip=data.flip,
        device=devices.choose(photos.device),
        stream=Stream((found.settings.seed,)),
    )


def calibrated(found: FoundPool, supernet: SuperNet, subnet: SubnetSpec, place: Bench) -> Detector:
    """Extracts a subnet as a plain detector and resets its BN as the pool's settings want it."""
    return calibrated_teacher(supernet, subnet, place, images=found.settings.pool.calibration_images)


def evaluate(
    found: FoundPool,
    subnet: SubnetSpec,
    photos: Photos,
    *,
    frames: Sequence[Resolution] = (),
    before: bool = False,
) -> dict[str, Any]:
    """Measures one subnet after BN reset, and with ``before`` also its AP under the pool's own statistics.

    ``resolution``, ``ap`` and ``macs`` are at the largest frame; no frames mean the pool's.
    """
    place = bench(found, photos)
    wanted = tuple(frames) or place.frames
    supernet = load_pool(found.folder)
    detector = calibrated(found, supernet, subnet, place)
    answer = _at(assess(detector, subnet, place, frames=wanted), str(wanted[-1]))
    if before:
        raw = extract(supernet, subnet).to(place.device)
        without = _at(assess(raw, subnet, place, frames=wanted), str(wanted[-1]))
        answer |= {f"{name}_before": without[name] for name in ("ap", "ap_by_resolution")}
    return answer | {"split": photos.split, "images": len(place.val.dataset.images)}


def take_out(found: FoundPool, subnet: SubnetSpec, out: Path, photos: Photos | None) -> dict[str, Any]:
    """Makes a subnet a detector's folder; without photos it keeps the BN statistics that all subnets share.

    Raises:
        UsageError: the folder holds a detector, a pool or weights already.
        StorageError: it cannot be written.
    """
    if taken := next((name for name in (SPEC_FILE, POOL_FILE, WEIGHTS_FILE) if (out / name).exists()), None):
        raise UsageError(f"{out} holds {taken} already; choose another --out")
    supernet = load_pool(found.folder)
    detector = extract(supernet, subnet)
    if photos is not None:
        detector = calibrated(found, supernet, subnet, bench(found, photos))
    written = save_detector(detector, writable(out))
    return {
        "subnet": str(subnet),
        "out": str(out),
        "sha256": written.sha256,
        "bn_reset": photos is not None,
    }


def search(
    found: FoundPool, photos: Photos, out: Path, *, rules: EvolutionRules, generations: int
) -> dict[str, Any]:
    """Searches the pool itself; the same command in the same folder goes on where it stopped.

    Raises:
        UsageError: the folder holds a search over pairs.
        FingerprintError: it was begun with other rules, data, pool or versions.
        OwnedByAnother: another process searches in the folder.
    """
    out = writable(out)
    if (out / SETTINGS_FILE).exists():
        raise UsageError(f"{out} holds another run already; choose another --out")
    place = bench(found, photos)
    with durable.own(out):
        durable.clean_leftovers(out)
        fingerprint.require_same(out / POOL_SEARCH_FILE, _fingerprint(found, place, photos, rules))
        supernet = load_pool(found.folder)
        ranking = search_pool(
            supernet,
            place,
            rules=rules,
            generations=generations,
            images=found.settings.pool.calibration_images,
            records=SubnetRecords(out / "subnets"),
        )
        best = ranking[0]
        detector = calibrated(found, supernet, best.subnet, place)
        detector.spec = replace(detector.spec, resolution=Resolution.parse(best.resolution))
        save_detector(detector, out / BEST)
    return {
        "out": str(out),
        "best": best.to_json() | {"folder": str(out / BEST)},
        "evaluated": len(ranking),
        "subnets": [record.to_json() for record in ranking],
    }


def _at(record: SubnetRecord, frame: str) -> dict[str, Any]:
    """Returns the JSON of a record with its numbers at one frame instead of the best."""
    return record.to_json() | {"resolution": frame, "ap": record.ap[frame], "macs": record.macs[frame]}


def _fingerprint(found: FoundPool, place: Bench, photos: Photos, rules: EvolutionRules) -> Mapping[str, Any]:
    """Returns all that a pool search's results depend on, apart from the machine."""
    return {
        "pool": found.spec.sha256,
        "train": place.train_set.fingerprint,
        photos.split: place.val.dataset.fingerprint,
        "resolutions": [str(frame) for frame in rules.frames],
        "max_macs": rules.max_macs,
        "population": rules.population,
        "parents": rules.parents,
        "mutation": rules.mutation,
        "seed": rules.seed,
        **fingerprint.versions(),
    }
