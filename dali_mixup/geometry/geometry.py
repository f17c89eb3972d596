"""What a geometry is: from sizes and random numbers it tells which part of each image is read, and how it is resized.

Nothing here touches pixels. Any frozen dataclass that is a `Geometry` can stand in `ImagePipeline(geometry=...)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import numpy as np

from dali_mixup.errors import check_choice, check_int, must_be

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
PaddingMode = Literal["constant", "edge", "reflect", "symmetric"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)  # `Windows` counts them in this order


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """What stands outside of an image that a crop reaches over.

    Args:
        mode: "constant", "edge" (the outermost pixels), "reflect" (mirrored without them) or "symmetric" (mirrored with
            them).
        fill: R, G and B of "constant".
        margins: how far a crop reaches over at the left, top, right and bottom, in all modes but "constant".
        on_canvas: whether it stands around images before they are resized, too; see `Windows.canvas`.
    """

    mode: PaddingMode = "constant"
    fill: tuple[int, int, int] = (0, 0, 0)
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    on_canvas: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """For each image of a batch: which part is decoded, to what it is resized, and which part of that is the output.

    Attributes:
        anchor: (B, 2) int32, top and left of the decoded part in the image, pixels.
        shape: (B, 2) int32, its height and width.
        resized: (B, 2) int32, its height and width after resizing.
        offset: (B, 2) int32, top and left of the output in the resized part; outside of it where the geometry pads.
        interpolation: (B,) int32, places in `INTERPOLATIONS`; None where all are bilinear.
        canvas: (B, 4) int32, top, left, height and width in the decoded part of what is resized, which may reach
            outside of it; None where it is that part.
    """

    anchor: np.ndarray
    shape: np.ndarray
    resized: np.ndarray
    offset: np.ndarray
    interpolation: np.ndarray | None = None
    canvas: np.ndarray | None = None

    def canvases(self) -> dict[int, list[int]]:
        """By row the canvases that aren't the decoded part: top, left, height and width."""
        if self.canvas is None:
            return {}
        differ = self.canvas[:, :2].any(1) | (self.canvas[:, 2:] != self.shape).any(1)
        return {row: self.canvas[row].tolist() for row in np.flatnonzero(differ).tolist()}

    def rows(self, rows: Sequence[int]) -> "Windows":
        """Those of some images of the batch, in the order of `rows`."""
        return Windows(
            anchor=self.anchor[rows],
            shape=self.shape[rows],
            resized=self.resized[rows],
            offset=self.offset[rows],
            interpolation=None if self.interpolation is None else self.interpolation[rows],
            canvas=None if self.canvas is None else self.canvas[rows],
        )

    def roi(self, size: tuple[int, int]) -> np.ndarray:
        """The outputs in pixels of the decoded parts: top, left, bottom, right; (B, 4) float32."""
        scale = self.shape / self.resized
        return np.concatenate([self.offset * scale, (self.offset + size) * scale], 1).astype(np.float32)


@runtime_checkable
class Geometry(Protocol):
    """What `ImagePipeline(geometry=...)` takes."""

    @property
    def output(self) -> tuple[int, int] | None:
        """Height and width of the output in pixels; None where they depend on the dataset."""
        ...

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        ...

    @property
    def interpolation(self) -> Literal[Interpolation, "random"] | None:
        """How images are resized, "random" by what each image draws; None where they aren't."""
        ...

    @property
    def border(self) -> Border | None:
        """What stands outside of images; None where no output reaches outside."""
        ...

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Windows for images of `height`, `width` (B,) from `uniform` (B, `uniforms`) in [0, 1)."""
        ...

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images of `height`, `width` (N,) that hold no such window."""
        ...

    def settled(self, height: np.ndarray, width: np.ndarray) -> "Geometry":
        """The same with a fixed size, for images of `height`, `width` (N,); a ValueError if they differ."""
        ...


class OwnSize:
    """What most geometries share: their `size` is the output's, nothing is random, and any image holds a window."""

    __slots__ = ()
    size: Any

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        return 0

    @property
    def border(self) -> Border | None:
        """What stands outside of images; None where no output reaches outside."""
        return None

    @property
    def output(self) -> tuple[int, int] | None:
        """Height and width of the output in pixels; None where they depend on the dataset."""
        return height_width(self.size)

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """(N,) bool: no image."""
        return np.zeros(len(height), bool)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "Geometry":  # noqa: ARG002
        """The same."""
        return cast(Geometry, self)


def inside(places: np.ndarray, side: int | np.ndarray, mode: PaddingMode) -> np.ndarray:
    """Which pixels stand at `places`, some of them less than one `side` outside, in all modes but "constant"."""
    if mode == "edge":
        return places.clip(0, side - 1)
    repeated = mode == "symmetric"
    places = np.where(places < 0, -places - repeated, places)
    return np.where(places >= side, 2 * side - 2 + repeated - places, places)


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
    check_choice("interpolation", value, INTERPOLATIONS)


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


def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(B, 2) int32."""
    return np.stack([first, second], 1).astype(np.int32)
