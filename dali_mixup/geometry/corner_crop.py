"""One of the five crops that torchvision's `FiveCrop` and `TenCrop` make of an image."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dali_mixup.errors import check_choice, must_be
from dali_mixup.geometry.geometry import Interpolation, OwnSize, Windows, check_size, height_width
from dali_mixup.geometry.resize import Resize, sides_after, whole_images

Corner = Literal["top left", "top right", "bottom left", "bottom right", "center"]
CORNERS: tuple[Corner, ...] = get_args(Corner)  # in torchvision's order


@dataclass(frozen=True, slots=True)
class CornerCrop(OwnSize):
    """A corner of an image, or its centre: one view of `torchvision.transforms.FiveCrop` or `TenCrop`.

    A list of pipelines with one each makes all of them, as `from_torchvision(transform, views=True)` gives it.

    Args:
        size: output height and width in pixels, one int for a square.
        corner: "top left", "top right", "bottom left", "bottom right" or "center".
        resize: what goes before it.
        mirrored: "horizontal" or "vertical": the pixels that lie in this corner once the image is mirrored so, as
            TenCrop crops. They aren't mirrored themselves, which the pipeline's `flip=1.0`, or a
            `RandomVerticalFlip(1.0)`, does.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    size: int | tuple[int, int]
    corner: Corner = "center"
    resize: Resize | None = None
    mirrored: Literal["horizontal", "vertical"] | None = None

    def __post_init__(self) -> None:
        check_size("size", self.size)
        check_choice("corner", self.corner, CORNERS)
        check_choice("mirrored", self.mirrored, ("horizontal", "vertical", None))
        if self.resize is not None and not isinstance(self.resize, Resize):
            raise TypeError(must_be("resize", "a Resize or None", self.resize))

    @property
    def interpolation(self) -> Interpolation | None:
        """How images are resized."""
        return self.resize.interpolation if self.resize else None

    def windows(self, height: np.ndarray, width: np.ndarray, uniform: np.ndarray) -> Windows:  # noqa: ARG002
        """Windows for images of `height`, `width` (B,); `uniform` (B, 0) is not used."""
        offsets = []
        for side, size, last, mirrored in zip(
            sides_after(self.resize, height, width),
            height_width(self.size),
            ("bottom", "right"),
            ("vertical", "horizontal"),
            strict=True,
        ):
            left = side.astype(np.int64) - size  # beside the crop
            before = np.rint(left / 2).astype(np.int64) if self.corner == "center" else left * (last in self.corner)
            offsets.append(left - before if self.mirrored == mirrored else before)
        return whole_images(height, width, self.resize, (offsets[0], offsets[1]))

    def too_small(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(N,) bool: images that hold no such crop."""
        sides = sides_after(self.resize, height, width)
        return (sides[0] < height_width(self.size)[0]) | (sides[1] < height_width(self.size)[1])
