"""Files of every format, opened in their own runtimes, find what the detector finds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from jdn_core.data.coco.dataset import load
from jdn_core.data.shapes import generate
from jdn_core.errors import CheckpointError, InputMissing, UsageError
from jdn_core.export import parity
from jdn_core.export.extras import extra
from jdn_core.export.label import ENDINGS, Format, Label
from jdn_core.export.quantisation import quantise
from jdn_core.export.runtimes import FileDetector, open_file
from jdn_core.export.writing import convert_to_openvino, write
from jdn_core.space.architecture import Resolution
from tests.jdn_core.export.test_graph import sharp
from tests.jdn_core.tiny import REGION, tiny_spec

pytestmark = pytest.mark.slow  # an export to ONNX takes ten seconds
SPEC = replace(tiny_spec(), region=replace(REGION, proposals=(60, 20), detections=20))
FORMATS: tuple[Format, ...] = ("onnx", "pt2", "torchscript", "openvino")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, Path]:
    """A file of each format with a fixed frame; OpenVINO's comes from the ONNX file, as ``write`` does it."""
    detector = sharp(SPEC)
    made: dict[str, Path] = {}
    for format in ("onnx", "pt2", "torchscript"):
        place = folder / format
        place.mkdir()
        made[format] = write(detector, Label(SPEC, format), place)[-1]
    label = Label(SPEC, "openvino")
    made["openvino"] = convert_to_openvino(made["onnx"], label, folder / "model.xml")[-1]
    return made


@pytest.fixture(scope="module")
def photos(folder: Path) -> list[np.ndarray]:
    """Ten drawn pictures, half of them turned to portrait."""
    generate(folder / "data", images=50, size=96, seed=4)
    dataset = load(folder / "data" / "annotations" / "val.json", folder / "data" / "val")
    return parity.pictures(dataset.images, 10)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_finds_the_same_boxes(
    files: dict[str, Path], photos: list[np.ndarray], format: Format
) -> None:
    file = open_file(files[format], threads=1)
    found = parity.compare(sharp(SPEC), file, photos)
    assert found.is_same, found
    assert found.boxes > 20
    assert (file.label.format, file.label.precision, file.spec) == (format, "fp32", SPEC)


def test_openvino_reads_the_onnx_file_too(files: dict[str, Path], photos: list[np.ndarray]) -> None:
    file = open_file(files["onnx"], runtime="openvino", threads=1)
    assert parity.compare(sharp(SPEC), file, photos).is_same


@pytest.mark.parametrize("format", ["torchscript", "onnx"])
def test_a_dynamic_file_takes_frames_of_any_size(folder: Path, format: Format) -> None:
    place = folder / f"dynamic-{format}"
    place.mkdir()
    detector = sharp(SPEC)
    file = open_file(write(detector, Label(SPEC, format, dynamic=True), place)[-1], threads=1)
    for height, width, batch in ((32, 32, 1), (128, 64, 3), (64, 160, 2)):
        pixels = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height))
        sizes = [(height - 3, width - number) for number in range(batch)]
        for wanted, got in zip(detector.detect(pixels, sizes), file.detect(pixels, sizes), strict=True):
            torch.testing.assert_close(got["boxes"], wanted["boxes"], rtol=0, atol=parity.SAME_BOX)
            torch.testing.assert_close(got["scores"], wanted["scores"], rtol=0, atol=parity.SAME_SCORE)


def test_a_fixed_frame_fills_small_images_up_and_refuses_large_ones(files: dict[str, Path]) -> None:
    file = open_file(files["torchscript"])
    assert file.filled_up(torch.ones(1, 3, 32, 64)).shape == (1, 3, 64, 96)
    with pytest.raises(ValueError, match=r"^images must be at most 96x64, got 96x96$"):
        file.detect(torch.zeros(1, 3, 96, 96), [(96, 96)])


def test_float16_takes_half_the_room(folder: Path, files: dict[str, Path]) -> None:
    place = folder / "half"
    place.mkdir()
    path = write(sharp(SPEC), Label(SPEC, "torchscript", "fp16"), place)[-1]
    assert path.stat().st_size < 0.75 * files["torchscript"].stat().st_size
    assert open_file(path).label.precision == "fp16"


def test_int8_is_smaller_and_finds_most_boxes(
    folder: Path, files: dict[str, Path], photos: list[np.ndarray]
) -> None:
    dataset = load(folder / "data" / "annotations" / "train.json", folder / "data" / "train")
    path = folder / "int8.onnx"
    quantise(files["onnx"], path, dataset.images, photos=8)
    file = open_file(path, threads=1)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert file.label.precision == "int8"
    assert {"QuantizeLinear", "NonMaxSuppression"} <= kinds
    assert path.stat().st_size < files["onnx"].stat().st_size
    assert parity.compare(sharp(SPEC), file, photos).images == 10
    turned = convert_to_openvino(path, replace(file.label, format="openvino"), folder / "int8.xml")
    assert open_file(turned[-1]).label.precision == "int8"


