"""The demo's images: ten kinds of shapes, drawn by distance functions, on noisy backgrounds and among clutter.

Colour, size, place and angle say nothing about the class, so that a network has to learn the shapes.
"""

from collections.abc import Callable

import numpy as np

VERSION = 1  # raise it with any change of the drawings: folders of an older version are not used again
SIDES = (48, 160)  # pixels
ASPECTS = (2 / 3, 3 / 2)
RADII = (0.25, 0.4)  # of the short side
CONTRAST = 90  # least distance of the shape's colour from the background's, of 255 levels
STROKES = 2  # at most so many behind the shape, and as many in front of it

# Coordinates in which the shape has a radius of 1: pixels of x, pixels of y, a generator for the shape's own variation.
Distance = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def draw_image(kind: str, generator: np.random.Generator) -> np.ndarray:
    """One image of a class.

    Args:
        kind: one of `KINDS`.
        generator: what size, place, colours and clutter are drawn from.

    Returns:
        (H, W, 3) uint8, H and W from `SIDES`.
    """
    height, width = _draw_size(generator)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = _draw_background(x, y, generator)
    background = image.mean((0, 1))
    _draw_strokes(image, x, y, generator)
    side = min(height, width)
    radius = generator.uniform(*RADII) * side
    centre = np.array([width, height]) / 2 + generator.uniform(-1, 1, 2) * (
        0.5 * side - 0.9 * radius
    )  # a central square shows most of it
    right, down = _turned(x - centre[0], y - centre[1], generator.uniform(0, 2 * np.pi))
    stretch = np.exp(generator.uniform(-0.15, 0.15))
    distance = KINDS[kind](right / radius * stretch, down / radius / stretch, generator) * radius
    _paint(image, distance, _shaded(_contrasting(background, generator), right / radius, generator))
    _draw_strokes(image, x, y, generator)
    image += generator.normal(0, generator.uniform(2, 10), (height, width, 1)).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)


def _draw_size(generator: np.random.Generator) -> tuple[int, int]:
    """Height and width in pixels, all within `SIDES`."""
    long = np.exp(generator.uniform(np.log(SIDES[0] * ASPECTS[1]), np.log(SIDES[1])))
    aspect = np.exp(generator.uniform(*np.log(ASPECTS)))
    return int(long * min(1, 1 / aspect)), int(long * min(1, aspect))


def _draw_background(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A gradient between two colours and two slow waves; (H, W, 3) float32."""
    span = max(x.shape)
    along, _ = _turned(x / span, y / span, generator.uniform(0, 2 * np.pi))
    first = generator.uniform(20, 235, 3)
    second = (first + generator.normal(0, 30, 3)).clip(10, 245)
    image = first + (second - first) * (along[..., None] - along.min()) / np.ptp(along)
    for _ in range(2):
        along, _ = _turned(x / span, y / span, generator.uniform(0, 2 * np.pi))
        wave = np.sin(along * generator.uniform(3, 12) + generator.uniform(0, 2 * np.pi))
        image += wave[..., None] * generator.normal(0, 9, 3)
    return image.astype(np.float32)


def _draw_strokes(image: np.ndarray, x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> None:
    """Clutter: short strokes, too thin to be taken for a shape."""
    side = min(x.shape)
    for _ in range(generator.integers(STROKES + 1)):
        centre = generator.uniform(0, image.shape[1::-1])
        right, down = _turned(x - centre[0], y - centre[1], generator.uniform(0, 2 * np.pi))
        length, thickness = generator.uniform(0.03, 0.2) * side, generator.uniform(0.01, 0.035) * side
        distance = np.hypot(np.maximum(abs(right) - length, 0), down) - thickness
        _paint(image, distance, generator.uniform(0, 255, 3).astype(np.float32))


def _paint(image: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> None:
    """Colour the pixels at a negative distance, in pixels; the edge is antialiased."""
    inside = (0.5 - distance).clip(0, 1)[..., None].astype(np.float32)
    image += inside * (colour - image)


def _contrasting(background: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    colour = generator.uniform(0, 255, 3)
    while np.linalg.norm(colour - background) < CONTRAST:
        colour = generator.uniform(0, 255, 3)
    return colour.astype(np.float32)


def _shaded(colour: np.ndarray, along: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return colour + generator.uniform(-25, 25) * along.clip(-1, 1)[..., None]


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _polygon(x: np.ndarray, y: np.ndarray, corners: int, inner: float) -> np.ndarray:
    """Distance to a polygon of radius 1 whose edges come as near as `inner` to the centre between two corners."""
    sector = np.pi / corners
    angle = abs((np.arctan2(y, x) + sector) % (2 * sector) - sector)
    across, along = np.hypot(x, y) * np.sin(angle), np.hypot(x, y) * np.cos(angle)
    end_x, end_y = inner * np.cos(sector), inner * np.sin(sector)
    normal = np.hypot(end_y, 1 - end_x)
    return ((along - 1) * end_y + across * (1 - end_x)) / normal


def _patch(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Distance to the rounded patch that a pattern fills: anything between a disc and a square."""
    power = generator.uniform(2, 6)
    return (abs(x) ** power + abs(y) ** power) ** np.float32(1 / power) - 1


def _disc(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.hypot(x, y) - 1


def _ring(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    thickness = generator.uniform(0.12, 0.25)
    return abs(np.hypot(x, y) - (1 - thickness)) - thickness


def _triangle(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return _polygon(x, y, corners=3, inner=0.5)


def _square(x: np.ndarray, y: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return _polygon(x, y, corners=4, inner=np.sqrt(0.5))


def _star(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return _polygon(x, y, corners=5, inner=generator.uniform(0.4, 0.5))


def _cross(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    arm = generator.uniform(0.18, 0.32)
    return np.maximum(np.maximum(abs(x), abs(y)) - 1, np.minimum(abs(x), abs(y)) - arm)


def _stripes(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    waves = generator.uniform(7, 11)
    return np.maximum(_patch(x, y, generator), np.sin(waves * x) / waves)


def _checker(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    waves = generator.uniform(5, 8)
    return np.maximum(_patch(x, y, generator), np.sin(waves * x) * np.sin(waves * y) / waves)


def _dots(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    pitch, radius = generator.uniform(0.45, 0.6), generator.uniform(0.26, 0.36)
    to_dot = np.hypot((x + pitch / 2) % pitch - pitch / 2, (y + pitch / 2) % pitch - pitch / 2)
    return np.maximum(_patch(x, y, generator), to_dot - radius * pitch)


def _waves(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    waves, bends = generator.uniform(7, 10), generator.uniform(4, 6)
    return np.maximum(_patch(x, y, generator), np.sin(waves * x + 2 * np.sin(bends * y)) / waves)


KINDS: dict[str, Distance] = {
    "checker": _checker,
    "cross": _cross,
    "disc": _disc,
    "dots": _dots,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "stripes": _stripes,
    "triangle": _triangle,
    "waves": _waves,
}
