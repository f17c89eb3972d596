"""Resizing and cropping apart from each other, as torchvision's `Resize`, `CenterCrop` and `RandomCrop` do."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np

from dali_mixup.errors import check_int, must_be
from dali_mixup.geometry.geometry import (
    Border,
    Interpolation,
    Windows,
    check_interpolation,
    check_size,
    height_width,
    interpolation_codes,
    pairs,
)

Padding = int | tuple[int, int] | tuple[int, int, int, int]
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True, slots=True)
class Resize:
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

    uniforms: ClassVar[int] = 0
    border: ClassVar[Border | None] = None

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
        return _whole(height, width, self, *(np.zeros(len(height)),) * 2)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "Resize":
        """The same with height and width as its size, for a dataset of images of `height`, `width` (N,).

        Raises:
            ValueError: the images come out with different sizes.
        """
        if isinstance(self.size, tuple):
            return self
        return Resize(_only_size(self, *self.resized(height, width)), None, self.interpolation)


@dataclass(frozen=True, slots=True)
class KeepSize:
    """Images as they are; all of the dataset must have the same size."""

    uniforms: ClassVar[int] = 0
    border: ClassVar[Border | None] = None
    size: ClassVar[None] = None

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Whole images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        return _whole(height, width, None, *(np.zeros(len(height)),) * 2)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "CenterCrop":
        """The crop that keeps images of `height`, `width` (N,) whole.

        Raises:
            ValueError: they have different sizes.
        """
        return CenterCrop(_only_size(self, height, width))


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The centre of an image, black where the image is smaller: `torchvision.transforms.v2.CenterCrop`.

    Args:
        size: output height and width in pixels, one int for a square.
        resize: what goes before it.
        fill: level from 0 to 255, or three for R, G and B, where the image is smaller.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    resize: Resize | None = None
    fill: int | tuple[int, int, int] = 0

    uniforms: ClassVar[int] = 0
    margins: ClassVar[tuple[int, int, int, int]] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        check_size("size", self.size)
        _check_resize(self.resize)
        check_fill(self.fill)

    @property
    def border(self) -> Border:
        """What stands outside."""
        return Border(fill=rgb(self.fill))

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Windows for images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        sides = self.resize.resized(height, width) if self.resize else (height, width)
        margins = (side.astype(np.int64) - size for side, size in zip(sides, height_width(self.size), strict=True))
        # what is missing is halved downwards, what is too much half to even
        return _whole(
            height,
            width,
            self.resize,
            *(np.where(margin < 0, -(-margin // 2), np.rint(margin / 2)) for margin in margins),
        )


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """The image padded, then a random crop: `torchvision.transforms.v2.RandomCrop`.

    Args:
        size: output height and width in pixels, one int for a square.
        padding: pixels added at each side; a pair for left and right, top and bottom; four for left, top, right and
            bottom.
        pad_if_needed: pad images that are smaller than `size` by what they lack, at both sides; with "constant" alone.
        fill: level from 0 to 255 of "constant", or three for R, G and B.
        padding_mode: "constant", "edge", "reflect" (without repeating the edge) or "symmetric" (with it).
        resize: what goes before it.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    padding: Padding = 0
    pad_if_needed: bool = False
    fill: int | tuple[int, int, int] = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"
    resize: Resize | None = None

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_size("size", self.size)
        _check_resize(self.resize)
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(must_be("padding_mode", '"constant", "edge", "reflect" or "symmetric"', self.padding_mode))
        if self.pad_if_needed and self.padding_mode != "constant":
            raise ValueError(must_be("pad_if_needed", 'False where padding_mode is not "constant"', self.pad_if_needed))
        if isinstance(self.padding, tuple) and len(self.padding) not in (2, 4):
            raise ValueError(must_be("padding", "an int, a pair or four ints", self.padding))
        for side in self.padding if isinstance(self.padding, tuple) else (self.padding,):
            check_int("padding", side, at_least=0)
        check_fill(self.fill)

    @property
    def border(self) -> Border:
        """What stands outside."""
        return Border(mode=self.padding_mode, fill=rgb(self.fill))

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Padding at the left, top, right and bottom."""
        sides = (self.padding,) if isinstance(self.padding, int) else self.padding
        left, top, right, bottom = sides * (4 // len(sides))
        return left, top, right, bottom

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Whole images are decoded; `offset` reaches outside of them by the padding."""
        sides = self.resize.resized(height, width) if self.resize else (height, width)
        left, top, right, bottom = self.margins
        offsets = []
        for side, size, before, after, number in zip(
            sides, height_width(self.size), (top, left), (bottom, right), uniform.T[:2], strict=True
        ):
            padded = side.astype(np.int64) + before + after
            lacking = np.maximum(size - padded, 0)  # added at both sides, or an error in `too_small`
            offsets.append((number * (padded + 2 * lacking - size + 1)).astype(np.int64) - before - lacking)
        return _whole(height, width, self.resize, *offsets)

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that hold no such crop."""
        sides = self.resize.resized(height, width) if self.resize else (height, width)
        left, top, right, bottom = self.margins
        size_h, size_w = height_width(self.size)
        small = (sides[0] + top + bottom < size_h) | (sides[1] + left + right < size_w)
        if self.pad_if_needed:
            return np.zeros(len(height), bool)
        room = {"reflect": 1, "symmetric": 0}.get(self.padding_mode)
        if room is None:
            return small
        return small | (sides[0] < max(top, bottom) + room) | (sides[1] < max(left, right) + room)


def check_fill(fill: object) -> None:
    """Raise unless `fill` is a level from 0 to 255 or three of them."""
    rule = "a level from 0 to 255, or three for R, G and B"
    levels: tuple[Any, ...] = fill if isinstance(fill, tuple) else (fill,)
    if len(levels) not in (1, 3) or not all(isinstance(level, int) and not isinstance(level, bool) for level in levels):
        raise TypeError(must_be("fill", rule, fill))
    if not all(0 <= level <= 255 for level in levels):
        raise ValueError(must_be("fill", rule, fill))


def rgb(fill: int | tuple[int, int, int]) -> tuple[int, int, int]:
    """An int stands for a grey."""
    return (fill, fill, fill) if isinstance(fill, int) else fill


def _check_resize(resize: object) -> None:
    if resize is not None and not isinstance(resize, Resize):
        raise TypeError(must_be("resize", "a Resize or None", resize))


def _whole(height: np.ndarray, width: np.ndarray, resize: Resize | None, top: np.ndarray, left: np.ndarray) -> Windows:
    """Whole images, resized; the output begins at `top`, `left` (B,)."""
    return Windows(
        anchor=np.zeros((len(height), 2), np.int32),
        shape=pairs(height, width),
        resized=pairs(*resize.resized(height, width)) if resize else pairs(height, width),
        offset=pairs(top, left),
        interpolation=interpolation_codes(resize.interpolation, len(height)) if resize else None,
    )


def _only_size(geometry: object, height: np.ndarray, width: np.ndarray) -> tuple[int, int]:
    """The one height and width of all images."""
    sizes = np.unique(pairs(height, width), axis=0)
    if len(sizes) == 1:
        return int(sizes[0, 0]), int(sizes[0, 1])
    first, last = (f"{high} x {wide}" for high, wide in (sizes[0], sizes[-1]))
    raise ValueError(
        f"geometry must give all images the same size, and {geometry} gives {len(sizes)} sizes from {first} to {last}; "
        "add a crop, or resize to height and width"
    )
