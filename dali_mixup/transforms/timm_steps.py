"""timm's named operations at its levels of strength, from 0 to 10 or beyond.

They are not torchvision's of the same names: other strengths, drawn ones, and shears and shifts by fractions of pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from dali_mixup.errors import check_probability, must_be
from dali_mixup.transforms import affine, pixels
from dali_mixup.transforms.box_blur import gaussian_blur
from dali_mixup.transforms.operations import Operation

HIGHEST = 10.0  # the level at which strengths are given
DRAWS = 5  # random numbers of a step: whether, two for its level, its way or radius, its interpolation
Numbers = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Moves(NamedTuple):
    """How shears, shifts and rotations are done.

    Attributes:
        size: height and width of the image.
        interpolation: "random" is bilinear or bicubic.
        fill: R, G and B of what comes in from outside.
        pixels: the shift of "TranslateX" and "TranslateY" at level 10.
        share: that of "TranslateXRel" and "TranslateYRel", as a fraction of the image's side.
    """

    size: tuple[int, int]
    interpolation: Literal[affine.Interpolation, "random"]
    fill: tuple[int, int, int]
    pixels: float
    share: float


@dataclass(frozen=True, slots=True)
class TimmStep:
    """One of timm's named operations, of random strength: its `AugmentOp`.

    Args:
        name: as in timm, such as "ShearX" or "ColorIncreasing".
        p: probability.
        magnitude: mean level of strength, most often from 0 to 10.
        std: standard deviation of the level; infinity draws it evenly from 0 to `magnitude`.
        most: levels above it become it.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    name: str
    p: float = 0.5
    magnitude: float = 9.0
    std: float = 0.5
    most: float = HIGHEST

    def __post_init__(self) -> None:
        if self.name not in OPERATIONS:
            raise ValueError(must_be("name", f"one of {', '.join(OPERATIONS)}", self.name))
        check_probability("p", self.p)
        for name, value in (("magnitude", self.magnitude), ("std", self.std), ("most", self.most)):
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise TypeError(must_be(name, "a number", value))
            if not value >= 0 or (math.isinf(value) and name != "std"):
                raise ValueError(must_be(name, "at least 0, and finite unless it is std", value))


def plan_steps(
    steps: Sequence[TimmStep], chosen: np.ndarray, uniform: np.ndarray, moves: Moves
) -> list[tuple[Operation, ...]]:
    """The operation of each of n draws, or none.

    Args:
        steps: what there is.
        chosen: (n,), places in `steps`; -1 for nothing.
        uniform: (n, `DRAWS`) in [0, 1).
        moves: see there.
    """
    p, level, std, most = np.array([(step.p, step.magnitude, step.std, step.most) for step in steps])[chosen].T
    whether, first, second, way, interpolation = uniform.T
    evenly = np.isinf(std)
    normal = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
    level = np.where(evenly, level * first, level + np.where(evenly, 0.0, std) * normal).clip(0, most)
    chosen = np.where(whether <= p, chosen, -1)
    found: list[tuple[Operation, ...]] = [()] * len(chosen)
    for number in np.unique(chosen[chosen >= 0]).tolist():
        rows = np.flatnonzero(chosen == number)
        draws = Draws(level[rows] / HIGHEST, way[rows], interpolation[rows])
        made = OPERATIONS[steps[number].name](draws, moves)
        for row, operation in zip(rows.tolist(), made, strict=True):
            found[row] = (operation,)
    return found


class Draws(NamedTuple):
    """What n images with the same step have drawn.

    Attributes:
        level: of `HIGHEST`.
        way: in [0, 1); above 0.5 the other one.
        interpolation: in [0, 1); below 0.5 bilinear, where it is random.
    """

    level: np.ndarray
    way: np.ndarray
    interpolation: np.ndarray

    def signed(self, strongest: float) -> np.ndarray:
        """The strength, one way or the other."""
        return np.where(self.way > 0.5, -1.0, 1.0) * (self.level * strongest)


Make = Callable[[Draws, Moves], Sequence[Operation]]


def _always(function: Callable) -> Make:
    operation = Operation(function)
    return lambda draws, _: [operation] * len(draws.level)


def _number(function: Callable, number: Callable[[Draws], np.ndarray]) -> Make:
    return lambda draws, _: [Operation(function, (value,)) for value in number(draws).tolist()]


def _factor(function: Callable) -> Make:
    return _number(function, lambda draws: draws.level * 1.8 + 0.1)


