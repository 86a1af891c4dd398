"""Generates detection scenes of real difficulty: a test bed for the search.

Two classes each share their colours and differ in shape alone. Textures, scales, poses and light are drawn
without regard to the class, objects hide parts of each other, and shapes of no class lie among them. There
are two worlds with different classes and textures: ``broad`` stands for the data that a detector was
pretrained on, ``own`` for a user's photos. Scenes are PNG files and every number is rounded to whole pixels
and grey levels, so that a seed draws the same scenes on every platform. How fast detectors learn from them,
and what is not yet known about larger ones, is in ``docs/measurements.md``.
"""

from __future__ import annotations

import colorsys
import io
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from jdn_core.errors import UsageError
from jdn_core.storage.durable import commit_folder, stage_folder, write_bytes, write_json

WorldName = Literal["broad", "own"]
Outline = tuple[tuple[float, float], ...]
Texture = Callable[[np.random.Generator, int, int], np.ndarray]

_OVERSAMPLING = 4
_LEAST_SIDE = 6  # pixels; shapes that are smaller look alike
_MOST_HIDDEN = 0.4  # share of an object that others may hide
_STRETCH = (0.75, 1.3)
_HUES = 0.45  # half the spread of a pair's hues, of the distance between two pairs
_TRIES = 8  # places that are tried for an object


def _round(corners: int, *radii: float) -> Outline:
    """Gives corners on a circle about the origin, whose radii are taken in turn."""
    angles = [2 * math.pi * k / corners for k in range(corners)]
    reach = [radii[k % len(radii)] for k in range(corners)]
    return tuple((r * math.cos(a), r * math.sin(a)) for r, a in zip(reach, angles, strict=True))


def _cells(*rows: str) -> Outline:
    """Gives the outline of a figure of squares: one text per row, with ``x`` where a square is.

    The rows must have one run of ``x`` each, so that the outline runs down the left and up the right side.
    """
    width, height = max(map(len, rows)), len(rows)
    scale = 2 / math.hypot(width, height)
    left, right = [], []
    for y, row in enumerate(rows):
        first, last = row.index("x"), row.rindex("x") + 1
        left += [(first, y), (first, y + 1)]
        right += [(last, y), (last, y + 1)]
    points = left + right[::-1]
    return tuple(((x - width / 2) * scale, (y - height / 2) * scale) for x, y in points)


_BAR = _cells("xxxxx", "xxxxx")
_HALF = _round(32, 1.0)[:17]
_ARROW = ((1.0, 0.0), (0.0, 0.85), (0.0, 0.35), (-1.0, 0.35), (-1.0, -0.35), (0.0, -0.35), (0.0, -0.85))
_KITE = ((1.0, 0.0), (-0.2, 0.62), (-0.9, 0.0), (-0.2, -0.62))


@dataclass(frozen=True)
class World:
    """What the scenes of a world are made of.

    Attributes:
        classes: outlines in the unit circle, by the name of the class.
        strangers: outlines of no class.
        textures: what surfaces look like, objects and ground alike.
    """

    classes: Mapping[str, Outline]
    strangers: tuple[Outline, ...]
    textures: tuple[Texture, ...]


def _axes(rng: np.random.Generator, height: int, width: int, *, least: float, most: float) -> np.ndarray:
    """Gives two turned coordinates of every pixel, [2, height, width], whose unit is a random period."""
    angle, period = rng.uniform(0.0, math.pi), rng.uniform(least, most)
    rows, columns = np.mgrid[:height, :width] / period
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([cos * columns + sin * rows, cos * rows - sin * columns]) + rng.uniform(size=(2, 1, 1))


def _plain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.full((height, width), rng.uniform(0.0, 0.3))


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    first, _ = _axes(rng, height, width, least=4.0, most=9.0)
    return np.asarray(np.abs(2 * (first % 1) - 1))


