"""Crops of whole images, resized or not: torchvision's `CenterCrop` and `RandomCrop`, and two short forms of them."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dali_mixup.errors import check_choice, check_int, must_be
from dali_mixup.geometry.geometry import (
    Border,
    Interpolation,
    OwnSize,
    PaddingMode,
    Windows,
    check_fill,
    check_size,
    height_width,
    rgb,
)
from dali_mixup.geometry.resize import Resize, only_size, sides_after, whole_images

Padding = int | tuple[int, int] | tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class KeepSize(OwnSize):
    """Images as they are; all of the dataset must have the same size."""

    @property
    def output(self) -> None:
        """That of the dataset's images."""

    @property
    def interpolation(self) -> None:
        """None: nothing is resized."""

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Whole images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        return whole_images(height, width, None)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "CenterCrop":
        """The crop that keeps images of `height`, `width` (N,) whole.

        Raises:
            ValueError: they have different sizes.
        """
        return CenterCrop(only_size(self, height, width))


@dataclass(frozen=True, slots=True)
class CenterCrop(OwnSize):
    """The centre of an image, black where the image is smaller: `torchvision.transforms.v2.CenterCrop`.

    Args:
        size: output height and width in pixels, one int for a square.
        resize: what goes before it.
        fill: level from 0 to 255, or three for R, G and B, where the image is smaller. None says that none is, since
            `resize` makes the short side at least as long as `size`: where DALI resizes (on a GPU, and with `augment`)
            it then resizes the window alone, which is faster and differs by rounding.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    resize: Resize | None = None
    fill: int | tuple[int, int, int] | None = 0

    def __post_init__(self) -> None:
        check_size("size", self.size)
        _check_resize(self.resize)
        if self.fill is not None:
            check_fill(self.fill)
        elif not self._covered:
            rule = "a level from 0 to 255, or three, unless an int resizes the short side to at least size"
            raise ValueError(must_be("fill", rule, self.fill))

    @property
    def _covered(self) -> bool:
        """Whether all images are at least as large as the crop."""
        resize = self.resize
        short = resize.size if resize and resize.max_size is None and isinstance(resize.size, int) else 0
        return short >= max(height_width(self.size))

    @property
    def interpolation(self) -> Interpolation | None:
        """How images are resized."""
        return self.resize.interpolation if self.resize else None

    @property
    def border(self) -> Border | None:
        """What stands outside of images; None without `fill`."""
        return None if self.fill is None else Border(fill=rgb(self.fill))

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Windows for images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        sides = sides_after(self.resize, height, width)
        margins = (side.astype(np.int64) - size for side, size in zip(sides, height_width(self.size), strict=True))
        # what is missing is halved downwards, what is too much half to even
        top, left = (np.where(margin < 0, -(-margin // 2), np.rint(margin / 2)) for margin in margins)
        return whole_images(height, width, self.resize, (top, left))


@dataclass(frozen=True, slots=True)
class RandomCrop(OwnSize):
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
    padding_mode: PaddingMode = "constant"
    resize: Resize | None = None

    def __post_init__(self) -> None:
        check_size("size", self.size)
        _check_resize(self.resize)
        check_choice("padding_mode", self.padding_mode, get_args(PaddingMode))
        if self.pad_if_needed and self.padding_mode != "constant":
            raise ValueError(must_be("pad_if_needed", 'False where padding_mode is not "constant"', self.pad_if_needed))
        check_padding(self.padding)
        check_fill(self.fill)

    @property
    def interpolation(self) -> Interpolation | None:
        """How images are resized."""
        return self.resize.interpolation if self.resize else None

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        return 2

    @property
    def border(self) -> Border:
        """What stands outside."""
        return Border(mode=self.padding_mode, fill=rgb(self.fill), margins=self.margins)

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Padding at the left, top, right and bottom."""
        return four_sides(self.padding)

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Whole images are decoded; `offset` reaches outside of them by the padding."""
        sides = sides_after(self.resize, height, width)
        left, top, right, bottom = self.margins
        offsets = []
        for side, size, before, after, number in zip(
            sides, height_width(self.size), (top, left), (bottom, right), uniform.T[:2], strict=True
        ):
            padded = side.astype(np.int64) + before + after
            lacking = np.maximum(size - padded, 0)  # added at both sides, or an error in `too_small`
            offsets.append((number * (padded + 2 * lacking - size + 1)).astype(np.int64) - before - lacking)
        return whole_images(height, width, self.resize, (offsets[0], offsets[1]))

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that hold no such crop."""
        sides = sides_after(self.resize, height, width)
        left, top, right, bottom = self.margins
        size_h, size_w = height_width(self.size)
        small = (sides[0] + top + bottom < size_h) | (sides[1] + left + right < size_w)
        if self.pad_if_needed:
            return np.zeros(len(height), bool)
        return small | lack_mirrors(sides, self.border)


