"""Whatever a file holds, reading it ends well or in an error for the user, and nothing in it ever runs."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from flows.inputs.settings_file import dump, load, read_set
from jdn_core.data.coco.checking import check
from jdn_core.data.coco.dataset import ground_truth, read_image
from jdn_core.data.coco.dataset import load as load_data
from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.errors import CheckpointError, DataError, SettingsError
from tests.tiny_run import tiny_settings

pytestmark = pytest.mark.slow

# The folder of a test is used by all of its examples, each of which writes its file anew.
many = examples(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 7, 2**31, 2**63, 10**400])
    | st.floats()
    | st.sampled_from([1e308, -1e308, 5e-324, float("nan"), float("inf")])
    | st.text(max_size=5)
    | st.sampled_from(["", ".", "..", "a.png", "/a.png", "a.png/", "a\0", "\ud800", "C:\\a.png", "~", "a\n"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
CHOICES = st.lists(st.tuples(st.integers(0, 10**6), VALUES), min_size=1, max_size=3)
Choices = list[tuple[int, Any]]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value anywhere below."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from places(node[key])


def changed(sound: Any, choices: Choices) -> Any:
    """The same with a few values replaced by others."""
    data = copy.deepcopy(sound)
    for number, value in choices:
        if found := list(places(data)):
            container, key = found[number % len(found)]
            container[key] = value
    return data


def damaged(sound: bytes, cuts: list[tuple[int, bytes]]) -> bytes:
    """The same with a few stretches overwritten, or put in."""
    data = bytearray(sound)
    for number, piece in cuts:
        start = number % (len(data) + 1)
        data[start : start + (len(piece) if number % 2 else 0)] = piece
    return bytes(data)


CUTS = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), min_size=1, max_size=4)

SOUND = {
    "images": [{"id": 7, "file_name": "a.png", "width": 8, "height": 6}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0.5, 0, 2, 2], "area": 4.0, "iscrowd": 1},
    ],
    "categories": [{"id": 90, "name": "cup"}, {"id": 3, "name": "dog"}],
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def read_annotations(folder: Path, contents: bytes) -> None:
    """A check and a training agree on what is sound; what is sound can be learned from and evaluated."""
    file = folder / "train.json"
    file.write_bytes(contents)
    for drop in (False, True):
        found = check(file, images=folder, drop_bad_boxes=drop)
        if found.ok:
            dataset = load_data(file, folder, drop_bad_boxes=drop)
            assert len(ground_truth(dataset).imgs) == len([read_image(image) for image in dataset.images])
        else:
            with suppress(DataError):  # broken pixels are found by a check alone
                load_data(file, folder, drop_bad_boxes=drop)


@many
@given(CHOICES)
def test_annotations_with_any_values(photo: Path, choices: Choices) -> None:
    read_annotations(photo.parent, json.dumps(changed(SOUND, choices)).encode())


@many
@given(CUTS)
def test_annotations_with_any_bytes(photo: Path, cuts: list[tuple[int, bytes]]) -> None:
    read_annotations(photo.parent, damaged(json.dumps(SOUND).encode(), cuts))


@many
@given(CUTS, st.sampled_from(["png", "jpeg", "webp", "gif", "bmp", "tiff"]))
def test_images_with_any_bytes(photo: Path, cuts: list[tuple[int, bytes]], kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, kind)
    photo.write_bytes(damaged(buffer.getvalue(), cuts))
    read_annotations(photo.parent, json.dumps(SOUND).encode())


def read_settings(folder: Path, contents: bytes | str, *sets: str) -> None:
    """Settings that are read can be written and read again."""
    file = folder / "s.yaml"
    file.write_bytes(contents.encode(errors="surrogatepass") if isinstance(contents, str) else contents)
    with suppress(SettingsError):
        found = load(str(file), read_set(sets))
        file.write_text(dump(found))
        assert load(str(file)) == found


PLAIN = tiny_settings(Path("data")).model_dump(mode="json")
YAML = dump(tiny_settings(Path("data"))).encode()


@many
@given(CHOICES)
def test_settings_with_any_values(tmp_path: Path, choices: Choices) -> None:
    read_settings(tmp_path, json.dumps(changed(PLAIN, choices)))


@many
@given(CUTS)
def test_settings_with_any_bytes(tmp_path: Path, cuts: list[tuple[int, bytes]]) -> None:
    read_settings(tmp_path, damaged(YAML, cuts))


WORDS = ["&a", "*a", "!!x", "---", "...", "<<", "0x_", "0b", "1e3", "  ", "search", "seed", "2001-99-99"]
PIECES = [*"&*!:-?,[]{}|>%@`#=~'\"\n\t\\", *WORDS]


@many
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_settings_with_any_punctuation(tmp_path: Path, pieces: list[str]) -> None:
    read_settings(tmp_path, " ".join(pieces), f"seed={' '.join(pieces)}")


@many
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_override(tmp_path: Path, key: str, value: str) -> None:
    read_settings(tmp_path, YAML, f"{key}={value}")
    read_settings(tmp_path, YAML, f"search.{value}={key}")


class Marker:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ran.append, (True,)


ran: list[bool] = []


def pickled(*, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    state = {"state_dict": {"conv1.weight": torch.ones(4)}, "meta": {"CLASSES": ["cup"], "epoch": 3}}
    torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


CHECKPOINTS = {
    "zip": pickled(zipped=True),
    "torch before 1.6": pickled(zipped=False),
    "safetensors": save({"conv1.weight": torch.ones(4)}),
    "code": pickle.dumps({"conv1.weight": Marker()}, protocol=2),
    "nothing": b"",
}


@pytest.mark.parametrize("sound", CHECKPOINTS.values(), ids=CHECKPOINTS)
@many
@given(CUTS)
def test_checkpoints_with_any_bytes(tmp_path: Path, sound: bytes, cuts: list[tuple[int, bytes]]) -> None:
    (tmp_path / "a.pth").write_bytes(damaged(sound, cuts))
    with suppress(CheckpointError):
        assert all(name for name in read_checkpoint(tmp_path / "a.pth").tensors)
    assert ran == []
