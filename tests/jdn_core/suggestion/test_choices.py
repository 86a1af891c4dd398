from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jdn_core.settings.whole import Settings, parse
from jdn_core.suggestion.choices import SLIM, Begin, Setting, suggest
from jdn_core.suggestion.machine import GIB, Machine, look
from jdn_core.suggestion.survey import Survey
from tests.jdn_core.suggestion.test_frames import photos

CPU = Machine(cores=2, memory=24 * GIB)
GPU = Machine(cores=16, memory=128 * GIB, gpu="A GPU", gpu_memory=80 * GIB)
WHOLE = Begin("r50", "w.pth", "torchvision's r50", shapes=3, is_whole=True, knows_classes=True)


def setting(*, train: int = 205, machine: Machine = CPU, begin: Begin = SLIM, **others: Any) -> Setting:
    found: Survey = replace(photos(640, 480, side=100.0), train=train, val=50, **others)
    return Setting("mine", {"root": "/photos"}, found, machine, begin, (0.4, "20 of 50"))


def settings(**values: Any) -> Settings:
    return parse(suggest(setting(**values)).plain())


def test_few_photos_on_a_cpu_get_what_was_measured() -> None:
    found = settings()
    assert (found.detector.width, found.detector.neck, found.detector.head) == (0.5, 64, 128)
    assert (found.base.epochs, found.base.batch, found.base.lr, found.base.warmup) == (30, 4, 0.02, 100)
    assert [phase.epochs for phase in found.pool.phases] == [10, 2, 2]
    assert (found.evaluation.epochs, found.distillation.when) == (3, "better")
    assert found.data.resolutions == ("192x144", "256x192", "320x240")


@pytest.mark.parametrize(
    ("train", "epochs"), [(1, 300), (3, 248), (205, 30), (820, 15), (20_000, 8), (118_000, 8)]
)
def test_fewer_photos_are_seen_more_often(train: int, epochs: int) -> None:
    assert settings(train=train).base.epochs == epochs


@pytest.mark.parametrize("train", [1, 2, 3, 7, 50, 20_000])
@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize("begin", [SLIM, Begin(), WHOLE, Begin("x101", "b.pth", "a backbone")])
def test_any_photos_machine_and_beginning_give_settings(train: int, machine: Machine, begin: Begin) -> None:
    found = settings(train=train, machine=machine, begin=begin)
    assert max(found.base.batch, found.evaluation.batch, *(p.batch for p in found.pool.phases)) <= train
    assert found.pool.start == ("scratch" if begin.family == "x101" else "base")


def test_a_trained_detector_is_tuned_for_half_of_the_epochs() -> None:
    found = settings(machine=GPU, begin=WHOLE)
    assert (found.base.epochs, found.base.batch, found.base.lr) == (15, 8, 0.005)
    assert found.detector.checkpoint.head == "by_name"
    unknown = settings(machine=GPU, begin=replace(WHOLE, knows_classes=False))
    assert unknown.detector.checkpoint.head == "new"


def test_a_small_gpu_gets_its_batches_in_parts() -> None:
    small = replace(GPU, gpu_memory=6 * GIB)
    found = settings(machine=small, begin=WHOLE)
    assert found.pool.phases[0].device_batch is not None
    assert found.pool.phases[0].device_batch < found.pool.phases[0].batch
    assert settings(machine=GPU, begin=WHOLE).base.device_batch is None


def test_crowded_photos_get_more_proposals() -> None:
    assert settings(crowded=150).detector.proposals == (600, 300)
    assert settings(crowded=5).detector.proposals == (200, 100)


def test_every_choice_has_its_reason_in_the_order_of_the_sections() -> None:
    made = suggest(setting(machine=GPU, begin=WHOLE))
    assert all(choice.why for choice in made.choices)
    sections = list(dict.fromkeys(choice.key.partition(".")[0] for choice in made.choices))
    order = list(Settings.model_fields)
    assert sections == sorted(sections, key=order.index)
    assert made.reason("data.holdout") == "20 of 50"


def test_this_machine_has_cores_and_memory() -> None:
    here = look("cpu")
    assert here.cores >= 1
    assert here.memory > GIB
    assert str(here) == f"{here.cores} CPU cores, {here.memory / GIB:.0f} GiB of memory"
    assert str(GPU) == "A GPU, 80 GiB; 16 CPU cores, 128 GiB of memory"