def _blotches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    cells = rng.integers(256, size=(max(2, height // 6), max(2, width // 6)), dtype=np.uint8)
    soft = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(soft, dtype=float) / 255


def _grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(256, size=(height, width)) / 255


def _dots(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    first, second = _axes(rng, height, width, least=4.0, most=8.0) % 1 - 0.5
    return np.asarray(np.clip(1.5 - 6 * (first * first + second * second), 0.0, 1.0))


def _checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    first, second = np.floor(_axes(rng, height, width, least=2.5, most=5.0))
    return np.asarray((first + second) % 2)


def _ripples(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    centre = rng.uniform(-0.5, 1.5, size=2) * (height, width)
    rows, columns = np.mgrid[:height, :width]
    distance = np.sqrt((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2)
    return np.asarray(np.abs(2 * (distance / rng.uniform(4.0, 8.0) % 1) - 1))


def _bricks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    first, second = _axes(rng, height, width, least=5.0, most=9.0)
    shifted = first / 2 + np.floor(second) / 2
    return np.asarray(((second % 1 < 0.25) | (shifted % 1 < 0.12)).astype(float))


WORLDS: dict[WorldName, World] = {
    "broad": World(
        classes={
            "disc": _round(32, 1.0),
            "flower": _round(10, 1.0, 0.7),
            "square": _round(4, 1.0),
            "cross": _round(12, 1.0, 1.0, 0.4),
            "triangle": _round(3, 1.0),
            "arrow": _ARROW,
            "tee": _cells("xxx", ".x.", ".x."),
            "angle": _cells("xx.", "xx.", "xxx", "xxx"),
        },
        strangers=(_BAR, _HALF, _KITE, _round(5, 1.0), _round(6, 1.0, 0.5), _cells("x.", "xx", "x.")),
        textures=(_plain, _stripes, _blotches, _grain, _dots),
    ),
    "own": World(
        classes={
            "hexagon": _round(6, 1.0),
            "gear": _round(16, 1.0, 1.0, 0.7, 0.7),
            "stair": _cells("x..", "xx.", "xxx"),
            "bolt": _cells("xx.", "xx.", ".xx", ".xx"),
            "propeller": _round(6, 1.0, 0.35),
            "wedge": ((1.0, 0.0), (-0.8, 0.6), (-0.35, 0.0), (-0.8, -0.6)),
        },
        strangers=(_BAR, _HALF, _KITE, _round(4, 1.0, 0.9), _round(8, 1.0, 0.4), _cells("xx", "x.", "x.")),
        textures=(_plain, _checks, _blotches, _ripples, _bricks),
    ),
}


def write_scenes(folder: Path, *, images: int, size: int, seed: int, world: WorldName) -> dict[str, int]:
    """Draws a dataset folder with ``train``, ``val`` and ``test``; it appears whole or not at all.

    Args:
        folder: the folder to make; an empty one may be there.
        images: how many, all splits together, 3 at least; val and test have a sixth each.
        size: side of the square scenes in pixels; 32 at least.
        seed: the same seed draws the same scenes; every scene has a stream of its own.
        world: which classes and textures.

    Returns:
        Counts of ``images``, ``train``, ``val``, ``test``, ``boxes`` and ``categories``.

    Raises:
        UsageError: the folder holds something, or a value is out of its range.
        StorageError: the disk is full or broken.
    """
    if images < 3 or size < 32 or seed < 0 or world not in WORLDS:
        needs = f"images >= 3, size >= 32, seed >= 0 and a world of {', '.join(WORLDS)}"
        raise UsageError(f"needs {needs}, got {images}, {size}, {seed} and {world}")
    taken = UsageError(f"{folder}: must be a new or empty folder, something is there; name another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise taken
    part = max(1, round(images / 6))
    ends = {"train": images - 2 * part, "val": images - part, "test": images}
    counts = {"images": images, "boxes": 0, "categories": len(WORLDS[world].classes)}
    staged = stage_folder(folder)
    try:
        start = 0
        for split, end in ends.items():
            numbers = range(start, end)
            drawn = ((n, draw_scene(_stream(seed, n), size, WORLDS[world])) for n in numbers)
            counts["boxes"] += _write_split(staged, split, drawn, world=WORLDS[world])
            counts[split], start = end - start, end
        if not commit_folder(staged, folder):
            raise taken
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return counts


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, number]))


@dataclass
class Scene:
    """A scene in the making: its pixels, and which object owns each of them.

    Attributes:
        pixels: float64 [size, size, 3], about 0..255.
        owner: int16 [size, size], the number of the topmost object; -1 is the ground.
        whole: pixels of each object, as far as it lies inside.
        labels: class of each object, as an index of the world's classes; none for a stranger.
    """

    pixels: np.ndarray
    owner: np.ndarray
    whole: list[int] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)

    @property
    def image(self) -> np.ndarray:
        """The pixels as they are stored, uint8 [size, size, 3]."""
        return np.asarray(np.clip(np.rint(self.pixels), 0, 255).astype(np.uint8))

    def objects(self) -> list[tuple[int, list[int], int]]:
        """Gives (class, [x, y, width, height], pixels) of what is visible of every object with a class."""
        found = []
        for number, label in enumerate(self.labels):
            if label is not None:
                rows, columns = np.nonzero(self.owner == number)
                x, y = int(columns.min()), int(rows.min())
                box = [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
                found.append((label, box, len(rows)))
        return found


def draw_scene(rng: np.random.Generator, size: int, world: World) -> Scene:
    """Draws 6 to 12 objects and 1 to 4 strangers on textured ground, as far as there is room for them."""
    ground = rng.uniform(70.0, 190.0) + rng.uniform(-25.0, 25.0, size=3)
    scene = Scene(_surface(rng, (size, size), world, ground), np.full((size, size), -1, dtype=np.int16))
    light = rng.uniform(-1.0, 1.0, size=2)
    labels = [*rng.integers(len(world.classes), size=rng.integers(6, 13)).tolist()]
    places: list[int | None] = [*labels, *[None] * int(rng.integers(1, 5))]
    for index in rng.permutation(len(places)):
        _place(scene, rng, places[index], world, light)
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    shade = 1.0 + rng.uniform(0.0, 0.6) * (light[0] * rows + light[1] * columns)
    noise = rng.integers(-12, 13, size=scene.pixels.shape) * rng.uniform()
    scene.pixels = scene.pixels * shade[..., None] + noise
    return scene


def _place(
    scene: Scene, rng: np.random.Generator, label: int | None, world: World, light: np.ndarray
) -> None:
    """Tries a few places for an object and takes the first where it hides no other too much."""
    size = scene.owner.shape[0]
    if label is None:
        outline = world.strangers[rng.integers(len(world.strangers))]
    else:
        outline = tuple(world.classes.values())[label]
    for _ in range(_TRIES):
        radius = max(5.0, size / 5 * 2.5 ** (rng.uniform() - 1))
        cover = _mask(outline, radius, rng)
        side = len(cover)
        top, left = rng.integers(-side // 5, size - 4 * side // 5, size=2)  # a fifth may lie outside
        rows, columns = (slice(max(0, edge), min(edge + side, size)) for edge in (top, left))
        inside = cover[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        if _fits(scene, (rows, columns), inside > 0.5):
            _cast_shadow(scene, inside, (rows.start, columns.start), np.rint(-light * radius / 3))
            surface = _lit(rng, inside.shape, world, _object_colour(rng, label, world), light)
            _paint(scene, (rows, columns), inside, surface)
            scene.whole.append(int((inside > 0.5).sum()))
            scene.labels.append(label)
            return


def _fits(scene: Scene, place: tuple[slice, slice], solid: np.ndarray) -> bool:
    """Tells whether an object is large enough there and leaves enough of the others visible."""
    rows, columns = np.nonzero(solid)
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) + 1 < _LEAST_SIDE:
        return False
    covered = scene.owner[place][solid]
    for number in np.unique(covered[covered >= 0]):
        left = (scene.owner == number).sum() - (covered == number).sum()
        if left < (1 - _MOST_HIDDEN) * scene.whole[number]:
            return False
    return True


def _cast_shadow(scene: Scene, cover: np.ndarray, start: tuple[int, int], shift: np.ndarray) -> None:
    """Darkens what lies beside an object, away from the light."""
    size = scene.owner.shape[0]
    top, left = (int(edge + step) for edge, step in zip(start, shift, strict=True))
    rows, columns = (
        slice(max(0, edge), min(edge + side, size))
        for edge, side in zip((top, left), cover.shape, strict=True)
    )
    if rows.start < rows.stop and columns.start < columns.stop:
        part = cover[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        scene.pixels[rows, columns] *= 1.0 - 0.35 * part[..., None]


def _paint(scene: Scene, place: tuple[slice, slice], cover: np.ndarray, surface: np.ndarray) -> None:
    """Puts an object's surface on top of what is there."""
    scene.pixels[place] += cover[..., None] * (surface - scene.pixels[place])
    scene.owner[place][cover > 0.5] = len(scene.whole)


def _lit(
    rng: np.random.Generator, shape: tuple[int, ...], world: World, colour: np.ndarray, light: np.ndarray
) -> np.ndarray:
    """Gives an object's surface, brighter towards the light, [height, width, 3]."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    slope = light[0] * (rows / height - 0.5) + light[1] * (columns / width - 0.5)
    return np.asarray(_surface(rng, shape, world, colour) * (1.0 + rng.uniform(0.0, 0.6) * slope)[..., None])


def _surface(
    rng: np.random.Generator, shape: tuple[int, ...], world: World, colour: np.ndarray
) -> np.ndarray:
    """Mixes a colour with a darker or lighter one by one of the world's textures, [height, width, 3]."""
    texture = world.textures[rng.integers(len(world.textures))]
    share = texture(rng, shape[0], shape[1])[..., None]
    return colour * (1.0 + share * rng.uniform(-0.45, 0.45))


def _object_colour(rng: np.random.Generator, label: int | None, world: World) -> np.ndarray:
    """Draws a colour of the pair of classes that a class belongs to; any colour for a stranger, RGB."""
    pairs = len(world.classes) // 2
    hue = rng.uniform() if label is None else (label // 2 + rng.uniform(-_HUES, _HUES)) / pairs
    rgb = colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.45, 1.0), rng.uniform(0.5, 1.0))
    return 255.0 * np.array(rgb)


def _mask(outline: Outline, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Gives how much of each pixel a turned and stretched shape covers, [side, side] in 0..1."""
    angle, lean = rng.uniform(0.0, 2 * math.pi), rng.uniform(-0.25, 0.25)
    across, along = rng.uniform(*_STRETCH, size=2) * radius * _OVERSAMPLING
    cos, sin = math.cos(angle), math.sin(angle)
    side = 2 * math.ceil(1.5 * radius) + 2
    middle = side * _OVERSAMPLING / 2
    canvas = Image.new("L", (side * _OVERSAMPLING,) * 2)
    points = [((x + lean * y) * across, y * along) for x, y in outline]
    corners = [(round(middle + cos * x - sin * y), round(middle + sin * x + cos * y)) for x, y in points]
    ImageDraw.Draw(canvas).polygon(corners, fill=255)
    return np.asarray(canvas.reduce(_OVERSAMPLING), dtype=float) / 255


def _write_split(folder: Path, split: str, scenes: Iterable[tuple[int, Scene]], *, world: World) -> int:
    """Writes one split's numbered scenes and its annotation file; gives the count of its boxes."""
    (folder / split).mkdir()
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in scenes:
        name, size = f"{number:06d}.png", scene.owner.shape[0]
        write_bytes(folder / split / name, _png(scene.image))
        images.append({"id": number + 1, "file_name": name, "width": size, "height": size})
        for label, box, area in scene.objects():
            row = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": label + 1}
            annotations.append(row | {"bbox": box, "area": area, "iscrowd": 0})
    categories = [{"id": rank, "name": name} for rank, name in enumerate(world.classes, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / "annotations" / f"{split}.json", content, indent=None)
    return len(annotations)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