def test_int8_without_photos_is_refused(folder: Path, files: dict[str, Path]) -> None:
    with pytest.raises(InputMissing, match="needs photos of the training split"):
        quantise(files["onnx"], folder / "none.onnx", ())
    assert not (folder / "none.onnx").exists()
    with pytest.raises(UsageError, match="int8 needs calibration"):
        write(sharp(SPEC), Label(SPEC, "onnx", "int8"), folder)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_file_is_refused(
    files: dict[str, Path], tmp_path: Path, format: Format, damage: str
) -> None:
    whole = files[format].read_bytes()
    path = tmp_path / f"broken{ENDINGS[format]}"
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"weights"}[damage])
    (tmp_path / "broken.bin").write_bytes(files["openvino"].with_suffix(".bin").read_bytes())
    with pytest.raises(CheckpointError, match=r"broken\.\w+: (damaged|not a file)"):
        open_file(path)


def test_openvinos_weights_are_compared_with_their_hash(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(files["openvino"].read_bytes())
    with pytest.raises(CheckpointError, match=r"model\.bin: no such file; OpenVINO's weights lie beside"):
        open_file(path)
    weights = files["openvino"].with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(weights[:-64])
    with pytest.raises(CheckpointError, match=r"model\.bin: damaged: SHA-256 must be "):
        open_file(path)


def test_files_of_other_tools_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(files["onnx"])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.load(files["torchscript"]), tmp_path / "other.torchscript")
    openvino = extra("openvino")
    read = openvino.Core().read_model(tmp_path / "other.onnx")
    openvino.serialize(read, tmp_path / "other.xml", tmp_path / "other.bin")
    for name in ("other.onnx", "other.torchscript", "other.xml"):
        with pytest.raises(CheckpointError, match=f"{name}: not a file of jdn, it has no label"):
            open_file(tmp_path / name)


def test_a_runtime_says_what_it_does_not_read(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="onnx is read by onnxruntime and openvino, not by torch"):
        open_file(files["onnx"], runtime="torch")
    with pytest.raises(UsageError, match=r"an exported file ends in \.onnx, \.pt2, \.torchscript, \.xml$"):
        open_file(tmp_path)
    with pytest.raises(InputMissing, match=r"a\.onnx: no such file$"):
        open_file(tmp_path / "a.onnx")


def test_the_label_tells_another_program_what_it_needs(files: dict[str, Path]) -> None:
    (entry,) = (each for each in onnx.load(files["onnx"]).metadata_props if each.key == "jdn")
    said = json.loads(entry.value)
    assert said["classes"] == {"1": "circle", "2": "square"}
    assert (said["resolution"], said["input"], said["score_threshold"]) == ("96x64", [64, 96], 0.05)
    assert "0..1" in said["preprocessing"]["images"]


@pytest.mark.parametrize("format", FORMATS)
def test_no_file_names_a_place_of_the_machine_that_wrote_it(files: dict[str, Path], format: Format) -> None:
    assert str(Path(__file__).parents[3]).encode() not in files[format].read_bytes()


def test_a_label_of_another_kind_is_refused() -> None:
    text = Label(SPEC, "onnx").to_text()
    assert Label.from_text(text, Path("a")) == Label(SPEC, "onnx")
    for old, new in (('"schema": 1', '"schema": 2'), ('"fp32"', '"fp8"'), ('"neck"', '"nick"'), ("{", "[")):
        with pytest.raises(CheckpointError, match=r"^a: its label cannot be read: "):
            Label.from_text(text.replace(old, new, 1), Path("a"))


@pytest.mark.parametrize(
    ("size", "dynamic", "frame"),
    [
        ((40, 30), False, Resolution(96, 64)),
        ((30, 40), False, Resolution(64, 64)),
        ((30, 40), True, Resolution(96, 64)),
    ],
)
def test_a_picture_that_lies_the_other_way_is_made_to_fit(
    size: tuple[int, int], dynamic: bool, frame: Resolution
) -> None:
    assert Label(SPEC, "onnx", dynamic=dynamic).frame_of(*size, Resolution(96, 64)) == frame


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_missing_extra_is_named_with_its_command(
    without_extras: None, files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"onnxruntime is not installed; pip install 'jdn\[export\]'$"):
        open_file(files["onnx"])
    with pytest.raises(UsageError, match=r"openvino is not installed; pip install 'jdn\[openvino\]'$"):
        open_file(files["openvino"])
    with pytest.raises(UsageError, match=r"onnxscript is not installed; pip install 'jdn\[export\]'$"):
        write(sharp(SPEC), Label(SPEC, "onnx"), tmp_path)


def test_a_file_is_a_detector_for_what_evaluates(files: dict[str, Path]) -> None:
    file = open_file(files["torchscript"])
    assert isinstance(file, FileDetector)
    assert list(file.parameters()) == []
    assert not file.training
