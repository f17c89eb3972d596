"""timm's resizes that keep an image's ratio, and its crops that pad where the image is smaller."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dali_mixup.errors import check_choice, check_probability, must_be
from dali_mixup.geometry.geometry import (
    INTERPOLATIONS,
    Border,
    Interpolation,
    OwnSize,
    PaddingMode,
    Windows,
    check_fill,
    check_interpolation,
    check_range,
    check_size,
    height_width,
    interpolation_codes,
    pairs,
    rgb,
)
from dali_mixup.geometry.resize import Resize, sides_after

DRAWS = 4  # whether to scale, the scale, whether to stretch, the stretch


@dataclass(frozen=True, slots=True)
class ResizeKeepRatio:
    """A resize that fits an image to a height and width: `timm.data.transforms.ResizeKeepRatio`, before a `CropOrPad`.

    Args:
        size: height and width to fit, in pixels, one int for a square.
        longest: 0 makes the image cover them, 1 makes it lie within them, and what is between mixes both ratios.
        interpolation: as Pillow resizes; "random" is bilinear or bicubic for each image.
        scale_prob: probability of a random scale.
        scale: its range; of the sides, or with `by_area` that of 1 / sqrt(scale).
        by_area: see `scale`.
        aspect_prob: probability of a random stretch.
        aspect: range of width / height by it; the logarithm is uniform.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    longest: float = 0.0
    interpolation: Literal[Interpolation, "random"] = "bilinear"
    scale_prob: float = 0.0
    scale: tuple[float, float] = (0.85, 1.05)
    by_area: bool = False
    aspect_prob: float = 0.0
    aspect: tuple[float, float] = (0.9, 1.11)

    def __post_init__(self) -> None:
        check_size("size", self.size)
        for name in ("longest", "scale_prob", "aspect_prob"):
            check_probability(name, getattr(self, name))
        if self.interpolation != "random":
            check_interpolation(self.interpolation)
        for name in ("scale", "aspect"):
            check_range(name, getattr(self, name), high=math.inf)

    def resized(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Heights and widths (B,) after it, from uniform numbers (B, 4)."""
        target_h, target_w = height_width(self.size)
        ratios = np.stack([height / target_h, width / target_w])
        ratio = ratios.max(0) * self.longest + ratios.min(0) * (1.0 - self.longest)
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * uniform[:, 1]
        scale = np.where(uniform[:, 0] < self.scale_prob, 1.0 / np.sqrt(scale) if self.by_area else scale, 1.0)
        low, high = (math.log(bound) for bound in self.aspect)
        stretch = np.sqrt(np.exp(low + (high - low) * uniform[:, 3]))
        stretch = np.where(uniform[:, 2] < self.aspect_prob, stretch, 1.0)
        sides = height * (scale / stretch) / ratio, width * (scale * stretch) / ratio
        new_h, new_w = (np.maximum(np.rint(side), 1).astype(np.int64) for side in sides)
        return new_h, new_w

    def smallest(self, height: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least heights and the least widths (B,) that it may draw."""
        scaled = 0.0 if self.scale_prob else 1.0  # below the probability, or not
        stretched = 0.0 if self.aspect_prob else 1.0
        draws = [[scaled, end, stretched, side] for end in (0.0, 1.0) for side in (0.0, 1.0)]
        draws += [[1.0, 0.0, stretched, side] for side in (0.0, 1.0)] + [[scaled, end, 1.0, 0.0] for end in (0.0, 1.0)]
        draws.append([1.0, 0.0, 1.0, 0.0])
        tried = [self.resized(height, width, np.broadcast_to(draw, (len(height), DRAWS))) for draw in draws]
        return np.min([each[0] for each in tried], 0), np.min([each[1] for each in tried], 0)


@dataclass(frozen=True, slots=True)
class CropOrPad(OwnSize):
    """A crop, and padding where the image is smaller: timm's `CenterCropOrPad` and `RandomCropOrPad`.

    Args:
        size: output height and width in pixels, one int for a square.
        resize: what goes before it.
        position: "center", or "random" among all places; where the image is smaller, of the image in the output.
        fill: level from 0 to 255, or three for R, G and B, of "constant" padding.
        padding_mode: "constant", or for images that are more than half as high and wide as the output "edge",
            "reflect" (without repeating the edge) or "symmetric" (with it).

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    resize: ResizeKeepRatio | Resize | None = None
    position: Literal["center", "random"] = "center"
    fill: int | tuple[int, int, int] = 0
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        check_size("size", self.size)
        check_choice("padding_mode", self.padding_mode, get_args(PaddingMode))
        if self.resize is not None and not isinstance(self.resize, ResizeKeepRatio | Resize):
            raise TypeError(must_be("resize", "a ResizeKeepRatio, a Resize or None", self.resize))
        check_choice("position", self.position, ("center", "random"))
        check_fill(self.fill)

    @property
    def interpolation(self) -> Literal[Interpolation, "random"] | None:
        """How images are resized."""
        return self.resize.interpolation if self.resize else None

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        return DRAWS + 3 if isinstance(self.resize, ResizeKeepRatio) else 2

    @property
    def border(self) -> Border:
        """What stands outside of images."""
        height, width = height_width(self.size)
        margins = (width // 2, height // 2, width // 2, height // 2)
        return Border(mode=self.padding_mode, fill=rgb(self.fill), margins=margins)

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that hold too little for a padding made of their own pixels."""
        if self.padding_mode == "constant":
            return np.zeros(len(height), bool)
        known = np.maximum(height, 1), np.maximum(width, 1)
        if isinstance(self.resize, ResizeKeepRatio):
            least = self.resize.smallest(*known)
        else:
            least = sides_after(self.resize, *known)
        size_h, size_w = height_width(self.size)
        return (least[0] <= size_h // 2) | (least[1] <= size_w // 2)

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Whole images of `height`, `width` (B,) are decoded, from `uniform` (B, `uniforms`) in [0, 1)."""
        if isinstance(self.resize, ResizeKeepRatio):
            sides = self.resize.resized(height, width, uniform[:, 2:])
        else:
            sides = sides_after(self.resize, height, width)
        offsets = []
        for side, size, number in zip(sides, height_width(self.size), uniform.T[:2], strict=True):
            margin = side.astype(np.int64) - size
            if self.position == "random":
                offsets.append(np.sign(margin) * (number * (abs(margin) + 1)).astype(np.int64))
            else:  # what is missing is halved downwards, what is too much half to even
                offsets.append(np.where(margin < 0, -(-margin // 2), np.rint(margin / 2)).astype(np.int64))
        return Windows(
            anchor=np.zeros((len(height), 2), np.int32),
            shape=pairs(height, width),
            resized=pairs(*sides),
            offset=pairs(*offsets),
            interpolation=self._codes(uniform),
        )

    def _codes(self, uniform: np.ndarray) -> np.ndarray | None:
        if self.interpolation is None:
            return None
        if self.interpolation != "random":
            return interpolation_codes(self.interpolation, len(uniform))
        bilinear, bicubic = INTERPOLATIONS.index("bilinear"), INTERPOLATIONS.index("bicubic")
        return np.where(uniform[:, -1] < 0.5, bilinear, bicubic).astype(np.int32)
