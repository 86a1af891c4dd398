"""The command line from outside: help, exit codes, and one JSON object on standard output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from jdn_core.processes.stopping import Stopped

COMMANDS = (
    "demo", "init", "upgrade", "train-base", "train-pool", "search", "resume", "status", "candidates",
    "rescore", "sync", "verify",
    "arch", "pool size", "pool sample", "data check", "data convert voc", "data convert yolo", "data shapes",
    "evaluate", "predict", "doctor", "pool evaluate", "pool extract", "pool search",
    "study",
)  # fmt: skip
# Not pydantic: typer takes it for its own options where it is installed.
HEAVY = {"torch", "torchvision", "numpy", "prefect", "mlflow", "pycocotools", "matplotlib", "yaml", "rich"}
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_teaches_by_an_example(command: str, jdn: Run) -> None:
    code, out, err = jdn(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert f"Example: jdn {command}" in out
    assert max(map(len, out.splitlines())) <= 100


def test_jdn_alone_shows_its_commands(jdn: Run) -> None:
    code, out, _ = jdn()
    assert code == 0
    assert all(f"  {command.split()[0]} " in out for command in COMMANDS)


def test_the_version_is_printed(jdn: Run) -> None:
    assert jdn("--version")[:2] == (0, "jdn 0.1.0\n")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\nfrom flows.cli.main import main\n"
        "for command in sys.argv[1:]:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([*command.split(), '--help'])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "", *COMMANDS], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["frob"], "ERROR 64 No such command 'frob'; `jdn --help` shows what it takes"),
        (["search"], "ERROR 64 Missing argument 'SETTINGS'; `jdn search --help` shows what it takes"),
        (["arch", "r50", "--classes", "x"], "`jdn arch --help` shows what it takes"),
        (["upgrade", "bccd_cpu"], "ERROR 64 no dataset: give --data DIR, or --train-json FILE, or data.root"),
    ],
)
def test_wrong_usage_ends_64_without_traceback(arguments: list[str], line: str, jdn: Run) -> None:
    code, out, err = jdn(*arguments)
    assert (code, out) == (64, "")
    assert line in err
    assert "Traceback" not in err


def test_a_usage_error_is_json_where_json_was_asked_for(jdn: Run) -> None:
    code, out, err = jdn("upgrade", "--json")
    assert json.loads(out)["error"]["code"] == code == 64
    assert err.startswith("ERROR 64 ")


def test_settings_problems_are_lines_for_people_and_data_for_scripts(tmp_path: Path, jdn: Run) -> None:
    (tmp_path / "s.yaml").write_text("seed: -1\nsearch: {topk: 3}\n")
    code, out, err = jdn("upgrade", tmp_path / "s.yaml", "--data", tmp_path, "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (78, 78)
    assert [problem["where"] for problem in error["problems"]] == ["seed", "search.topk"]
    assert error["problems"][1]["remedy"] == "did you mean top_k?"
    assert [line[:8] for line in err.splitlines()] == ["ERROR 78"] * 2


def test_nothing_but_the_answer_reaches_standard_output(jdn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy() -> list[object]:
        print("a library prints")
        os.write(1, b"a C library prints\n")
        subprocess.run([sys.executable, "-c", "print('a child prints')"], check=True)
        return []

    monkeypatch.setattr("flows.servers.examination.examine", noisy)
    code, out, err = jdn("doctor", "--json")
    assert (code, json.loads(out)) == (0, {"ok": True, "checks": []})
    assert [line for line in err.splitlines() if "prints" in line] == [
        "a library prints", "a C library prints", "a child prints"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Stopped(signal.SIGINT), 130, "ERROR 130 stopped by SIGINT"),
        (Stopped(signal.SIGTERM), 143, "ERROR 143 stopped by SIGTERM"),
        (OSError(28, "No space left on device"), 74, "ERROR 74 [Errno 28] No space left on device"),
        (ZeroDivisionError("by zero"), 70, "ERROR 70 unexpected ZeroDivisionError: by zero"),
    ],
)
def test_every_ending_has_its_code_and_no_traceback(
    error: BaseException, code: int, line: str, jdn: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise error

    monkeypatch.setattr("flows.servers.examination.examine", fail)
    monkeypatch.delenv("JDN_DEBUG", raising=False)
    found, _, err = jdn("doctor")
    assert (found, err.splitlines()[0]) == (code, line)
    assert "Traceback" not in err


def test_debug_shows_where_an_error_came_from(jdn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDN_DEBUG", "0")
    monkeypatch.setattr("flows.servers.examination.examine", lambda: 1 / 0)
    _, _, err = jdn("--debug", "doctor")
    assert "Traceback" in err
    assert "ERROR 70 unexpected ZeroDivisionError" in err


def test_sigterm_ends_a_command_with_143() -> None:
    code = (
        "import os, signal, flows.servers.examination as doctor\nfrom flows.cli.main import main\n"
        "doctor.examine = lambda: os.kill(os.getpid(), signal.SIGTERM)\nmain(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "ERROR 143 stopped by SIGTERM\n")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    line = f"{sys.executable} -m flows.cli.main arch r101 --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "macs", "params"), [("r18", 160.3, 28.68), ("r50", 215.1, 41.75), ("x101", 298.2, 60.37)]
)
def test_arch_prints_the_golden_numbers(name: str, macs: float, params: float, jdn: Run) -> None:
    code, out, _ = jdn("arch", name, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["macs"]["1333x800"] / 1e9 == pytest.approx(macs, rel=5e-4)
    assert found["params"] / 1e6 == pytest.approx(params, rel=5e-4)


def test_arch_takes_back_the_notation_that_it_printed(jdn: Run) -> None:
    first = json.loads(jdn("arch", "r50", "--json")[1])
    again = json.loads(jdn("arch", first["notation"], "--json")[1])
    assert again == first


def test_arch_shows_what_an_action_makes(jdn: Run) -> None:
    found = json.loads(jdn("arch", "r18", "--act", "add_layer", "--stage", "2", "--json")[1])
    assert (found["action"], found["depths"]) == ("add_layer:2", [2, 3, 2, 2])
    assert found["before"]["depths"] == [2, 2, 2, 2]
    code, _, err = jdn("arch", "r18", "--act", "rearrange", "--stage", "4")
    assert (code, err) == (64, "ERROR 64 --act: rearrange:4:last: stage 4 has no stage after it\n")


def test_arch_prunes_by_weights_drawn_from_the_seed(jdn: Run) -> None:
    seen = [jdn("arch", "r18", "--act", "prune_channels", "--seed", seed, "--json")[1] for seed in (1, 1, 2)]
    assert seen[0] == seen[1] != seen[2]
    found = json.loads(seen[0])
    assert found["params"] < found["before"]["params"]


def test_arch_says_what_pruning_took_and_what_it_saves(jdn: Run) -> None:
    code, out, _ = jdn("arch", "r50", "--act", "prune_channels", "--share", "0.05")
    assert code == 0
    assert out.startswith(
        "after prune_channels:0.05: 569 of 11,392 channels removed (4.99%), by weights drawn from seed 0:\n[("
    )
    assert "MACs at 512x512    61.35 G   63.47 G    -3.3%" in out
    found = json.loads(jdn("arch", "r18", "--act", "prune_layer", "--json")[1])
    stage, block = found["removed"]["stage"], found["removed"]["block"]
    assert found["depths"][stage - 1] == 1
    assert block in (1, 2)


def test_arch_reads_the_notation_copied_from_its_page_and_shows_both_widths(jdn: Run) -> None:
    moved = jdn("arch", "r50", "--act", "rearrange", "--stage", "3", "--end", "last")[1]
    notation = moved[moved.index("[(") : moved.index(")]\n ") + 2]
    assert notation.count("\n") >= 3
    assert "1024, 2048" in jdn("arch", notation)[1]
    again, found = (
        json.loads(jdn("arch", *arguments, "--json")[1])
        for arguments in ([notation], ["r50", "--act", "rearrange:3:last"])
    )
    assert again["macs"] == found["macs"]


def test_arch_names_what_it_cannot_read(tmp_path: Path, jdn: Run) -> None:
    assert "ERROR 64 r51: no family (r18, r34, r50, r101, x101)" in jdn("arch", "r51")[2]
    (tmp_path / "a.json").write_text('{"stem": 64}')
    assert jdn("arch", tmp_path / "a.json")[::2] == (
        65, "ERROR 65 a.json: holds no architecture: 'stages' is missing\n"
    )  # fmt: skip
    assert jdn("arch", "r18", "--resolution", "9")[0] == 64


def test_tables_for_people_fit_100_columns_without_colours(jdn: Run) -> None:
    code, out, _ = jdn("arch", "r101")
    assert code == 0
    assert "whole" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_pool_of_the_paper_has_its_size(tmp_path: Path, jdn: Run) -> None:
    (tmp_path / "s.yaml").write_text("name: paper\n")
    assert json.loads(jdn("pool", "size", tmp_path / "s.yaml", "--json")[1]) == {"size": 769_824}
    drawn = [jdn("pool", "sample", tmp_path, "--seed", seed, "--json") for seed in (1, 1)]
    assert drawn[0] == drawn[1]


def test_data_check_passes_a_sound_dataset(jdn_data: Path, jdn: Run) -> None:
    code, out, err = jdn("data", "check", jdn_data / "bccd", "--json")
    assert (code, json.loads(out)["problems"], json.loads(out)["images"], err) == (0, [], 292, "")


def test_data_check_names_every_problem_at_once_and_ends_65(jdn_data: Path, jdn: Run) -> None:
    file, images = jdn_data / "tricky" / "annotations" / "bad_boxes.json", jdn_data / "tricky" / "images"
    code, out, err = jdn("data", "check", file, "--images", images)
    assert (code, out.splitlines()[-1].endswith("problems: 8"), len(err.splitlines())) == (65, True, 8)
    assert err.splitlines()[2] == (
        "ERROR 65 bad_boxes.json: annotations[3].bbox: width must be > 0, got -50.0; "
        "drop the box or pass --drop-bad-boxes"
    )
    assert jdn("data", "check", file, "--images", images, "--drop-bad-boxes")[0] == 0


@pytest.mark.parametrize(
    "name",
    ["unknown_image_id", "duplicate_image_id", "missing_file", "truncated_json", "empty", "corrupt"],
)
def test_data_check_refuses_what_is_broken_in_both_forms(name: str, jdn_data: Path, jdn: Run) -> None:
    tricky = jdn_data / "tricky"
    arguments = ("data", "check", tricky / "annotations" / f"{name}.json", "--images", tricky / "images")
    code, out, _ = jdn(*arguments, "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (65, False)
    assert all(problem["file"] and problem["what"] for problem in found["problems"])
    assert "Traceback" not in jdn(*arguments)[2]


def test_data_shapes_draws_a_dataset_that_passes_the_check(tmp_path: Path, jdn: Run) -> None:
    made = json.loads(jdn("data", "shapes", tmp_path / "d", "--images", 10, "--size", 48, "--json")[1])
    assert (made["train"], made["val"]) == (8, 2)
    found = json.loads(jdn("data", "check", tmp_path / "d", "--json")[1])
    assert (found["ok"], found["images"], found["boxes"]) == (True, 10, made["boxes"])


def test_data_shapes_draws_none_smaller_than_asked_for(tmp_path: Path, jdn: Run) -> None:
    means = []
    for least in (1 / 16, 0.4):
        folder = tmp_path / str(least)
        assert jdn("data", "shapes", folder, "--images", 10, "--size", 64, "--least", least)[0] == 0
        boxes = json.loads((folder / "annotations" / "train.json").read_text())["annotations"]
        means.append(sum(max(box["bbox"][2:]) for box in boxes) / len(boxes))
    assert means[1] > 1.3 * means[0]
    code, _, err = jdn("data", "shapes", tmp_path / "none", "--least", 0.7)
    assert (code, "least in (0, 0.5]" in err) == (64, True)


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_data_convert_makes_a_dataset_that_passes_the_check(kind: str, tmp_path: Path, jdn: Run) -> None:
    jdn("data", "shapes", tmp_path / "shapes", "--images", 4, "--size", 48)
    src = tmp_path / kind
    shutil.copytree(tmp_path / "shapes" / "train", src / ("JPEGImages" if kind == "voc" else "images"))
    for folder in ("Annotations", "labels"):
        (src / folder).mkdir()
    (src / "data.yaml").write_text("train: images\nnames: {0: cup}\n")
    box = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
    for name in ("000000", "000001", "000002"):
        text = f"<filename>{name}.jpg</filename><object><name>cup</name><bndbox>{box}</bndbox></object>"
        (src / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
        (src / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    code, out, err = jdn("data", "convert", kind, src, tmp_path / "coco", "--json")
    counts = {"images": 3, "train": 2, "val": 1, "boxes": 3, "categories": 1, "dropped": 0}
    made = json.loads(out)
    left = sum(map(len, made["left_out"].values()))
    files = [path for path in src.rglob("*") if path.is_file()]
    assert (code, {name: made[name] for name in counts}) == (0, counts)
    assert (made["rule"].endswith("drawn by seed 0"), made["used"] + left) == (True, len(files))
    assert "copy train: 2/2" in err
    assert json.loads(jdn("data", "check", tmp_path / "coco", "--json")[1])["ok"]
    code, out, err = jdn("data", "convert", kind, src, tmp_path / "coco")
    assert (code, out, "must be a new or empty folder" in err) == (64, "", True)


def test_data_convert_names_every_problem_and_ends_65(tmp_path: Path, jdn: Run) -> None:
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        (tmp_path / "Annotations" / f"{name}.xml").write_text("<!DOCTYPE a><annotation/>")
    code, out, err = jdn("data", "convert", "voc", tmp_path, tmp_path / "coco")
    lines = [f"Annotations/{name}.xml: must not declare a document type or entities" for name in "ab"]
    assert (code, out) == (65, "")
    assert [line for line in err.splitlines() if line.startswith("ERROR")] == [f"ERROR 65 {x}" for x in lines]


def test_an_answer_with_bad_news_keeps_its_object_and_its_code(
    jdn: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.servers.examination import Check

    monkeypatch.setattr(
        "flows.servers.examination.examine", lambda: [Check("disk", "fail", "full", "make space")]
    )
    code, out, _ = jdn("doctor", "--json")
    assert (code, json.loads(out)["ok"]) == (69, False)
    assert "disk: make space" in jdn("doctor")[1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_of_any_encoding_shows_any_name(encoding: str, tmp_path: Path) -> None:
    folder = tmp_path / "фото–ü"
    folder.mkdir()
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", "from flows.cli.main import main; main()", "data", "check", str(folder)]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 65
    assert b"Traceback" not in done.stderr
    assert b"ERROR 65" in done.stderr


def test_warnings_of_libraries_do_not_reach_the_screen(tmp_path: Path) -> None:
    code = (
        "import sys, warnings, subprocess\n"
        "from flows.cli import main\n"
        "def noisy(*_, **__):\n"
        "    warnings.warn('from torch', UserWarning)\n"
        "    subprocess.run([sys.executable, '-c', 'import warnings; warnings.warn(\"from a child\")'])\n"
        "    return 0\n"
        "main.app = noisy\n"
        "main.main()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    for given, wanted in ((environment, 0), (environment | {"PYTHONWARNINGS": "default"}, 2)):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=given, check=True
        )
        assert done.stderr.count("UserWarning") == wanted
