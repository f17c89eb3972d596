"""`Pad`: images with a margin, as they are or after a resize."""

from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np

from dali_mixup.errors import check_choice, must_be
from dali_mixup.geometry.crops import Padding, check_padding, four_sides, lack_mirrors
from dali_mixup.geometry.geometry import (
    Border,
    Interpolation,
    PaddingMode,
    Windows,
    check_fill,
    check_size,
    height_width,
    rgb,
)
from dali_mixup.geometry.resize import Resize, only_size, whole_images
from dali_mixup.geometry.resized_crop import RandomResizedCrop


@dataclass(frozen=True, slots=True)
class Pad:
    """Whole images or what a resize makes of them, with a margin: `torchvision.transforms.v2.Pad`.

    A crop behind it is `RandomCrop(size, padding)`.

    Args:
        padding: pixels added at each side; a pair for left and right, top and bottom; four for left, top, right and
            bottom.
        fill: level from 0 to 255 of "constant", or three for R, G and B.
        padding_mode: "constant", "edge", "reflect" (without repeating the edge) or "symmetric" (with it).
        resize: what goes before it, a `Resize` or a `RandomResizedCrop`.
        size: height and width of the images without it; None takes those of the dataset, which must be the same.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> Pad(2, resize=Resize((28, 28))).output
    (32, 32)
    """

    padding: Padding
    fill: int | tuple[int, int, int] = 0
    padding_mode: PaddingMode = "constant"
    resize: Resize | RandomResizedCrop | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_padding(self.padding)
        check_fill(self.fill)
        check_choice("padding_mode", self.padding_mode, get_args(PaddingMode))
        if self.resize is not None and not isinstance(self.resize, Resize | RandomResizedCrop):
            raise TypeError(must_be("resize", "a Resize, a RandomResizedCrop or None", self.resize))
        if self.resize is not None and self.resize.interpolation == "random":
            raise ValueError(must_be("resize", 'without interpolation="random"', self.resize))
        if self.size is not None:
            check_size("size", self.size)
            if self.resize is not None:
                raise ValueError(must_be("size", "None with resize", self.size))

    @property
    def output(self) -> tuple[int, int] | None:
        """Height and width of the output in pixels; None where they depend on the dataset."""
        inner = self.resize.output if self.resize else self.size
        if inner is None:
            return None
        left, top, right, bottom = four_sides(self.padding)
        height, width = height_width(inner)
        return height + top + bottom, width + left + right

    @property
    def uniforms(self) -> int:
        """Random numbers per image: those of the resize."""
        return self.resize.uniforms if self.resize else 0

    @property
    def interpolation(self) -> Interpolation | None:
        """How images are resized."""
        return cast(Interpolation, self.resize.interpolation) if self.resize else None

    @property
    def border(self) -> Border:
        """What stands in the margins."""
        return Border(mode=self.padding_mode, fill=rgb(self.fill), margins=four_sides(self.padding))

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Windows for images of `height`, `width` (B,) from `uniform` (B, `uniforms`): the resize's, and around."""
        windows = self.resize.windows(height, width, uniform) if self.resize else whole_images(height, width, None)
        left, top, _, _ = four_sides(self.padding)
        return replace(windows, offset=windows.offset - np.array([top, left], np.int32))

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that don't reach to the ends of a mirrored margin."""
        if isinstance(self.resize, Resize):
            return lack_mirrors(self.resize.resized(height, width), self.border)
        if self.resize is not None:
            height, width = (np.full(len(height), side) for side in height_width(self.resize.size))
        return lack_mirrors((height, width), self.border)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "Pad":
        """The same with a fixed size, for a dataset of images of `height`, `width` (N,).

        Raises:
            ValueError: the images come out with different sizes.
        """
        if isinstance(self.resize, Resize):
            resize = self.resize.settled(height, width)
            return self if resize is self.resize else replace(self, resize=resize)
        if self.resize is not None:
            return self
        size = only_size(self, height, width)
        if self.size not in (None, size):
            raise ValueError(must_be("size", f"None, or {size} as that of the images", self.size))
        return replace(self, size=size)
