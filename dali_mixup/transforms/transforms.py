"""Random transforms of finished images, planned from uniform random numbers.

torchvision's, with its names, ranges and order.

A transform turns one row of uniform numbers into `Operation`s. Nothing here touches pixels. Any frozen dataclass with
`uniforms` and `operations` can stand in `ImagePipeline(transforms=...)`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from dali_mixup.errors import check_int, check_probability, must_be
from dali_mixup.geometry.geometry import check_range
from dali_mixup.transforms import pixels
from dali_mixup.transforms.operations import Operation

Range = tuple[float, float]
ADJUST = (pixels.brightness, pixels.contrast, pixels.saturation, pixels.hue)


class Transform(Protocol):
    """What `ImagePipeline(transforms=...)` takes; `uniforms` may be a constant of the class, without an annotation."""

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        ...

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:
        """What to do with an image of height and width `size`, from `uniform` (`uniforms`,) in [0, 1)."""
        ...


class PlannedInBatches(ABC):
    """A transform that plans all images of a batch at once, where one by one would take long."""

    __slots__ = ()

    @abstractmethod
    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """What to do with each of n images of height and width `size`, from `uniform` (n, `uniforms`) in [0, 1)."""

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:
        """What to do with one image, from `uniform` (`uniforms`,)."""
        return self.batch_operations(uniform[None], size)[0]


@dataclass(frozen=True, slots=True)
class OneOperation:
    """The same operation with probability `p`."""

    p: float

    operation: ClassVar[Operation]
    uniforms = 1

    def __post_init__(self) -> None:
        check_probability("p", self.p)

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:  # noqa: ARG002
        """One or none."""
        return [self.operation] if uniform[0] < self.p else []


@dataclass(frozen=True, slots=True)
class RandomHorizontalFlip(OneOperation):
    """Left and right swapped with probability `p`, at its place between other transforms.

    `ImagePipeline(flip=...)` comes before them.
    """

    p: float = 0.5
    operation: ClassVar[Operation] = Operation(pixels.flip_horizontally)


@dataclass(frozen=True, slots=True)
class RandomVerticalFlip(OneOperation):
    """Top and bottom swapped with probability `p`."""

    p: float = 0.5
    operation: ClassVar[Operation] = Operation(pixels.flip_vertically)


@dataclass(frozen=True, slots=True)
class RandomGrayscale(OneOperation):
    """All three channels the same grey with probability `p`; 1 is torchvision's `Grayscale(3)`."""

    p: float = 0.1
    operation: ClassVar[Operation] = Operation(pixels.grayscale)


