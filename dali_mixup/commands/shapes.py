"""The demo's images: ten kinds of shapes on noisy backgrounds and among clutter.

Colour, size, place and angle say nothing about the class, so that a network has to learn the shapes.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

VERSION = 2  # raise it with any change of the drawings: folders of an older version are not used again
SIDES = (48, 160)  # pixels
ASPECTS = (2 / 3, 3 / 2)
RADII = (0.25, 0.4)  # of the short side
CONTRAST = 90  # least distance of the shape's colour from the background's, of 255 levels
STROKES = 2  # at most so many behind the shape, and as many in front of it
FINE = 4  # polygons are drawn so many times as large, for smooth edges

# The corners (n, 2) of a polygon, as x and y, and whether it is filled, or cut out of those before it. Shapes have a
# radius of about 1 around (0, 0).
Part = tuple[np.ndarray, bool]


def draw_image(kind: str, generator: np.random.Generator) -> np.ndarray:
    """One image of a class.

    Args:
        kind: one of `KINDS`.
        generator: what size, place, colours and clutter are drawn from.

    Returns:
        (H, W, 3) uint8, H and W from `SIDES`.
    """
    height, width = _draw_size(generator)
    image = _draw_background(height, width, generator)
    background = image.mean((0, 1))
    _draw_strokes(image, generator)
    side = min(height, width)
    radius, angle = generator.uniform(*RADII) * side, generator.uniform(0, 2 * np.pi)
    reach = 0.5 * side - 0.9 * radius  # a central square shows most of it
    centre = np.array([width, height]) / 2 + generator.uniform(-1, 1, 2) * reach
    stretch = np.exp(generator.uniform(-0.15, 0.15))
    size = radius * np.array([1 / stretch, stretch])
    parts = [(_place(corners, centre, size, angle), filled) for corners, filled in KINDS[kind](generator)]
    shade = generator.uniform(-25, 25) * (_along(height, width, angle, centre) / radius).clip(-1, 1)
    _paint(image, parts, _contrasting(background, generator) + shade)
    _draw_strokes(image, generator)
    image += generator.normal(0, generator.uniform(2, 10), (height, width, 1)).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)


def _draw_size(generator: np.random.Generator) -> tuple[int, int]:
    """Height and width in pixels, all within `SIDES`."""
    long = np.exp(generator.uniform(np.log(SIDES[0] * ASPECTS[1]), np.log(SIDES[1])))
    aspect = np.exp(generator.uniform(*np.log(ASPECTS)))
    return int(long * min(1, 1 / aspect)), int(long * min(1, aspect))


def _draw_background(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """A gradient between two colours and two slow waves; (H, W, 3) float32."""
    span = max(height, width)
    along = _along(height, width, generator.uniform(0, 2 * np.pi))
    first = generator.uniform(20, 235, 3)
    second = (first + generator.normal(0, 30, 3)).clip(10, 245)
    image = first + (second - first) * (along - along.min()) / np.ptp(along)
    for _ in range(2):
        along = _along(height, width, generator.uniform(0, 2 * np.pi)) / span
        wave = np.sin(along * generator.uniform(3, 12) + generator.uniform(0, 2 * np.pi))
        image += wave * generator.normal(0, 9, 3)
    return image.astype(np.float32)


def _along(height: int, width: int, angle: float, start: np.ndarray | tuple[int, int] = (0, 0)) -> np.ndarray:
    """How far each pixel lies from `start` (x, y) in the direction of `angle`; (H, W, 1)."""
    y, x = np.ogrid[:height, :width]
    return (np.cos(angle) * (x - start[0]) + np.sin(angle) * (y - start[1]))[..., None]


def _draw_strokes(image: np.ndarray, generator: np.random.Generator) -> None:
    """Clutter: short strokes, too thin to be taken for a shape."""
    for _ in range(generator.integers(STROKES + 1)):
        centre, angle = generator.uniform(0, image.shape[1::-1]), generator.uniform(0, 2 * np.pi)
        size = min(image.shape[:2]) * generator.uniform((0.03, 0.01), (0.2, 0.035))  # half of length and thickness
        corners = _place(np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), centre, size, angle)
        _paint(image, [(corners, True)], generator.uniform(0, 255, 3))


def _contrasting(background: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    colour = generator.uniform(0, 255, 3)
    while np.linalg.norm(colour - background) < CONTRAST:
        colour = generator.uniform(0, 255, 3)
    return colour


def _place(corners: np.ndarray, centre: np.ndarray, size: np.ndarray, angle: float) -> np.ndarray:
    """Corners around (0, 0) made `size` (of x, of y) times as large, turned, and moved to `centre`."""
    cos, sin = np.cos(angle), np.sin(angle)
    return centre + (corners * size) @ np.array([[cos, sin], [-sin, cos]])


def _paint(image: np.ndarray, parts: list[Part], colour: np.ndarray) -> None:
    """Colour the pixels of polygons, with smooth edges."""
    height, width = image.shape[:2]
    mask = Image.new("L", (width * FINE, height * FINE))
    draw = ImageDraw.Draw(mask)
    for corners, filled in parts:
        draw.polygon((corners * FINE).ravel().tolist(), fill=255 if filled else 0)
    share = np.asarray(mask.reduce(FINE), np.float32)[..., None] / 255
    image += (share * (colour - image)).astype(np.float32)


def _circle(radius: float = 1.0, power: float = 2.0) -> np.ndarray:
    """|x|^power + |y|^power = radius^power: a circle for 2, nearly a square for 6."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ends = np.stack([np.cos(angle), np.sin(angle)], 1)
    return radius * np.sign(ends) * abs(ends) ** (2 / power)


