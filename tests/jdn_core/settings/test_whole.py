from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jdn_core.errors import SettingsError
from jdn_core.settings.whole import Settings, parse
from jdn_core.space.architecture import Resolution
from jdn_core.storage.canonical import content_key

DEPTHS = [[2, 3], [2, 4], [2, 23], [2, 3]]


def phases(*phases: dict[str, Any]) -> dict[str, Any]:
    return {"pool": {"phases": list(phases)}}


def test_the_papers_numbers_are_the_defaults() -> None:
    settings = parse({})
    assert settings == Settings()
    assert (settings.score.form, settings.score.alpha, settings.score.beta) == ("product", 0.4, 0.8)
    assert (settings.search.top_k, settings.search.frozen_student_iterations) == (5, 5)
    evaluation = settings.evaluation
    assert (evaluation.epochs, evaluation.batch, evaluation.lr, evaluation.schedule) == (3, 4, 0.01, "cosine")
    assert settings.distillation.sparsity == 1e-5
    assert [phase.name for phase in settings.pool.phases] == ["supernet", "shrink-1", "shrink-2"]


def test_settings_survive_json() -> None:
    settings = parse({"name": "x", "data": {"root": "/photos", "resolutions": ["64x48"]}, "seed": 7})
    assert parse(settings.model_dump(mode="json")) == settings
    assert settings.data.root == Path("/photos")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 1


def test_frames_come_smallest_first() -> None:
    settings = parse({"data": {"resolutions": ["160X120", "120x160", "64x48", "96x96"]}})
    assert settings.data.resolutions[0] == "160x120"
    assert settings.data.frames == (
        Resolution(64, 48),
        Resolution(96, 96),
        Resolution(120, 160),
        Resolution(160, 120),
    )


@pytest.mark.parametrize("text", ["64x64", "64x64,128x96", "64x64, 128x96", " 64X64 128x96 "])
def test_resolutions_may_be_written_without_brackets(text: str) -> None:
    found = parse({"data": {"resolutions": text}}).data.resolutions
    assert found in (("64x64",), ("64x64", "128x96"))
    assert len(found) == text.lower().count("x")


