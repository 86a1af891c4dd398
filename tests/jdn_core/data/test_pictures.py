"""Image files: inside their folder only, upright, whole, RGB."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from jdn_core.data import pictures
from jdn_core.errors import DataError

# A smooth photo-like picture, 24 high and 32 wide, so that JPEG hardly changes it.
PHOTO = np.stack(np.meshgrid(np.linspace(20, 220, 32), np.linspace(40, 200, 24)), axis=2)
PHOTO = np.concatenate([PHOTO, PHOTO[..., :1] / 2 + 30], axis=2).round().astype(np.uint8)


def photo(path: Path, mode: str = "RGB", **options: object) -> Path:
    Image.fromarray(PHOTO).convert(mode).save(path, **options)
    return path


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that promises a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    sized = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + sized + b"\0\0\0\0IEND\xaeB`\x82")
    return path


@pytest.mark.parametrize(
    "name", ["", "/etc/hostname", "../secret.png", "a/../../secret.png", "..", "a\0.png"]
)
def test_a_name_that_climbs_or_is_absolute_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="relative path without"):
        pictures.locate(tmp_path, name)


@pytest.mark.parametrize("name", ["link.png", "folder/secret.png", "chain.png"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "images", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    photo(outside / "secret.png")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "chain.png").symlink_to("link.png")
    with pytest.raises(ValueError, match="link that leaves"):
        pictures.locate(root, name)


def test_links_inside_and_a_linked_folder_are_fine(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    photo(tmp_path / "store" / "a.png")
    (tmp_path / "store" / "b.png").symlink_to("a.png")
    (tmp_path / "images").symlink_to(tmp_path / "store")
    assert pictures.locate(tmp_path / "images", "b.png").is_file()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, reason in (("pipe.png", "not a regular"), (".", "not a regular"), ("loop.png", "no such file")):
        with pytest.raises(ValueError, match=reason):
            pictures.locate(tmp_path, name)
    with pytest.raises(ValueError, match="no such file"):
        pictures.locate(tmp_path, "x" * 5000)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1"])
def test_every_png_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    pixels = pictures.read_pixels(photo(tmp_path / "a.png", mode))
    assert (pixels.shape, pixels.dtype) == ((24, 32, 3), np.uint8)
    if mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(pixels, PHOTO)


def test_cmyk_has_its_colours(tmp_path: Path) -> None:
    """Pillow writes CMYK as Adobe does, inverted, so this also shows that the inversion is undone."""
    pixels = pictures.read_pixels(photo(tmp_path / "a.jpg", "CMYK", quality=95))
    assert np.abs(pixels.astype(int) - PHOTO).mean() < 3


def test_sixteen_bit_gray_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    gray = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png")
    pixels = pictures.read_pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[..., 0], np.rint(gray / 257))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff: .*8 or 16 bits"):
        pictures.read_pixels(tmp_path / "a.tiff")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_exif_orientation_is_applied_to_size_and_pixels(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # Pillow's transpositions that the tag asks a viewer to undo
    stored = Image.fromarray(PHOTO)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(pictures.read_pixels(tmp_path / f"a.{suffix}"), PHOTO)
    assert pictures.measure([tmp_path / f"a.{suffix}"]) == [(32, 24)]


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (40, 7)])
def test_a_jpeg_may_be_smaller_than_the_blocks_of_its_format(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    assert pictures.measure([tmp_path / "a.jpg"], decode=True) == [size]


def test_damaged_exif_means_upright(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert pictures.measure([path]) == [(32, 24)]
    assert pictures.read_pixels(path).shape == (24, 32, 3)


@pytest.mark.parametrize(("width", "height"), [(10_000, 5_001), (30_000, 30_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    path = png_header(tmp_path / "bomb.png", width, height)
    (found,) = pictures.measure([path], decode=True)
    assert isinstance(found, DataError)
    assert "image must have at most 50 Mpx" in str(found)
    with pytest.raises(DataError, match=r"bomb\.png: image must have at most 50 Mpx"):
        pictures.read_pixels(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_a_truncated_image_is_seen_without_decoding_all_images(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = photo(tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    (found,) = pictures.measure([path])
    assert isinstance(found, DataError)
    with pytest.raises(DataError, match=rf"a\.{suffix}: "):
        pictures.read_pixels(path)


def test_half_an_image_is_no_image_even_if_a_library_allowed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = photo(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be decoded"):
        pictures.read_pixels(path)


def test_broken_data_inside_is_seen_by_decoding(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", compress_level=1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20] = bytes(20)
    path.write_bytes(bytes(content))
    assert pictures.measure([path]) == [(32, 24)]
    assert isinstance(pictures.measure([path], decode=True)[0], DataError)


def test_formats_that_start_programs_or_are_no_photos_are_not_tried(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.eps")
    with pytest.raises(DataError, match="not an image of a known format"):
        pictures.read_pixels(path)


def test_what_pillow_warns_about_stays_inside(tmp_path: Path) -> None:
    before = list(warnings.filters)
    palette = Image.fromarray(PHOTO).convert("P")
    palette.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert pictures.read_pixels(tmp_path / "a.png").shape == (24, 32, 3)
    assert warnings.filters == before


@pytest.mark.parametrize("name", ["plain.jpg", "gray.png", "alpha.webp"])
def test_contents_in_memory_are_read_as_the_file_is(tmp_path: Path, name: str) -> None:
    mode = {"plain.jpg": "RGB", "gray.png": "L", "alpha.webp": "RGBA"}[name]
    path = photo(tmp_path / name, mode)
    assert np.array_equal(pictures.decode(path.read_bytes(), name), pictures.read_pixels(path))


def test_contents_that_are_no_picture_are_named_as_the_caller_names_them(tmp_path: Path) -> None:
    whole = photo(tmp_path / "whole.png").read_bytes()
    huge = png_header(tmp_path / "huge.png", 9999, 9999).read_bytes()
    for contents in (b"", b"not a picture", whole[: len(whole) // 2], huge):
        with pytest.raises(DataError, match=r"^image 3: "):
            pictures.decode(contents, "image 3")
