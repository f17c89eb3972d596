"""Photo-like JPEGs for tests that have no photos: drawn from a seed, encoded in the ways of real files.

A photo is made of "dead leaves", things that cover each other: as in photos there are edges of all sizes, and between
them gradients, textures and the noise of a sensor.
Source: Lee, Mumford and Huang, Occlusion models for natural images, 2001.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("bird", "cat", "dog", "vehicle")
SIZES = (  # height and width, many of them odd
    (333, 500), (375, 500), (500, 333), (188, 500), (336, 501), (400, 279), (250, 206), (534, 800),
    (310, 396), (437, 371), (501, 375), (302, 563), (320, 308), (511, 613), (300, 400), (353, 499),
)  # fmt: skip
ENCODINGS = (
    {"quality": 92, "subsampling": "4:2:0"},
    {"quality": 85, "subsampling": "4:4:4"},
    {"quality": 75, "subsampling": "4:2:0", "progressive": True},
    {"quality": 95, "subsampling": "4:2:2"},
    {"quality": 90, "subsampling": "4:2:0", "optimize": True, "restart_marker_rows": 1},
    {"quality": 96, "subsampling": "4:4:4", "progressive": True},
    {"quality": 80, "subsampling": "4:2:0"},
)
LEAVES = 250  # so that neighbours differ as much as in photos: 7.5 levels in the mean at 224 x 224
GRAY = 15  # one photo of so many


def write_photos(root: Path, count: int = 32) -> None:
    """An ImageFolder of four classes; the same files each time."""
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        photo = draw_photo(height, width, np.random.default_rng(number))
        path = root / CLASSES[number % len(CLASSES)] / f"drawn_{number:02}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.convert("L" if number % GRAY == GRAY - 1 else "RGB").save(path, **ENCODINGS[number % len(ENCODINGS)])


def draw_photo(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """RGB; leaves before a sky, shaded, textured, a little out of focus, with noise."""
    sky = np.stack([_smooth(height, width, 3, rng) for _ in range(3)], 2) * 110 + 128
    photo = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(photo)
    smallest, largest = 4.0, min(height, width) / 3
    radii = np.sort(1 / np.sqrt(rng.uniform(largest**-2, smallest**-2, LEAVES)))[::-1]  # as many at every scale
    for radius in radii:
        draw.polygon(_leaf(height, width, radius, rng), fill=_colour(rng))
    focused = np.asarray(photo.filter(ImageFilter.GaussianBlur(0.5))).astype(np.float64)
    light = _smooth(height, width, 4, rng) * 60
    for size in (2, 4, 8, 16):  # texture, in some places more than in others
        light += _smooth(height, width, max(height, width) // size, rng) * (12 + 12 * _smooth(height, width, 3, rng))
    noisy = focused + light[..., None] + rng.normal(0, 2, focused.shape)
    return Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))


def _smooth(height: int, width: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) around 0, from -1 to 1, changing over as many cells."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float64)


def _colour(rng: np.random.Generator) -> tuple[int, ...]:
    """From black to white, mostly dull."""
    return tuple((rng.uniform(0, 256) + rng.normal(0, 40, 3)).clip(0, 255).astype(int).tolist())


def _leaf(height: int, width: int, radius: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """The corners of a blob or, of few corners, of something that was built."""
    corners = int(rng.choice((3, 4, 5, 24)))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners < 24 else np.linspace(0, 2 * np.pi, corners)
    stretch = rng.uniform(0.5, 1.0, 2)
    rows = rng.uniform(0, height) + radius * stretch[0] * np.sin(angles)
    columns = rng.uniform(0, width) + radius * stretch[1] * np.cos(angles)
    return list(zip(columns.tolist(), rows.tolist(), strict=True))
