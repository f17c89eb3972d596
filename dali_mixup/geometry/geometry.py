"""Which part of an image is read, and how it becomes the output size.

torchvision's crops, computed for a whole batch at once.

A geometry turns image sizes and uniform random numbers into `Windows`. Nothing here touches pixels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from dali_mixup.errors import check_int, must_be

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
INTERPOLATIONS: tuple[Interpolation, ...] = (
    "nearest",
    "bilinear",
    "bicubic",
    "lanczos",
)  # `Windows` counts them in this order
TRIES = 10  # torchvision's RandomResizedCrop draws at most ten windows before it falls back


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """What stands outside of an image that a crop reaches over.

    Args:
        mode: "constant", "edge" (the outermost pixels), "reflect" (mirrored without them) or "symmetric" (mirrored with
            them).
        fill: R, G and B of "constant".
    """

    mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"
    fill: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """For each image of a batch: which part is decoded, to what it is resized, and which part of that is the output.

    Attributes:
        anchor: (B, 2) int32, top and left of the decoded part in the image, pixels.
        shape: (B, 2) int32, its height and width.
        resized: (B, 2) int32, its height and width after resizing.
        offset: (B, 2) int32, top and left of the output in the resized part; outside of it where the geometry pads.
        interpolation: (B,) int32, places in `INTERPOLATIONS`; None where all are bilinear.
    """

    anchor: np.ndarray
    shape: np.ndarray
    resized: np.ndarray
    offset: np.ndarray
    interpolation: np.ndarray | None = None

    def roi(self, size: tuple[int, int]) -> np.ndarray:
        """The outputs in pixels of the decoded parts: top, left, bottom, right; (B, 4) float32."""
        scale = self.shape / self.resized
        return np.concatenate([self.offset * scale, (self.offset + size) * scale], 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """A random window of random area and aspect ratio, resized: `torchvision.transforms.v2.RandomResizedCrop`.

    Source: Szegedy et al., Going deeper with convolutions, 2014.

    Args:
        size: output height and width in pixels, one int for a square.
        scale: range of the window's area as a fraction of the image's.
        ratio: range of the window's width / height; its logarithm is uniform.
        interpolation: as Pillow resizes; "random" is bilinear or bicubic, as timm draws it for each image.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Literal[Interpolation, "random"] = "bilinear"

    border: ClassVar[Border | None] = None

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


@dataclass(frozen=True, slots=True)
class ResizeCenterCrop:
    """The short side resized to `resize`, then the centre: torchvision's `Resize(resize)` and `CenterCrop(size)`.

    Args:
        resize: the short side after resizing, in pixels; at least `size`.
        size: output height and width in pixels, one int for a square.
        interpolation: as Pillow resizes.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    resize: int = 256
    size: int | tuple[int, int] = 224
    interpolation: Interpolation = "bilinear"

    uniforms: ClassVar[int] = 0
    border: ClassVar[Border | None] = None

    def __post_init__(self) -> None:
        check_size("size", self.size)
        check_int("resize", self.resize, at_least=1)
        check_interpolation(self.interpolation)
        if self.resize < max(height_width(self.size)):
            raise ValueError(
                must_be("resize", f"at least size ({self.size})", self.resize, "the crop would reach outside")
            )

    def resized(self, height: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height and width (B,) of the whole images after resizing."""
        short = np.minimum(height, width).astype(np.int64)
        return self.resize * height.astype(np.int64) // short, self.resize * width.astype(np.int64) // short

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Windows for images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        resized_h, resized_w = self.resized(height, width)
        size_h, size_w = height_width(self.size)
        # half to even, as Python's round in torchvision's center_crop
        top, left = np.rint((resized_h - size_h) / 2), np.rint((resized_w - size_w) / 2)
        return Windows(
            anchor=np.zeros((len(height), 2), np.int32),
            shape=pairs(height, width),
            resized=pairs(resized_h, resized_w),
            offset=pairs(top, left),
            interpolation=interpolation_codes(self.interpolation, len(height)),
        )


@dataclass(frozen=True, slots=True)
class CropPad:
    """The image padded on all sides, then a random crop.

    torchvision's `RandomCrop(size, padding=..., padding_mode=...)`.

    Args:
        size: output height and width in pixels, one int for a square.
        padding: pixels added at each side.
        padding_mode: "reflect" (without repeating the edge) or "constant" (black).

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    padding: int = 4
    padding_mode: Literal["reflect", "constant"] = "reflect"

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_size("size", self.size)
        check_int("padding", self.padding, at_least=0)
        if self.padding_mode not in ("reflect", "constant"):
            raise ValueError(must_be("padding_mode", '"reflect" or "constant"', self.padding_mode))

    @property
    def border(self) -> Border:
        """What stands outside."""
        return Border(mode=self.padding_mode)

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Padding at the left, top, right and bottom."""
        return self.padding, self.padding, self.padding, self.padding

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Whole images are decoded; `offset` reaches outside of them by at most `padding`."""
        size_h, size_w = height_width(self.size)
        top = (uniform[:, 0] * (height + 2 * self.padding - size_h + 1)).astype(np.int64) - self.padding
        left = (uniform[:, 1] * (width + 2 * self.padding - size_w + 1)).astype(np.int64) - self.padding
        shape = pairs(height, width)
        return Windows(anchor=np.zeros((len(height), 2), np.int32), shape=shape, resized=shape, offset=pairs(top, left))

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that hold no such crop."""
        size_h, size_w = height_width(self.size)
        small = (height + 2 * self.padding < size_h) | (width + 2 * self.padding < size_w)
        return small | (np.minimum(height, width) <= self.padding) if self.padding_mode == "reflect" else small


def height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """An int stands for a square."""
    return (size, size) if isinstance(size, int) else size


def check_size(name: str, size: object) -> None:
    """Raise unless `size` is a positive int or a pair of them."""
    if isinstance(size, tuple) and len(size) == 2:
        for side in size:
            check_int(name, side, at_least=1)
    else:
        check_int(name, size, at_least=1)


def check_interpolation(value: object) -> None:
    """Raise a ValueError unless `value` is one of `INTERPOLATIONS`."""
    if value not in INTERPOLATIONS:
        raise ValueError(must_be("interpolation", '"nearest", "bilinear", "bicubic" or "lanczos"', value))


def interpolation_codes(interpolation: Interpolation, count: int) -> np.ndarray | None:
    """What `Windows` says of `count` images; None for bilinear."""
    return None if interpolation == "bilinear" else np.full(count, INTERPOLATIONS.index(interpolation), np.int32)


def check_range(name: str, value: object, high: float) -> None:
    """Raise unless `value` is a pair with 0 < value[0] <= value[1] <= `high`."""
    rule = "a pair (low, high) with 0 < low <= high" + ("" if math.isinf(high) else f" <= {high:g}")
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(isinstance(v, int | float) for v in value):
        raise TypeError(must_be(name, rule, value))
    if not 0 < value[0] <= value[1] <= high or math.isinf(value[1]):
        raise ValueError(must_be(name, rule, value))


def _between(span: tuple[float, float], uniform: np.ndarray) -> np.ndarray:
    return span[0] + (span[1] - span[0]) * uniform


def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(B, 2) int32."""
    return np.stack([first, second], 1).astype(np.int32)