@dataclass(frozen=True, slots=True)
class ColorJitter(PlannedInBatches):
    """Brightness, contrast, saturation and hue changed by random factors, in a random order.

    Args:
        brightness: x for a factor from max(0, 1 - x) to 1 + x, or (low, high); 0 leaves it out.
        contrast: likewise.
        saturation: likewise.
        hue: x up to 0.5 for a shift from -x to x, or (low, high).

    Raises:
        ValueError, TypeError: an option out of range.

    >>> ColorJitter(brightness=0.4).ranges
    ((0.6, 1.4), None, None, None)
    """

    brightness: float | Range = 0.0
    contrast: float | Range = 0.0
    saturation: float | Range = 0.0
    hue: float | Range = 0.0
    uniforms = 8

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _check_span(name, getattr(self, name), 0.0, math.inf)
        _check_span("hue", self.hue, -0.5, 0.5)

    @property
    def ranges(self) -> tuple[Range | None, ...]:
        """(low, high) of the four; None for what is left out."""
        factors = [_factors(value) for value in (self.brightness, self.contrast, self.saturation)]
        hue = self.hue if isinstance(self.hue, tuple) else (-self.hue, self.hue)
        return (*factors, None if hue == (0, 0) else hue)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:  # noqa: ARG002
        """Up to four; `uniform` holds four factors and four keys to sort them by."""
        ranges = self.ranges
        low, width = np.array([(0, 0) if span is None else (span[0], span[1] - span[0]) for span in ranges]).T
        factors, orders = (low + width * uniform[:, :4]).tolist(), uniform[:, 4:].argsort(1).tolist()
        return [
            [Operation(ADJUST[k], (own[k],)) for k in order if ranges[k] is not None]
            for own, order in zip(factors, orders, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class GaussianBlur:
    """Blurred by a normal kernel of random width.

    Args:
        kernel_size: pixels, odd; one int, or width and height.
        sigma: standard deviation in pixels, one number, or (low, high) to draw it from.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    kernel_size: int | tuple[int, int]
    sigma: float | Range = (0.1, 2.0)
    uniforms = 1

    def __post_init__(self) -> None:
        for side in self._sides:
            check_int("kernel_size", side, at_least=1)
            if side % 2 == 0:
                raise ValueError(must_be("kernel_size", "odd", side))
        check_range("sigma", self._range, high=math.inf)

    @property
    def _sides(self) -> tuple[int, int]:
        return self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size, self.kernel_size)

    @property
    def _range(self) -> Range:
        return self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:  # noqa: ARG002
        """One."""
        low, high = self._range
        return [Operation(pixels.gaussian_blur, (low + (high - low) * float(uniform[0]),), (self._sides,))]


@dataclass(frozen=True, slots=True)
class RandomApply(PlannedInBatches):
    """All of `transforms` with probability `p`, otherwise none."""

    transforms: tuple[Transform, ...]
    p: float = 0.5

    def __post_init__(self) -> None:
        check_transforms(self.transforms)
        check_probability("p", self.p)

    @property
    def uniforms(self) -> int:
        """Whether, then those of the transforms."""
        return 1 + count_uniforms(self.transforms)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """Those of all transforms, or none."""
        found: list[list[Operation]] = [[] for _ in uniform]
        chosen = np.flatnonzero(uniform[:, 0] < self.p)
        for row, own in zip(chosen.tolist(), plan_operations(self.transforms, uniform[chosen, 1:], size), strict=True):
            found[row] = own
        return found


def count_uniforms(transforms: tuple[Transform, ...]) -> int:
    """Random numbers per image for all of them."""
    return sum(transform.uniforms for transform in transforms)


def plan_operations(
    transforms: tuple[Transform, ...], uniform: np.ndarray, size: tuple[int, int]
) -> list[list[Operation]]:
    """What to do with each of n images of height and width `size`, from `uniform` (n, `count_uniforms`)."""
    found: list[list[Operation]] = [[] for _ in uniform]
    start = 0
    for transform in transforms:
        numbers = uniform[:, start : start + transform.uniforms]
        start += transform.uniforms
        if isinstance(transform, PlannedInBatches):
            planned = transform.batch_operations(numbers, size)
        else:
            planned = [transform.operations(row, size) for row in numbers]
        for own, more in zip(found, planned, strict=True):
            own += more
    return found


def check_transforms(transforms: object) -> None:
    """Raise a TypeError unless `transforms` is a tuple of transforms."""
    if not isinstance(transforms, tuple):
        raise TypeError(must_be("transforms", "a tuple of transforms, such as (dm.ColorJitter(0.4),)", transforms))
    for transform in transforms:
        if isinstance(transform, type) or not (
            hasattr(transform, "uniforms") and callable(getattr(transform, "operations", None))
        ):
            raise TypeError(must_be("transforms", "made of transforms, such as dm.ColorJitter(0.4)", transform))


def _factors(value: float | Range) -> Range | None:
    low, high = value if isinstance(value, tuple) else (max(0.0, 1 - value), 1 + value)
    return None if low == high == 1 else (float(low), float(high))


def _check_span(name: str, value: object, low: float, high: float) -> None:
    rule = f"a number of at least 0, or (low, high) from {low:g} to {high:g}"
    ends: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    if len(ends) not in (1, 2) or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise TypeError(must_be(name, rule, value))
    inside = low <= ends[0] <= ends[-1] <= high if isinstance(value, tuple) else 0 <= ends[0] <= high
    if not inside:
        raise ValueError(must_be(name, rule, value))