def _factor_increasing(function: Callable) -> Make:
    return _number(function, lambda draws: (1.0 + draws.signed(0.9)).clip(min=0.1))


def _bits(draws: Draws) -> np.ndarray:
    return np.trunc(draws.level * 4)


def _posterize(bits: Callable[[Draws], np.ndarray]) -> Make:
    return _number(pixels.posterize, lambda draws: bits(draws).clip(0, 8))


def _threshold(draws: Draws) -> np.ndarray:
    return np.trunc(draws.level * 256).clip(max=256)


def _between(draws: Draws, low: float, high: float) -> np.ndarray:
    return (low + (high - low) * draws.level).clip(low, high)


def _blurs(radii: Callable[[Draws], np.ndarray]) -> Make:
    return lambda draws, _: [gaussian_blur(radius) for radius in radii(draws).tolist()]


def _warp(matrices: Callable[[Draws, Moves], list[affine.Matrix]]) -> Make:
    def make(draws: Draws, moves: Moves) -> list[Operation]:
        names = ("bilinear", "bicubic") if moves.interpolation == "random" else (moves.interpolation,) * 2
        fixed = [(name, moves.fill) for name in names]
        which = (draws.interpolation >= 0.5).tolist()
        return [
            Operation(affine.warp, matrix, fixed[k]) for matrix, k in zip(matrices(draws, moves), which, strict=True)
        ]

    return make


def _shift_x(pixels: np.ndarray) -> list[affine.Matrix]:
    return [(1.0, 0.0, each, 0.0, 1.0, 0.0) for each in pixels.tolist()]


def _shift_y(pixels: np.ndarray) -> list[affine.Matrix]:
    return [(1.0, 0.0, 0.0, 0.0, 1.0, each) for each in pixels.tolist()]


OPERATIONS: dict[str, Make] = {
    "AutoContrast": _always(pixels.autocontrast),
    "Equalize": _always(pixels.equalize),
    "Invert": _always(pixels.invert),
    "Rotate": _warp(lambda draws, moves: [affine.rotate(each, *moves.size) for each in draws.signed(30.0).tolist()]),
    "Posterize": _posterize(_bits),
    "PosterizeIncreasing": _posterize(lambda draws: 4 - _bits(draws)),
    "PosterizeOriginal": _posterize(lambda draws: 4 + _bits(draws)),
    "Solarize": _number(pixels.solarize, _threshold),
    "SolarizeIncreasing": _number(pixels.solarize, lambda draws: 256 - _threshold(draws)),
    "SolarizeAdd": _number(pixels.solarize_add, lambda draws: np.trunc(draws.level * 110).clip(max=128)),
    "Color": _factor(pixels.saturation),
    "ColorIncreasing": _factor_increasing(pixels.saturation),
    "Contrast": _factor(pixels.contrast),
    "ContrastIncreasing": _factor_increasing(pixels.contrast),
    "Brightness": _factor(pixels.brightness),
    "BrightnessIncreasing": _factor_increasing(pixels.brightness),
    "Sharpness": _factor(pixels.sharpness),
    "SharpnessIncreasing": _factor_increasing(pixels.sharpness),
    "ShearX": _warp(lambda draws, _: [(1.0, each, 0.0, 0.0, 1.0, 0.0) for each in draws.signed(0.3).tolist()]),
    "ShearY": _warp(lambda draws, _: [(1.0, 0.0, 0.0, each, 1.0, 0.0) for each in draws.signed(0.3).tolist()]),
    "TranslateX": _warp(lambda draws, moves: _shift_x(draws.signed(moves.pixels))),
    "TranslateY": _warp(lambda draws, moves: _shift_y(draws.signed(moves.pixels))),
    "TranslateXRel": _warp(lambda draws, moves: _shift_x(draws.signed(moves.share) * moves.size[1])),
    "TranslateYRel": _warp(lambda draws, moves: _shift_y(draws.signed(moves.share) * moves.size[0])),
    "Desaturate": _number(pixels.saturation, lambda draws: (1.0 - _between(draws, 0.5, 1.0)).clip(0, 1)),
    "GaussianBlur": _blurs(lambda draws: _between(draws, 0.1, 2.0)),
    "GaussianBlurRand": _blurs(lambda draws: 0.1 + (2.0 * _between(draws, 0.0, 1.0) - 0.1) * draws.way),
}
