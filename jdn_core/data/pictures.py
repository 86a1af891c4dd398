"""Image files: found inside their folder only, measured by their header, decoded whole or not at all.

Every way here gives the upright picture: EXIF's orientation is applied before anyone sees a size or a pixel.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from jdn_core.errors import DataError, Problem
from jdn_core.settings.data import MOST_PIXELS

# Pillow would also start Ghostscript for EPS and read dozens of old formats; datasets come in these.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = (5, 6, 7, 8)


def locate(root: Path, file_name: str) -> Path:
    """Returns the regular file inside ``root`` that ``file_name`` names.

    Raises:
        ValueError: the name is absolute, climbs with ``..``, follows a link out of ``root``, or no regular
            file is there; the message is the rule that does not hold.
    """
    name = PurePath(file_name)
    if not file_name or "\0" in file_name or name.is_absolute() or ".." in name.parts:
        raise ValueError("file_name must be a relative path without '..'")
    path = root / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise ValueError("file_name must not be a link that leaves the image folder")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(f"no such file in {root.name}/ ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"not a regular file in {root.name}/")
    return path


def measure(paths: Sequence[Path], *, decode: bool = False) -> list[tuple[int, int] | DataError]:
    """Returns (width, height) of every upright image, from its header, or what is wrong with the file.

    Wrong is what is not an image, is over 50 Mpx, or is truncated.

    Args:
        paths: regular files.
        decode: read every file to its end, which also finds broken data inside; 0.6 ms for a small photo
            instead of 0.2 ms. Without it only files that do not end as their format must are read that far.
    """
    with _quiet():
        return [_measure(path, decode=decode) for path in paths]


def read_pixels(path: Path) -> np.ndarray:
    """Returns the whole upright image as RGB.

    Gray is repeated, a palette looked up, CMYK converted (also Adobe's inverted kind), 16 bits scaled to 8,
    and an alpha channel left out.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: not an image, damaged, over 50 Mpx, or of a pixel type without a known range (32-bit,
            float).
    """
    with _quiet(), _opened(path) as image:
        return _upright(image)


def decode(contents: bytes, name: str) -> np.ndarray:
    """Decodes a file's contents as ``read_pixels`` does; ``name`` is what messages call it."""
    with _quiet(), _opened(Path(name), contents) as image:
        return _upright(image)


def _measure(path: Path, *, decode: bool) -> tuple[int, int] | DataError:
    try:
        with _opened(path) as image:
            width, height = image.size
            turned = _orientation(image) in _QUARTER_TURNS
            if decode or not _ends_well(path, image.format):
                # An eighth of the size spares JPEG half of the work and sees the same errors.
                image.draft(None, (max(1, width // 8), max(1, height // 8)))
                image.load()
    except DataError as error:
        return error
    return (height, width) if turned else (width, height)


def _ends_well(path: Path, format: str | None) -> bool:
    """Returns whether a file's last bytes are those of its format; False where the format has none."""
    end = _ENDS.get(format or "")
    if end is None:
        return False
    with path.open("rb") as file:
        file.seek(-len(end), os.SEEK_END)
        return file.read() == end


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings about large images, odd EXIF and palettes; our own rules decide."""
    # A library that switches this on would turn half an image into a half-gray one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(path: Path, contents: bytes | None = None) -> Iterator[Image.Image]:
    """Opens an image within the pixel limit; what a decoder says about the file becomes a DataError.

    Args:
        path: the file.
        contents: of the file, if they need not be read.
    """
    limit = f"image must have at most {MOST_PIXELS // 10**6} Mpx"
    try:
        with Image.open(path if contents is None else io.BytesIO(contents), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _damaged(path, limit, f"{image.width}x{image.height}")
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise _damaged(path, "is not an image of a known format") from None
    except Image.DecompressionBombError:
        raise _damaged(path, limit) from None
    except Exception as error:  # on damaged bytes decoders raise whatever their parsers happen to raise
        raise _damaged(path, f"cannot be decoded: {error}") from None


def _damaged(path: Path, what: str, value: str = "") -> DataError:
    return DataError.of([Problem(path.name, "", what, value, "replace the file")])


def _upright(image: Image.Image) -> np.ndarray:
    orientation = _orientation(image)
    rgb = _rgb(image)
    upright = rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb
    return np.array(upright, dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    """Returns EXIF's orientation, 1 to 8; 1 if there is none, it is damaged, or Pillow applies it (TIFF)."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return (
            1  # where a PNG's header has none, Pillow would decode the whole file to look behind the pixels
        )
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (
        Exception
    ):  # damaged EXIF is common in good photos; a turned one still fails the comparison of sizes
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.float32) / 257.0
        return Image.fromarray(np.rint(gray).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels must have 8 or 16 bits a channel, got Pillow's mode {image.mode}")
    return image.convert("RGB")