@pytest.mark.parametrize(
    ("workers", "lookback", "effective"), [(1, None, 1), (3, None, 6), (1, 4, 4), (3, 3, 3)]
)
def test_the_lookback_follows_the_workers_unless_it_is_set(
    workers: int, lookback: int | None, effective: int
) -> None:
    settings = parse({"search": {"workers": workers, "lookback": lookback}})
    assert settings.search.effective_lookback == effective


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sead": 1}, "sead: unknown key; did you mean seed?"),
        ({"search": {"topk": 5}}, "search.topk: unknown key; did you mean top_k?"),
        ({"pool": {"space": {"wdiths": [1.0]}}}, "pool.space.wdiths: unknown key; did you mean widths?"),
        (phases({"name": "a", "epoch": 3}), "pool.phases.0.epoch: unknown key; did you mean epochs?"),
        (phases({"epochs": 3}), "pool.phases.0.name: missing key; add it"),
        ({3: 4}, "3: keys should be strings, got 3"),
        ({"score": 5}, "score: input should be a valid dictionary or instance of ScoreSettings, got 5"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"seed": 1.5}, "seed: input should be a valid integer, got 1.5"),
        (
            {"seed": 2**64},
            "seed: input should be less than 18446744073709551616, got 18446744073709551616",
        ),
        (
            {"search": {"iterations": 2**31}},
            "search.iterations: input should be less than or equal to 2147483647, got 2147483648",
        ),
        ({"seed": True}, "seed: input should be a valid integer, got True"),
        ({"seed": "3"}, "seed: input should be a valid integer, got '3'"),
        ({"search": {"top_k": 0}}, "search.top_k: input should be greater than or equal to 1, got 0"),
        (
            {"search": {"workers": 4, "lookback": 2}},
            "search: lookback must be >= workers (4), got 2",
        ),
        ({"base": {"epochs": -1}}, "base.epochs: input should be greater than or equal to 0, got -1"),
        (
            {"evaluation": {"epochs": 0}},
            "evaluation.epochs: input should be greater than or equal to 1, got 0",
        ),
        (
            {"detector": {"checkpoint": {"mean": [1.0, 2.0, 3.0]}}},
            "detector.checkpoint: mean and std belong together: give both or neither",
        ),
        ({"base": {"lr": float("nan")}}, "base.lr: input should be a finite number, got nan"),
        ({"base": {"lr": 0}}, "base.lr: input should be greater than 0, got 0"),
        ({"base": {"lr": "fast"}}, "base.lr: input should be a valid number, got 'fast'"),
        ({"evaluation": {"lr": -1.0}}, "evaluation.lr: input should be greater than 0, got -1.0"),
        (
            {"search": {"prune_shares": [0.1, 1.2]}},
            "search.prune_shares.1: input should be less than 1, got 1.2",
        ),
        ({"data": {"flip": 2}}, "data.flip: input should be less than or equal to 1, got 2"),
        (
            {"search": {"controls": ["longer", "longer"]}},
            "search.controls: controls must differ, got longer, longer",
        ),
        ({"data": {"holdout": 1.0}}, "data.holdout: holdout must be a share in [0, 1) or test, got 1.0"),
        ({"data": {"holdout": "val"}}, "data.holdout: holdout must be a share in [0, 1) or test, got 'val'"),
        ({"data": {"holdout": True}}, "data.holdout: holdout must be a share in [0, 1) or test, got True"),
        (
            {"data": {"resolutions": ["800"]}},
            "data.resolutions: resolution must look like 1333x800, got '800'",
        ),
        (
            {"data": {"resolutions": ["8x6", "8X6"]}},
            "data.resolutions: resolutions must differ, got 8x6, 8X6",
        ),
        (
            {"data": {"resolutions": ["8000x6251"]}},
            "data.resolutions: resolutions must have at most 50 Mpx, got 8000x6251",
        ),
        ({"data": {"root": "a\0b"}}, "data.root: a path has no NUL, got 'a\\x00b'"),
        (
            {"name": "x" * 101},
            f"name: string should have at most 100 characters, got '{'x' * 56}...",
        ),
        ({"seed" * 30: 1}, f"{('seed' * 30)[:57]}...: unknown key; did you mean seed?"),
        (
            {"tracking": "http://me:secret@host:5000"},
            "tracking: input should be a valid dictionary or instance of TrackingSettings, "
            "got 'http://me:***@host:5000'",
        ),
        ({"name": "../x"}, "name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$', got '../x'"),
        (
            {"tracking": {"uri": "http://me:secret@host:5000"}},
            "tracking.uri: the URI holds a password; "
            "use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            {"pool": {"space": {"widths": [1.5, 1.0]}}},
            "pool.space.widths: widths must rise, got [1.5, 1.0]",
        ),
        (
            {"pool": {"space": {"depths": [[3, 2], *DEPTHS[1:]]}}},
            "pool.space: depths must be [least, most], got [3, 2]",
        ),
        (
            phases({"name": "a", "widths": [1.5, 1.0]}),
            "pool.phases.0.widths: widths must rise, got [1.5, 1.0]",
        ),
        (
            phases({"name": "a", "widths": [1.0, 2.0]}),
            "pool: phase a: widths [2.0] are not among [1.0, 1.25, 1.5]",
        ),
        (
            phases({"name": "a"}, {"name": "b", "depths": [*DEPTHS[:3], [1, 3]]}),
            "pool: phase b: depths of stage 4 must lie in [2, 3], got [1, 3]",
        ),
        (phases({"name": "a"}, {"name": "a"}), "pool: phases must have names of their own, got ['a', 'a']"),
    ],
)
def test_a_broken_rule_is_said_with_its_place_and_value(data: dict[Any, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(data, source="run.yaml")
    assert str(caught.value) == f"run.yaml: {message}"
    assert len(caught.value.problems) == 1


def test_all_broken_rules_are_said_at_once() -> None:
    data = {"sead": 1, "search": {"top_k": 0, "iterations": -1, "wrkers": 1}, "score": {"form": "sum"}}
    with pytest.raises(SettingsError) as caught:
        parse(data)
    places = {problem.where for problem in caught.value.problems}
    assert places == {"sead", "search.top_k", "search.iterations", "search.wrkers", "score.form"}


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_what_is_no_mapping_is_no_settings(data: Any) -> None:
    with pytest.raises(SettingsError, match="settings: input should be a valid dictionary"):
        parse(data)


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@host:5000",
        "http://:secret@host",
        "http://me:se/cret@host",
        "http://me:se cret@host",
        "postgresql+psycopg2://me:p%40ss@host/db",
        "postgresql://host/db?user=me&PASSWORD=secret",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(SettingsError, match=r"tracking\.uri: the URI holds a password") as caught:
        parse({"tracking": {"uri": uri}})
    assert "cret" not in str(caught.value)


def test_many_unknown_keys_are_all_counted_and_fifty_have_a_neighbour() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({f"key{number}": 1 for number in range(2000)})
    problems = caught.value.problems
    assert [len(problems), sum(bool(problem.remedy) for problem in problems)] == [2000, 50]
    assert str(caught.value).splitlines()[50:] == ["... and 1950 more"]


@pytest.mark.parametrize(
    "uri",
    [None, "sqlite:///mlflow.db", "http://host:5000", "http://host:5000/path@2", "https://me@host/path:1@2"],
)
def test_an_address_without_a_password_is_taken(uri: str | None) -> None:
    assert parse({"tracking": {"uri": uri}}).tracking.uri == uri


@pytest.mark.parametrize(
    "free",
    [
        {"device": "cuda"},
        {"threads": 4},
        {"checkpoint_minutes": 0.5},
        {"base": {"recompute": True}},
        {"pool": {"processes": 4}},
        {"pool": {"assessed_subnets": 0}},
        {"tracking": {"uri": "http://host:5000"}},
        {"data": {"root": "/elsewhere", "workers": 3, "cache_mb": 1}},
        {"search": {"iterations": 5000}},
        {"search": {"workers": 3, "lookback": 3}},
        {"evaluation": {"latency_warmup": 1, "latency_repeats": 2}},
    ],
)
def test_what_may_change_when_a_search_goes_on_is_no_part_of_the_digest(free: dict[str, Any]) -> None:
    fixed = {"search": {"lookback": 3}}
    search = {**fixed["search"], **free.get("search", {})}
    assert parse({**free, "search": search}).digest == parse(fixed).digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"name": "other"},
        {"score": {"alpha": 0.1}},
        {"search": {"lookback": 2}},
        {"search": {"top_k": 4}},
        {"search": {"draw": "kind"}},
        {"data": {"resolutions": ["64x48"]}},
        {"evaluation": {"epochs": 4}},
        {"base": {"device_batch": 2}},
        {"evaluation": {"device_batch": 2}},
        {"base": {"precision": "bfloat16"}},
        {"pool": {"phases": [{"name": "a", "sampling": "sandwich"}]}},
        {"pool": {"space": {"head": 512}}},
        {"detector": {"width": 0.5}},
        {"detector": {"pretrained": "a.pth"}},
    ],
)
def test_what_changes_the_results_changes_the_digest(change: dict[str, Any]) -> None:
    assert parse(change).digest != Settings().digest


