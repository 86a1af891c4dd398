"""Controls, the finished winner and held-out photos for real: epochs, costs, and nothing a second time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.data.loading import BatchLoader
from jdn_core.detector.folder import load_detector, load_spec
from jdn_core.evaluation.complexity import complexity
from jdn_core.evaluation.detection import evaluate
from jdn_core.run import assemble, controls, datasets, outcome, warm
from jdn_core.run.folder import Run
from jdn_core.run.outcome import RESULT_FRAME
from jdn_core.search.contenders import Bound, Contender, lineage, winner
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tests.contested_search import contested
from tests.tiny_run import shapes, tiny_settings

pytestmark = pytest.mark.slow
ALL = ("winner", "longer", "distilled", "scaled")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return contested(tmp_path_factory.mktemp("searched"))


def contender(run: Run, name: str) -> Contender:
    return next(
        each for each in assemble.contenders(run.settings, outcome.of(run).standing) if each.name == name
    )


def test_every_contender_is_trained_for_the_lineage_s_epochs(searched: Run) -> None:
    found = outcome.of(searched)
    pairs = len(lineage(found.standing, winner(found.standing).record))
    assert pairs >= 1
    trained = {}
    for record in found.records:
        assert record.evaluation is not None
        (trained[record.contender.name],) = {len(values) for values in record.evaluation.losses.values()}
    finish = contender(searched, "winner").finish
    whole = searched.settings.base.epochs + pairs * searched.settings.evaluation.epochs + finish
    assert trained == {"winner": finish, "longer": whole, "distilled": whole - 1, "scaled": whole}


def test_a_control_is_measured_at_every_frame_and_its_detector_is_kept(searched: Run) -> None:
    for record in outcome.of(searched).records:
        assert record.evaluation is not None
        frames = [each.resolution for each in record.evaluation.measurements]
        assert frames == [*searched.settings.data.frames]
        folder = searched.contenders.path(record.contender.name)
        assert load_spec(folder) == record.student
        assert durable.sha256_of(folder / "weights.safetensors") == record.evaluation.weights
        assert record.evaluation.prunings == {}


def test_controls_have_the_architectures_that_their_names_say(searched: Run) -> None:
    found = {each.contender.name: each.student for each in outcome.of(searched).records}
    base, best = load_spec(searched.base), winner(outcome.of(searched).standing).record
    assert found["longer"] == found["distilled"] == base
    assert found["winner"] == best.pair.student
    bound, scaled = contender(searched, "scaled").bound, found["scaled"]
    assert bound is not None
    assert scaled is not None
    assert complexity(scaled, bound.resolution).macs <= bound.macs


def test_a_constant_rate_cools_down_as_long_as_the_winner_s(searched: Run) -> None:
    wanted = contender(searched, "longer")
    regime = controls._regime(searched.settings.base, wanted)
    assert (regime.epochs, regime.cooldown * regime.epochs) == (wanted.epochs, pytest.approx(wanted.finish))
    falling = searched.settings.base.model_copy(update={"schedule": "cosine"})
    assert controls._regime(falling, wanted).cooldown == 0.0


@pytest.mark.parametrize("share", [0.9, 0.5, 0.35])
def test_a_narrower_net_is_the_widest_within_the_bound(tmp_path: Path, share: float) -> None:
    settings = tiny_settings(shapes(tmp_path / "shapes"), detector={"width": 0.75})
    base, frame = assemble.base_spec(settings), settings.data.frames[-1]
    bound = Bound(frame, round(share * complexity(base, frame).macs))
    found = assemble.narrowed_spec(settings, bound)
    assert found is not None
    assert share - 0.15 < complexity(found, frame).macs / complexity(base, frame).macs <= share
    assert replace(found, backbone=base.backbone) == base


def test_what_no_width_can_do_is_said_and_what_the_base_can_is_the_base(searched: Run) -> None:
    base, frame = load_spec(searched.base), searched.settings.data.frames[-1]
    assert assemble.narrowed_spec(searched.settings, Bound(frame, 1)) is None
    assert assemble.narrowed_spec(searched.settings, Bound(frame, complexity(base, frame).macs)) == base
    impossible = replace(contender(searched, "scaled"), bound=Bound(frame, 1))
    elsewhere = Run(searched.settings, searched.folder / "elsewhere")
    record = controls.ensure_contender(elsewhere, impossible)
    assert record.reason == "no width of r18 has at most 1 MACs at 64x64"
    assert controls.ensure_contender(elsewhere, impossible) == record


def test_nothing_is_done_twice(searched: Run) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (searched.folder / "controls").rglob("*")}

    before = times()
    for each in assemble.contenders(searched.settings, outcome.of(searched).standing):
        assert controls.ensure_contender(searched, each).contender == each
    assert outcome.ensure_held_out(searched) == outcome.of(searched).held_out
    assert times() == before


def test_held_out_numbers_are_pycocotools_own_at_the_frames_that_val_chose(searched: Run) -> None:
    found, photos = outcome.of(searched), datasets.held_out(searched.settings.data)
    told = found.held_out
    assert told is not None
    assert photos is not None
    assert set(told.measured) == {"base", *ALL}
    assert (told.images, told.boxes) == (len(photos.images), sum(len(each.labels) for each in photos.images))
    for name, shown in found.shown.items():
        measured = told.base_at if name == RESULT_FRAME else told.measured[name]
        with BatchLoader(photos) as loader:
            numbers = evaluate(load_detector(shown.folder), loader, [shown.resolution])
        assert measured.resolution == shown.resolution
        assert measured.coco == numbers[shown.resolution].twelve


def test_the_result_is_set_against_all_others(searched: Run) -> None:
    found = outcome.of(searched)
    told = found.held_out
    assert told is not None
    assert told.result == found.result.name
    assert {each.against for each in told.differences} == {"base", *ALL} - {told.result}
    for each in told.differences:
        assert each.value == pytest.approx(told.measured[told.result].ap - told.measured[each.against].ap)
    assert told.difference.against in ("longer", "base")


def test_controls_that_are_wanted_later_are_made_later(searched: Run) -> None:
    fewer = searched.settings.search.model_copy(update={"controls": ("longer",), "finish": 0.0})
    settings: Settings = searched.settings.model_copy(update={"search": fewer})
    assert settings.digest == searched.settings.digest
    other = outcome.of(Run(settings, searched.folder))
    assert [each.name for each in assemble.contenders(settings, other.standing)] == ["longer"]
    assert other.records == ()  # without a finish the lineage is shorter: another training
    assert other.held_out is None


def test_without_held_out_photos_nothing_is_measured(searched: Run) -> None:
    data = searched.settings.data.model_copy(update={"holdout": 0.0})
    run = Run(searched.settings.model_copy(update={"data": data}), searched.folder)
    assert outcome.ensure_held_out(run) is None
    warm.close()
