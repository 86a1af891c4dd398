"""Settings files: what is read, what is refused in which words, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.inputs.settings_file import Override, dump, load, presets, read_set
from flows.inputs.yaml_file import read_mapping
from jdn_core.errors import InputMissing, SettingsError
from jdn_core.settings.values import NAME


def refused(text: str, *sets: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(str(file), read_set(sets))
    assert caught.value.exit_code == 78
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "s.yaml: is empty; start from a preset: " + ", ".join(presets())),
        ("# nothing\n", "s.yaml: is empty; start from a preset: " + ", ".join(presets())),
        ("- search\n", "s.yaml: must be a mapping of sections, got list"),
        ("search\n", "s.yaml: must be a mapping of sections, got str"),
        ("seed: 1\nname: a\nseed: 2\n", "s.yaml: line 3: key 'seed' was given already in line 1"),
        ("search:\n  top_k: 1\n  top_k: 2\n", "s.yaml: line 3: key 'top_k' was given already in line 2"),
        (
            "name: !!python/object/apply:os.system ['echo']\n",
            "s.yaml: line 1: tags are not allowed, got "
            "tag:yaml.org,2002:python/object/apply:os.system; write the plain value",
        ),
        (
            "name: !!str 3\n",
            "s.yaml: line 1: tags are not allowed, got tag:yaml.org,2002:str; write the plain value",
        ),
        ("name: !mine 3\n", "s.yaml: line 1: tags are not allowed, got !mine; write the plain value"),
        (
            "base: &a {lr: 1.0}\nevaluation: *a\n",
            "s.yaml: line 2: aliases are not allowed, got *a; write the plain value",
        ),
        ("name: 2001-99-99 x\n", f"s.yaml: name: string should match pattern '{NAME}', got '2001-99-99 x'"),
        ("seed: 0x_\n", "s.yaml: holds what YAML cannot read: invalid literal for int() with base 16"),
        (
            f"seed: {'9' * 5000}\n",
            "s.yaml: holds what YAML cannot read: "
            "Exceeds the limit (4300 digits) for integer string conversion",
        ),
        (
            'name: "\\U99999999"\n',
            "s.yaml: holds what YAML cannot read: Python int too large to convert to C int",
        ),
        (f"name: {'x' * 2**18}\n", "s.yaml: must have at most 262144 bytes, got more"),
        ("1: 2\n", "s.yaml: line 1: keys must be plain text"),
        ("? [a, b]\n: 2\n", "s.yaml: line 1: keys must be plain text"),
        ("seed: [1\n", "s.yaml: line 2: expected ',' or ']', but got '<stream end>'"),
        ("seed: 1\n---\nseed: 2\n", "s.yaml: line 2: but found another document"),
        ("a: &a [*a]\n", "s.yaml: line 1: aliases are not allowed, got *a; write the plain value"),
        ("serch: {}\n", "s.yaml: serch: unknown key; did you mean search?"),
        ("search: {topk: 3}\n", "s.yaml: search.topk: unknown key; did you mean top_k?"),
        ("pool: {phases: [{epochs: 1}]}\n", "s.yaml: pool.phases.0.name: missing key; add it"),
        ("search: {top_k: many}\n", "s.yaml: search.top_k: input should be a valid integer, got 'many'"),
        ("search: {top_k: true}\n", "s.yaml: search.top_k: input should be a valid integer, got True"),
        ("search: {top_k: 0}\n", "s.yaml: search.top_k: input should be greater than or equal to 1, got 0"),
        ("seed: -1\n", "s.yaml: seed: input should be greater than or equal to 0, got -1"),
        ("seed: 1.5\n", "s.yaml: seed: input should be a valid integer, got 1.5"),
        ("search: {workers: 2, lookback: 1}\n", "s.yaml: search: lookback must be >= workers (2), got 1"),
        (
            "evaluation: {epochs: 0}\n",
            "s.yaml: evaluation.epochs: input should be greater than or equal to 1, got 0",
        ),
        ("base: {lr: .nan}\n", "s.yaml: base.lr: input should be a finite number, got nan"),
        ("base: {lr: 0.0}\n", "s.yaml: base.lr: input should be greater than 0, got 0.0"),
        ("base: {lr: -0.1}\n", "s.yaml: base.lr: input should be greater than 0, got -0.1"),
        (
            "search: {prune_shares: [1.2]}\n",
            "s.yaml: search.prune_shares.0: input should be less than 1, got 1.2",
        ),
        ("device: tpu\n", "s.yaml: device: input should be 'auto', 'cpu' or 'cuda', got 'tpu'"),
        (
            "tracking: {uri: 'http://me:secret@host:5000'}\n",
            "s.yaml: tracking.uri: the URI holds a password; "
            "use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            "data: {resolutions: [wide]}\n",
            "s.yaml: data.resolutions: resolution must look like 1333x800, got 'wide'",
        ),
    ],
)
def test_a_bad_file_is_refused_with_place_and_value(text: str, line: str, tmp_path: Path) -> None:
    assert refused(text, tmp_path=tmp_path) == [line]


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^s\.yaml: "):
        read_mapping(b"\xff\xfe\x00\x01\xff", "s.yaml")


def test_deep_nesting_is_refused_and_does_not_overflow() -> None:
    with pytest.raises(SettingsError, match=r"^s\.yaml: is nested too deeply$"):
        read_mapping("[" * 100_000, "s.yaml")


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    lines = refused("seed: -1\nsearch: {topk: 1}\nbase: {lr: .inf}\n", tmp_path=tmp_path)
    assert [line.split(": ")[1] for line in lines] == ["seed", "base.lr", "search.topk"]


def test_a_name_that_is_neither_file_nor_preset_names_the_nearest() -> None:
    with pytest.raises(InputMissing) as caught:
        load("bcd_cpu")
    what = "bcd_cpu: no such file, and no preset of that name; did you mean bccd_cpu?"
    wanted = f"{what} presets: {', '.join(presets())}"
    assert (str(caught.value), caught.value.exit_code) == (wanted, 66)


def test_a_name_longer_than_any_path_is_no_file() -> None:
    with pytest.raises(InputMissing, match="no such file, and no preset of that name"):
        load("x" * 5000)


def test_a_date_is_text() -> None:
    assert read_mapping("name: 2001-02-03\n", "s.yaml") == {"name": "2001-02-03"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_problem(encoding: str) -> None:
    assert read_mapping("seed: 3\n".encode(encoding), "s.yaml") == {"seed": 3}


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="is a folder, not a settings file; presets: "):
        load(str(tmp_path))


def test_the_last_override_wins_and_values_are_yaml() -> None:
    sets = ("search.iterations=3", "search.iterations=4", "evaluation.lr=1e-3", "data.resolutions=[64x64]")
    settings = load("bccd_cpu", read_set((*sets, "threads=null", "pool.phases.0.epochs=2")))
    assert (settings.search.iterations, settings.evaluation.lr, settings.threads) == (4, 1e-3, None)
    assert (settings.data.resolutions, settings.pool.phases[0].epochs) == (("64x64",), 2)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("search.iterations", "--set: must look like search.iterations=24, got 'search.iterations'"),
        ("=3", "--set: must look like search.iterations=24, got '=3'"),
        ("search..top_k=3", "--set: must look like search.iterations=24, got 'search..top_k=3'"),
        ("seed=[1", "--set: seed: expected ',' or ']', but got '<stream end>'"),
        ("search.topk=3", "--set: search.topk: unknown key; did you mean top_k?"),
        ("serch.top_k=3", "--set: serch: unknown key; did you mean search?"),
        ("score.alpha=.nan", "--set: score.alpha: input should be a finite number, got nan"),
        ("seed.deep=3", "--set: seed.deep: seed is no section, got 5"),
        ("data.resolutions.7=9x9", "--set: data.resolutions.7: list index must be in 0..0, got 7"),
        ("data.resolutions.x=9x9", "--set: data.resolutions.x: list index must be in 0..0, got x"),
        ("name=!!python/name:os.system ''", "--set: name: tags are not allowed, got "
         "tag:yaml.org,2002:python/name:os.system; write the plain value"),
    ],
)  # fmt: skip
def test_a_bad_override_is_refused_under_the_name_of_its_option(
    option: str, line: str, tmp_path: Path
) -> None:
    assert refused("seed: 5\ndata: {resolutions: [32x32]}\n", option, tmp_path=tmp_path) == [line]


def test_a_problem_of_the_file_keeps_the_files_name_beside_an_override(tmp_path: Path) -> None:
    lines = refused("seed: -5\n", "search.top_k=0", tmp_path=tmp_path)
    assert [line.split(":")[0] for line in lines] == ["s.yaml", "--set"]


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_read_and_written_back_the_same(name: str, tmp_path: Path) -> None:
    settings = load(name)
    (tmp_path / "settings.yaml").write_text(dump(settings))
    assert load(str(tmp_path / "settings.yaml")) == settings


@given(st.integers(0, 2**40), st.floats(1e-12, 1e6), st.lists(st.floats(0.01, 0.99), min_size=1))
def test_numbers_survive_a_round_trip_exactly(seed: int, lr: float, shares: list[float]) -> None:
    values = {"seed": seed, "base.lr": lr, "search.prune_shares": shares}
    settings = load("bccd_cpu", [Override("--set", key, value) for key, value in values.items()])
    data = read_mapping(dump(settings), "settings.yaml")
    assert (data["seed"], data["base"]["lr"], data["search"]["prune_shares"]) == (seed, lr, shares)