def test_a_lookback_that_is_spelt_out_lets_the_workers_change() -> None:
    begun = parse({"search": {"workers": 2}}).with_lookback()
    assert begun.search.lookback == 4
    more = begun.model_copy(update={"search": begun.search.model_copy(update={"workers": 4})})
    assert more.digest == begun.digest == parse({"search": {"workers": 2}}).digest


def test_the_digest_is_of_what_differs_from_its_default() -> None:
    """A key that a later version adds leaves the digests of earlier searches as they are."""
    settings = parse({"seed": 3, "search": {"draw": "kind", "top_k": 5}, "score": {"form": "product"}})
    assert settings.digest == content_key({"seed": 3, "search": {"draw": "kind", "lookback": 1}})


@pytest.mark.parametrize("detector", [{}, {"pretrained": "a.pth", "checkpoint": {"head": "new"}}])
def test_no_epochs_need_a_whole_detector_to_begin_with(detector: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"base\.epochs must be >= 1 unless .* class head stays, got 0"):
        parse({"base": {"epochs": 0}, "detector": detector})
    assert parse({"base": {"epochs": 0}, "detector": {"pretrained": "a.pth"}}).base.epochs == 0


def test_a_checkpoint_may_lie_elsewhere_but_not_be_read_otherwise() -> None:
    def digest(file: str, **checkpoint: Any) -> str:
        return parse({"detector": {"pretrained": file, "checkpoint": checkpoint}}).digest

    assert digest("x/a.pth") == digest("y/a.pth") != digest("x/b.pth")
    assert digest("a.pth") != digest("a.pth", channels="bgr")
    assert parse({"detector": {"checkpoint": {"channels": "bgr"}}}).digest == Settings().digest


