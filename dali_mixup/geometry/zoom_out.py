"""torchvision's `RandomZoomOut`: images on a larger canvas, before they are cropped and resized."""

import math
from dataclasses import dataclass, replace

import numpy as np

from dali_mixup.errors import check_probability, must_be
from dali_mixup.geometry.geometry import Border, Geometry, Interpolation, Windows, check_fill, check_range, rgb

DRAWS = 4  # whether to zoom out, how far, left and top


@dataclass(frozen=True, slots=True)
class RandomZoomOut:
    """Some images at a random place of a larger canvas of one colour: `torchvision.transforms.v2.RandomZoomOut`.

    Their canvas is what another geometry then crops and resizes. It costs what its pixels cost, as in torchvision: with
    the largest `side_range` sixteen images' worth.

    Source: Liu et al., SSD: Single Shot MultiBox Detector, 2015.

    Args:
        geometry: what follows: a `RandomResizedCrop`, a `Resize` to height and width, or another geometry of a fixed
            size that resizes, and that pads with `fill` where it pads.
        fill: level from 0 to 255 of the canvas, or three for R, G and B.
        side_range: least and largest height and width of the canvas, by those of the image; at least 1.
        p: probability.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import dali_mixup as dm
    >>> dm.RandomZoomOut(dm.RandomResizedCrop(224), fill=128).output
    (224, 224)
    """

    geometry: Geometry
    fill: int | tuple[int, int, int] = 0
    side_range: tuple[float, float] = (1.0, 4.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_fill(self.fill)
        check_range("side_range", self.side_range, high=math.inf)
        if self.side_range[0] < 1:
            raise ValueError(must_be("side_range", "a pair (low, high) with 1 <= low <= high", self.side_range))
        check_probability("p", self.p)
        inner = self.geometry
        if isinstance(inner, type) or not isinstance(inner, Geometry):
            raise TypeError(must_be("geometry", "a RandomResizedCrop or another geometry that resizes", inner))
        if inner.output is None or inner.interpolation in (None, "random"):
            rule = "one that resizes to a fixed size, by one interpolation"
            raise ValueError(must_be("geometry", rule, inner, "such as Resize((224, 224))"))
        if inner.border and (inner.border.mode, inner.border.fill) != ("constant", rgb(self.fill)):
            raise ValueError(must_be("geometry", f"one that pads with fill ({self.fill}), or not at all", inner))

    @property
    def output(self) -> tuple[int, int] | None:
        """Height and width of the output in pixels."""
        return self.geometry.output

    @property
    def uniforms(self) -> int:
        """Random numbers per image."""
        return DRAWS + self.geometry.uniforms

    @property
    def interpolation(self) -> Interpolation | None:
        """How canvases are resized."""
        interpolation = self.geometry.interpolation
        return None if interpolation == "random" else interpolation

    @property
    def border(self) -> Border:
        """What stands around images."""
        return Border(fill=rgb(self.fill), on_canvas=True)

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:
        """Windows of canvases for images of `height`, `width` (B,), from `uniform` (B, `uniforms`) in [0, 1)."""
        sides = np.stack([height, width], 1).astype(np.int64)
        low, high = map(np.float32, self.side_range)
        factor = low + uniform[:, 1].astype(np.float32) * (high - low)
        places = uniform[:, 3:1:-1].astype(np.float32)  # the left one is drawn before the top one
        zoomed = (sides.astype(np.float32) * factor[:, None]).astype(np.int64)
        canvas = np.where(uniform[:, :1] < self.p, zoomed, sides)
        corner = ((canvas - sides).astype(np.float32) * places).astype(np.int64)  # of the image on it
        windows = self.geometry.windows(canvas[:, 0], canvas[:, 1], uniform[:, DRAWS:])
        start = windows.anchor - corner
        first = start.clip(0, sides - 1)  # one pixel is decoded where the window holds none
        last = (start + windows.shape).clip(first + 1, sides)
        return replace(
            windows,
            anchor=first.astype(np.int32),
            shape=(last - first).astype(np.int32),
            canvas=np.concatenate([start - first, windows.shape], 1).astype(np.int32),
        )

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that the geometry finds too small without a canvas."""
        return self.geometry.too_small(height, width)

    def settled(self, height: np.ndarray, width: np.ndarray) -> "RandomZoomOut":  # noqa: ARG002
        """The same."""
        return self