def check_padding(padding: object) -> None:
    """Raise unless `padding` is an int of at least 0, or two or four."""
    if isinstance(padding, tuple) and len(padding) not in (2, 4):
        raise ValueError(must_be("padding", "an int, a pair or four ints", padding))
    for side in padding if isinstance(padding, tuple) else (padding,):
        check_int("padding", side, at_least=0)


def four_sides(padding: Padding) -> tuple[int, int, int, int]:
    """Padding at the left, top, right and bottom."""
    sides = (padding,) if isinstance(padding, int) else padding
    left, top, right, bottom = sides * (4 // len(sides))
    return left, top, right, bottom


def lack_mirrors(sides: tuple[np.ndarray, np.ndarray], border: Border) -> np.ndarray:
    """(N,) bool: images of these heights and widths that have too few pixels to be mirrored into the margins."""
    room = {"reflect": 1, "symmetric": 0}.get(border.mode)
    if room is None:
        return np.zeros(len(sides[0]), bool)
    left, top, right, bottom = border.margins
    return (sides[0] < max(top, bottom) + room) | (sides[1] < max(left, right) + room)


def ResizeCenterCrop(  # noqa: N802  the name of a geometry
    resize: int = 256, size: int | tuple[int, int] = 224, interpolation: Interpolation = "bilinear"
) -> CenterCrop:
    """The short side resized to `resize`, then the centre: torchvision's `Resize(resize)` and `CenterCrop(size)`.

    Args:
        resize: the short side after resizing, in pixels; at least `size`.
        size: output height and width in pixels, one int for a square.
        interpolation: as Pillow resizes.

    Raises:
        ValueError, TypeError: an option out of range.
    """
    check_size("size", size)
    check_int("resize", resize, at_least=1)
    if resize < max(height_width(size)):
        raise ValueError(must_be("resize", f"at least size ({size})", resize, "the crop would reach outside"))
    return CenterCrop(size, Resize(resize, interpolation=interpolation), fill=None)


def CropPad(  # noqa: N802  the name of a geometry
    size: int | tuple[int, int], padding: int = 4, padding_mode: Literal["reflect", "constant"] = "reflect"
) -> RandomCrop:
    """The image padded on all sides, then a random crop: `RandomCrop` with the padding of CIFAR recipes.

    Args:
        size: output height and width in pixels, one int for a square.
        padding: pixels added at each side.
        padding_mode: "reflect" (without repeating the edge) or "constant" (black).

    Raises:
        ValueError, TypeError: an option out of range.
    """
    check_int("padding", padding, at_least=0)
    check_choice("padding_mode", padding_mode, ("reflect", "constant"))
    return RandomCrop(size, padding, padding_mode=padding_mode)


def _check_resize(resize: object) -> None:
    if resize is not None and not isinstance(resize, Resize):
        raise TypeError(must_be("resize", "a Resize or None", resize))