def _star(corners: int, inner: float) -> np.ndarray:
    """Corners at a distance of 1, and between them others at `inner`."""
    angle = np.pi / corners * np.arange(2 * corners)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * np.resize([1, inner], (2 * corners, 1))


def _ring(generator: np.random.Generator) -> list[Part]:
    return [(_circle(), True), (_circle(generator.uniform(0.5, 0.76)), False)]


def _cross(generator: np.random.Generator) -> list[Part]:
    arm = generator.uniform(0.18, 0.32)
    beam = np.array([(-1, -arm), (1, -arm), (1, arm), (-1, arm)])
    return [(beam, True), (beam[:, ::-1], True)]


def _checker(generator: np.random.Generator) -> list[Part]:
    cell = generator.uniform(0.4, 0.62)
    cells = [(i, j) for i in range(-3, 3) for j in range(-3, 3) if (i + j) % 2]
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    return [_patch(generator), *((cell * (square + corner), False) for corner in cells)]


def _dots(generator: np.random.Generator) -> list[Part]:
    pitch, radius, power = generator.uniform((0.45, 0.26, 2), (0.6, 0.36, 6))
    steps = pitch * np.arange(-2, 3)
    centres = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    inside = (abs(centres) ** power).sum(1) < 1
    return [(centre + _circle(radius * pitch), True) for centre in centres[inside]]


def _bands(generator: np.random.Generator, bend: float) -> list[Part]:
    """Stripes; with `bend` they are waves."""
    waves, bends = generator.uniform((7, 4), (10.5, 6))
    y = np.linspace(-1, 1, 32)
    edge = np.stack([-bend * np.sin(bends * y) / waves, y], 1)
    step = np.array([np.pi / waves, 0])
    gap = np.concatenate([edge, edge[::-1] + step])
    return [_patch(generator), *((gap + 2 * k * step, False) for k in range(-3, 3))]


def _patch(generator: np.random.Generator) -> Part:
    """What a pattern fills: anything between a disc and a square."""
    return _circle(power=generator.uniform(2, 6)), True


KINDS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "checker": _checker,
    "cross": _cross,
    "disc": lambda _: [(_circle(), True)],
    "dots": _dots,
    "ring": _ring,
    "square": lambda _: [(_star(4, np.sqrt(0.5)), True)],
    "star": lambda generator: [(_star(5, generator.uniform(0.4, 0.5)), True)],
    "stripes": lambda generator: _bands(generator, bend=0),
    "triangle": lambda _: [(_star(3, 0.5), True)],
    "waves": lambda generator: _bands(generator, bend=2),
}
