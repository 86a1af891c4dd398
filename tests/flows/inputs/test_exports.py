"""Export, evaluation, prediction and benchmark of files, from the command line, on a finished search."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from jdn_core.data.shapes import generate
from tests.fixtures import frozen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos`` and a finished search ``run`` of them."""
    folder = tmp_path_factory.mktemp("exports")
    frozen.photos(folder / "photos")
    frozen.thawed("finished", folder / "run")
    return folder


def jdn(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main.main([*map(str, arguments), "--json"])
    out = capfd.readouterr().out
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(out)


def message(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["message"]


@pytest.fixture(scope="module")
def script(place: Path) -> Path:
    """The search's result as TorchScript, the format that is made in a second."""
    path = place / "winner.torchscript"
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(
            [
                *("export", f"{place / 'run'}#0", "--data", f"{place / 'photos'}"),
                *("--format", "torchscript", "--out", str(path)),
            ]
        )
    return path


def test_an_export_is_compared_on_photos_and_its_report_kept(script: Path) -> None:
    report = json.loads(script.with_name("winner.torchscript.json").read_text())
    assert report["bytes"] == script.stat().st_size
    assert (report["matched"], report["same"]) == (report["boxes"], True)
    assert report["latency_ms"] > 0
    assert report.keys() >= {"file", "precision", "images", "max_box_difference", "max_score_difference"}
    assert [path.name for path in script.parent.glob(".*")] == []


def test_a_file_is_evaluated_as_the_detector_is(
    place: Path, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", place / "photos")
    wanted = jdn(capfd, "evaluate", f"{place / 'run'}#0", *data)
    assert wanted[0] == 0
    found = jdn(capfd, "evaluate", script, *data)[1]
    assert found["AP"] == pytest.approx(wanted[1]["AP"], abs=1e-3)
    assert found["resolution"] == wanted[1]["resolution"]


def test_a_file_predicts_what_the_detector_does(
    place: Path, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = next((place / "photos" / "val").iterdir())
    wanted, found = (
        jdn(capfd, "predict", model, photo, "--score", 0)[1]["detections"]
        for model in (f"{place / 'run'}#0", script)
    )
    assert len(found) == len(wanted)
    for one, other in zip(wanted, found, strict=True):
        assert other["bbox"] == pytest.approx(one["bbox"], abs=0.05)
        assert other["category"] == one["category"]


def test_a_benchmark_measures_models_side_by_side(
    place: Path, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", place / "photos", "--threads", 1, "--batch", 2)
    code, found = jdn(capfd, "benchmark", f"{place / 'run'}#0", script, *arguments)
    first, second = found["models"]
    assert code == 0
    assert (first["format"], second["format"]) == ("detector", "torchscript")
    assert second["ap"] == pytest.approx(first["ap"], abs=1e-3)
    assert (second["latency_ms"]["repeats"], second["batch"], second["threads"]) == (50, 2, 1)
    assert second["latency_ms"]["median"] <= second["latency_ms"]["p90"]


def test_a_benchmark_is_readable_and_leaves_ap_out_without_data(
    script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(["benchmark", str(script)])
    assert "torch fp32" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (
            ("--format", "tflite"),
            64,
            "--format must be one of onnx, pt2, torchscript, openvino, got 'tflite'",
        ),
        (
            ("--format", "pt2", "--precision", "int4"),
            64,
            "--precision must be one of fp32, fp16, int8, got 'int4'",
        ),
        (
            ("--format", "pt2", "--precision", "int8"),
            64,
            "--precision int8 is for onnx and openvino, not for pt2",
        ),
        (("--format", "onnx", "--out", "a.pt2"), 64, "--out a.pt2: a file of onnx ends in .onnx"),
    ],
)
def test_what_cannot_be_exported_is_said_at_once(
    place: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, what: str
) -> None:
    assert message(jdn(capfd, "export", place / "run", *arguments)) == (code, what)


def test_a_missing_package_is_named(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    code, said = message(jdn(capfd, "export", place / "run", "--format", "openvino"))
    assert (code, said) == (
        64,
        "the package openvino is not installed; pip install 'jdn[openvino]'",
    )


def test_photos_of_other_classes_are_refused_and_no_file_is_left(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    generate(tmp_path / "data", images=10, size=48, seed=0)
    file = tmp_path / "data" / "annotations" / "val.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "cow"
    file.write_text(json.dumps(content))
    arguments = ("--format", "torchscript", "--data", tmp_path / "data", "--out", tmp_path / "a.torchscript")
    code, said = message(jdn(capfd, "export", f"{place / 'run'}#0", *arguments))
    assert (code, "classes: must be those of the detector" in said) == (65, True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_detector_without_a_search_needs_a_dataset(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "a.torchscript")
    code, said = message(jdn(capfd, "export", place / "run" / "base", "--format", "torchscript", *out))
    assert (code, said.partition(": ")[2]) == (
        64,
        "the file is compared on photos; name their dataset with --data DIR",
    )


def test_a_file_is_not_exported_again_nor_turned_into_what_it_is_not(
    place: Path, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert message(jdn(capfd, "export", script, "--format", "pt2"))[1].endswith(
        "is an exported file; export takes what it was made from"
    )
    photos = ("--data", place / "photos")
    code, said = message(jdn(capfd, "evaluate", script, *photos, "--resolution", "64x64"))
    assert (code, "`jdn export --dynamic` makes one for any" in said) == (64, True)
    code, said = message(jdn(capfd, "evaluate", script, *photos, "--pair", 1))
    assert (code, said.startswith("--pair needs a search's folder")) == (64, True)
    code, said = message(jdn(capfd, "evaluate", script, *photos, "--device", "cuda"))
    assert (code, "an exported file runs on the CPU here" in said) == (64, True)
    code, said = message(jdn(capfd, "evaluate", script.with_suffix(".onnx"), *photos))
    assert (code, said.endswith("no such file")) == (66, True)


def test_a_benchmark_does_not_guess_a_runtime(
    place: Path, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = message(jdn(capfd, "benchmark", script, "--runtime", "tensorrt"))
    assert (code, said) == (64, "--runtime must be one of torch, onnxruntime, openvino, got 'tensorrt'")
    code, said = message(jdn(capfd, "benchmark", script, "--runtime", "openvino"))
    assert (code, said.endswith("torchscript is read by torch, not by openvino")) == (64, True)
    code, said = message(jdn(capfd, "benchmark", place / "run", "--runtime", "openvino"))
    assert (code, said.endswith(f"jdn export {place / 'run'} --format openvino")) == (64, True)


@pytest.mark.slow
def test_int8_is_measured_out_of_the_files(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.onnx"
    arguments = ("--format", "onnx", "--precision", "int8", "--calibration", 4, "--out", out)
    code, report = jdn(capfd, "export", f"{place / 'run'}#0", *arguments, "--data", place / "photos")
    assert (code, report["calibration"], report["same"]) == (0, 4, None)
    found = jdn(capfd, "evaluate", out, "--data", place / "photos")[1]
    assert report["ap"].keys() == {"fp32", "int8"}
    assert found["AP"] == report["ap"]["int8"]
