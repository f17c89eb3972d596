"""torchvision's `RandomResizedCrop`, computed for a whole batch at once."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dali_mixup.geometry.geometry import (
    INTERPOLATIONS,
    Interpolation,
    OwnSize,
    Windows,
    check_interpolation,
    check_range,
    check_size,
    height_width,
    interpolation_codes,
    pairs,
)

TRIES = 10  # torchvision draws at most ten windows before it falls back


@dataclass(frozen=True, slots=True)
class RandomResizedCrop(OwnSize):
    """A random window of random area and aspect ratio, resized: `torchvision.transforms.v2.RandomResizedCrop`.

    Source: Szegedy et al., Going deeper with convolutions, 2014.

    Args:
        size: output height and width in pixels, one int for a square.
        scale: range of the window's area as a fraction of the image's.
        ratio: range of the window's width / height; its logarithm is uniform.
        interpolation: as Pillow resizes, bilinear and bicubic within one level, others to the bit; "random" is
            bilinear or bicubic, as timm draws it for each image.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Literal[Interpolation, "random"] = "bilinear"

    def __post_init__(self) -> None:
        check_size("size", self.size)
        check_range("scale", self.scale, high=1.0)
        check_range("ratio", self.ratio, high=math.inf)
        if self.interpolation != "random":
            check_interpolation(self.interpolation)

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        return 2 * TRIES + 2 + (self.interpolation == "random")

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Windows for images of `height`, `width` (B,) from `uniform` (B, `uniforms`) in [0, 1)."""
        area = (height * width.astype(np.float64))[:, None]
        target_area = area * _between(self.scale, uniform[:, :TRIES])
        aspect = np.exp(_between((math.log(self.ratio[0]), math.log(self.ratio[1])), uniform[:, TRIES : 2 * TRIES]))
        crop_w = np.rint(np.sqrt(target_area * aspect)).astype(np.int64)
        crop_h = np.rint(np.sqrt(target_area / aspect)).astype(np.int64)
        fits = (crop_w > 0) & (crop_w <= width[:, None]) & (crop_h > 0) & (crop_h <= height[:, None])
        first = fits.argmax(axis=1)
        rows = np.arange(len(height))
        crop_h, crop_w, found = crop_h[rows, first], crop_w[rows, first], fits[rows, first]
        top = (uniform[:, 2 * TRIES] * (height - crop_h + 1)).astype(np.int64)
        left = (uniform[:, 2 * TRIES + 1] * (width - crop_w + 1)).astype(np.int64)

        whole_h, whole_w = self._central(height, width)
        crop_h, crop_w = np.where(found, crop_h, whole_h), np.where(found, crop_w, whole_w)
        top, left = np.where(found, top, (height - whole_h) // 2), np.where(found, left, (width - whole_w) // 2)
        return Windows(
            anchor=pairs(top, left),
            shape=pairs(crop_h, crop_w),
            resized=np.broadcast_to(np.array(height_width(self.size), np.int32), (len(height), 2)),
            offset=np.zeros((len(height), 2), np.int32),
            interpolation=self._interpolation(uniform),
        )

    def _interpolation(self, uniform: np.ndarray) -> np.ndarray | None:
        if self.interpolation != "random":
            return interpolation_codes(self.interpolation, len(uniform))
        bilinear, bicubic = INTERPOLATIONS.index("bilinear"), INTERPOLATIONS.index("bicubic")
        return np.where(uniform[:, -1] < 0.5, bilinear, bicubic).astype(np.int32)

    def _central(self, height: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The fall-back: the largest central window whose aspect ratio is allowed."""
        low, high = min(self.ratio), max(self.ratio)
        aspect = width / height
        crop_h = np.where(aspect < low, np.rint(width / low), height).astype(np.int64)
        crop_w = np.where(aspect > high, np.rint(height * high), width).astype(np.int64)
        return crop_h, crop_w


def _between(span: tuple[float, float], uniform: np.ndarray) -> np.ndarray:
    return span[0] + (span[1] - span[0]) * uniform
