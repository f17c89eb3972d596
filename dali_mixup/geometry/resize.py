"""torchvision's `Resize`, by itself or before a crop."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from dali_mixup.errors import check_int, must_be
from dali_mixup.geometry.geometry import (
    Interpolation,
    OwnSize,
    Windows,
    check_interpolation,
    check_size,
    interpolation_codes,
    pairs,
)


@dataclass(frozen=True, slots=True)
class Resize(OwnSize):
    """The whole image resized: `torchvision.transforms.v2.Resize`.

    As the geometry of a pipeline an int works where all images of the dataset come out with the same size; `CenterCrop`
    and `RandomCrop` take a `Resize` that goes before them.

    Args:
        size: an int for the short side, in pixels, or height and width; None takes the long side from `max_size`.
        max_size: the largest long side, with an int or None as `size`.
        interpolation: as Pillow resizes.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int] | None
    max_size: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size("size", self.size)
        if self.max_size is not None or self.size is None:
            check_int("max_size", self.max_size, at_least=1)
            if isinstance(self.size, tuple):
                raise ValueError(must_be("max_size", "None where size is height and width", self.max_size))
            if self.size is not None and cast(int, self.max_size) <= self.size:
                raise ValueError(must_be("max_size", f"more than size ({self.size})", self.max_size))
        check_interpolation(self.interpolation)

    @property
    def output(self) -> tuple[int, int] | None:
        """Height and width in pixels; None where they depend on the image."""
        return self.size if isinstance(self.size, tuple) else None

    def resized(self, height: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height and width (B,) int64 of the images after resizing."""
        if isinstance(self.size, tuple):
            return np.full(len(height), self.size[0]), np.full(len(height), self.size[1])
        height, width = height.astype(np.int64), width.astype(np.int64)
        short, long = np.minimum(height, width), np.maximum(height, width)
        if self.size is None:
            new_short, new_long = cast(int, self.max_size) * short // long, np.full(len(short), self.max_size)
        else:
            new_short, new_long = np.full(len(short), self.size), self.size * long // short
            if self.max_size is not None:
                too_long = new_long > self.max_size
                new_short = np.where(too_long, self.max_size * new_short // new_long, new_short)
                new_long = np.minimum(new_long, self.max_size)
        new_short = np.maximum(new_short, 1)
        upright = width <= height
        return np.where(upright, new_long, new_short), np.where(upright, new_short, new_long)

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Whole images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        return whole_images(height, width, self)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "Resize":
        """The same with height and width as its size, for a dataset of images of `height`, `width` (N,).

        Raises:
            ValueError: the images come out with different sizes.
        """
        if isinstance(self.size, tuple):
            return self
        return Resize(only_size(self, *self.resized(height, width)), None, self.interpolation)


def sides_after(resize: Resize | None, height: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height and width (B,) of images after a resize, if there is one."""
    return resize.resized(height, width) if resize else (height, width)


def whole_images(
    height: np.ndarray,
    width: np.ndarray,
    resize: Resize | None,
    offset: tuple[np.ndarray, np.ndarray] | None = None,
) -> Windows:
    """Whole images of `height`, `width` (B,), resized; the outputs begin at `offset`, tops and lefts (B,), or at 0."""
    return Windows(
        anchor=np.zeros((len(height), 2), np.int32),
        shape=pairs(height, width),
        resized=pairs(*sides_after(resize, height, width)),
        offset=pairs(*offset) if offset else np.zeros((len(height), 2), np.int32),
        interpolation=interpolation_codes(resize.interpolation, len(height)) if resize else None,
    )


def only_size(geometry: object, height: np.ndarray, width: np.ndarray) -> tuple[int, int]:
    """The one height and width of all images."""
    sizes = np.unique(pairs(height, width), axis=0)
    if len(sizes) == 1:
        return int(sizes[0, 0]), int(sizes[0, 1])
    first, last = (f"{high} x {wide}" for high, wide in (sizes[0], sizes[-1]))
    raise ValueError(
        f"geometry must give all images the same size, and {geometry} gives {len(sizes)} sizes from {first} to {last}; "
        "add a crop, or resize to height and width"
    )