def test_what_a_pool_depends_on_reads_back_and_names_no_place() -> None:
    detector = {"pretrained": "/mine/r50.pth", "family": "r18"}
    settings = parse({"seed": 3, "device": "cpu", "data": {"root": "/mine"}, "detector": detector})
    assert "mine" not in str(settings.of_pool)
    again = parse(settings.of_pool)
    assert (again.seed, again.pool, again.data.frames) == (3, settings.pool, settings.data.frames)
    assert again.detector.pretrained == Path("r50.pth")
    assert "pretrained" in parse({}).of_pool["detector"]


def test_a_pool_that_starts_as_the_base_is_of_its_kind_and_depends_on_its_training() -> None:
    base = {"detector": {"family": "r18", "width": 0.5, "neck": 64, "head": 128}}
    grown = parse({**base, "pool": {"start": "base", "phases": [{"name": "grown"}]}})
    space = grown.subnet_space
    assert (space.blocks, space.width, space.neck, space.head) == ("basic", 0.5, 64, 128)
    assert parse(base).subnet_space.blocks == "bottleneck"
    assert "base" in grown.of_pool
    assert "base" not in parse(base).of_pool
    assert parse({**grown.of_pool}).subnet_space == space


@pytest.mark.parametrize(
    ("family", "space", "message"),
    [
        ("x101", {}, r"pool\.start must be scratch for x101, got base"),
        (
            "r34",
            {"depths": [[1, 3], [1, 3], [1, 6], [1, 3]]},
            "2 must reach the 4 blocks of r34, got 3",
        ),
        ("r18", {"widths": [0.5, 0.75]}, r"widths must reach 1 to hold the base, got \[0\.5, 0\.75\]"),
    ],
)
def test_a_pool_that_cannot_hold_the_base_is_refused(
    family: str, space: dict[str, Any], message: str
) -> None:
    pool = {"start": "base", "space": space, "phases": [{"name": "grown"}]}
    with pytest.raises(SettingsError, match=message):
        parse({"detector": {"family": family}, "pool": pool})


def test_latency_is_that_of_a_target_that_is_there() -> None:
    edge = {"name": "edge", "work_pool": "edge", "threads": 2}
    settings = parse({"targets": [edge], "score": {"cost": "latency", "target": "edge"}})
    assert settings.target("edge").threads == 2
    with pytest.raises(SettingsError, match=r"one of targets for score\.cost latency, got None"):
        parse({"targets": [edge], "score": {"cost": "latency"}})
    with pytest.raises(SettingsError, match="got server; there are: none"):
        parse({"score": {"cost": "latency", "target": "server"}})
    with pytest.raises(SettingsError, match="targets must have different names, got edge, edge"):
        parse({"targets": [edge, edge]})


def test_targets_may_change_when_a_search_goes_on_and_its_cost_may_not() -> None:
    edge = {"name": "edge"}
    assert parse({"targets": [edge]}).digest == parse({}).digest
    by_latency = {"targets": [edge], "score": {"cost": "latency", "target": "edge"}}
    assert parse(by_latency).digest != parse({}).digest
