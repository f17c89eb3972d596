"""`RandomRotation`, `RandomAffine` and `RandomPerspective`: images moved at random, with torchvision's draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dali_mixup.errors import check_choice, check_probability, must_be
from dali_mixup.geometry.geometry import check_fill, check_range, rgb
from dali_mixup.transforms import affine, perspective
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.transforms import PlannedInBatches, Range

Fill = int | tuple[int, int, int]
Warp = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class RandomRotation:
    """Turned by a random angle around a point: `torchvision.transforms.v2.RandomRotation` without `expand`.

    Args:
        degrees: x for an angle from -x to x, or (low, high); counter-clockwise.
        interpolation: "nearest", "bilinear" or "bicubic".
        center: column and row of the point, in pixels of the output; None is the centre.
        fill: level from 0 to 255, or three for R, G and B, of what comes in from outside.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    degrees: float | Range
    interpolation: Warp = "nearest"
    center: tuple[float, float] | None = None
    fill: Fill = 0
    uniforms = 1

    def __post_init__(self) -> None:
        _check_angles("degrees", self.degrees, (2,))
        _check_warp(self.interpolation, self.fill)
        _check_center(self.center)

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:
        """One."""
        degrees = _between(_around_zero(self.degrees), float(uniform[0]))
        matrix = affine.rotate(degrees, *size, self.center)
        return [affine.operation(matrix, size, self.interpolation, rgb(self.fill))]


@dataclass(frozen=True, slots=True)
class RandomAffine(PlannedInBatches):
    """Turned, shifted, scaled and sheared at random: `torchvision.transforms.v2.RandomAffine`.

    Args:
        degrees: x for an angle from -x to x, or (low, high); clockwise.
        translate: the largest shift to the sides and up and down, as fractions of width and height; None for none.
        scale: (low, high) to draw a factor from; None for none.
        shear: x for an angle from -x to x along the rows, (low, high) likewise, or four, of which the last two are for
            the columns; degrees. None for none.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: level from 0 to 255, or three for R, G and B, of what comes in from outside.
        center: column and row of the point that stays, in pixels of the output; None is the centre.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    degrees: float | Range
    translate: tuple[float, float] | None = None
    scale: Range | None = None
    shear: float | Range | tuple[float, float, float, float] | None = None
    interpolation: Warp = "nearest"
    fill: Fill = 0
    center: tuple[float, float] | None = None
    uniforms = 6

    def __post_init__(self) -> None:
        _check_angles("degrees", self.degrees, (2,))
        if self.translate is not None:
            _check_numbers("translate", self.translate, "two fractions from 0 to 1", (2,), 0.0, 1.0)
        if self.scale is not None:
            check_range("scale", self.scale, high=math.inf)
        if self.shear is not None:
            _check_angles("shear", self.shear, (2, 4))
        _check_warp(self.interpolation, self.fill)
        _check_center(self.center)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """One."""
        matrices = [self._matrix(row, size) for row in uniform.tolist()]
        return [[each] for each in affine.operations(matrices, size, self.interpolation, rgb(self.fill))]

    def _matrix(self, uniform: list[float], size: tuple[int, int]) -> affine.Matrix:
        (height, width), (turn, right, down, zoom, *shears) = size, uniform
        across, along = self.translate or (0.0, 0.0)
        shift = (round(across * width * (2 * right - 1)), round(along * height * (2 * down - 1)))
        spans = () if self.shear is None else _around_zero(self.shear)
        sheared = [_between(spans[k : k + 2], shears[k // 2]) if len(spans) > k else 0.0 for k in (0, 2)]
        return affine.move(
            _between(_around_zero(self.degrees), turn),
            shift,
            1.0 if self.scale is None else _between(self.scale, zoom),
            (sheared[0], sheared[1]),
            (width * 0.5, height * 0.5) if self.center is None else self.center,
        )


@dataclass(frozen=True, slots=True)
class RandomPerspective(PlannedInBatches):
    """The corners moved inwards at random, with probability `p`: `torchvision.transforms.v2.RandomPerspective`.

    Args:
        distortion_scale: how far, from 0 to 1; 1 is half of the width and height.
        p: probability.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: level from 0 to 255, or three for R, G and B, of what comes in from outside.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    distortion_scale: float = 0.5
    p: float = 0.5
    interpolation: Warp = "bilinear"
    fill: Fill = 0
    uniforms = 9

    def __post_init__(self) -> None:
        check_probability("distortion_scale", self.distortion_scale)
        check_probability("p", self.p)
        _check_warp(self.interpolation, self.fill)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """One or none; `uniform` holds whether, and the column and row of each corner, clockwise."""
        found: list[list[Operation]] = [[] for _ in uniform]
        rows = np.flatnonzero(uniform[:, 0] < self.p)
        fixed = (self.interpolation, rgb(self.fill))
        for row, numbers in zip(rows.tolist(), self._coefficients(uniform[rows, 1:], size), strict=True):
            found[row] = [Operation(perspective.warp, tuple(numbers), fixed)]
        return found

    def _coefficients(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[float]]:
        height, width = size
        side = np.array([width, height])
        reach = (self.distortion_scale * (side // 2)).astype(np.int64) + 1
        inward = (uniform.reshape(-1, 4, 2) * reach).astype(np.int64)
        # the far corners count from the far sides
        start = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        return perspective.solve(np.where(start == 0, inward, start - reach + inward), size)


def _between(span: Sequence[float], uniform: float) -> float:
    low, high = span
    return low + (high - low) * uniform


def _around_zero(value: Any) -> tuple[float, ...]:
    """(low, high), or four numbers; x stands for -x to x."""
    return value if isinstance(value, tuple) else (-value, value)


def _check_angles(name: str, value: object, lengths: tuple[int, ...]) -> None:
    rule = "a number of at least 0, or (low, high) with low <= high" + (", or two of those" if 4 in lengths else "")
    if not isinstance(value, tuple):
        _check_numbers(name, (value,), rule, (1,), 0.0, math.inf, shown=value)
        return
    _check_numbers(name, value, rule, lengths, -math.inf, math.inf)
    if any(low > high for low, high in zip(value[::2], value[1::2], strict=True)):
        raise ValueError(must_be(name, rule, value))


def _check_center(value: object) -> None:
    if value is not None:
        _check_numbers("center", value, "a column and a row, or None", (2,), -math.inf, math.inf)


def _check_numbers(
    name: str, values: Any, rule: str, lengths: tuple[int, ...], low: float, high: float, shown: Any = None
) -> None:
    """Raise unless `values` is a tuple of numbers within the ends, of one of the lengths."""
    shown = values if shown is None else shown
    numbers = isinstance(values, tuple) and len(values) in lengths
    if not numbers or any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise TypeError(must_be(name, rule, shown))
    if not all(low <= value <= high and math.isfinite(value) for value in values):
        raise ValueError(must_be(name, rule, shown))


def _check_warp(interpolation: object, fill: object) -> None:
    check_choice("interpolation", interpolation, ("nearest", "bilinear", "bicubic"))
    check_fill(fill)
