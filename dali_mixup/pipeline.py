"""`ImagePipeline`: what happens to one image, as data. The graph and the stage carry it out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dali_mixup.errors import check_probability, must_be
from dali_mixup.geometry import CropPad, RandomResizedCrop, ResizeCenterCrop, height_width

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePipeline:
    """Geometry, flip, the user's own DALI operators, normalization: in this order.

    Args:
        geometry: the crop and the output size.
        flip: probability of a horizontal flip.
        augment: a plain function on DALI nodes, uint8 HWC of the output size in and out: any of DALI's operators, random ones too.
        mean: per channel (RGB), of values in [0, 1].
        std: per channel, likewise; an output value is (pixel / 255 - mean) / std.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import dali_mixup as dm
    >>> dm.ImagePipeline(geometry=dm.ResizeCenterCrop(256, 224), flip=1.5)
    Traceback (most recent call last):
    ValueError: flip must be a probability from 0 to 1, got 1.5
    """

    geometry: RandomResizedCrop | ResizeCenterCrop | CropPad
    flip: float = 0.0
    augment: Callable[[Any], Any] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not isinstance(self.geometry, RandomResizedCrop | ResizeCenterCrop | CropPad):
            raise TypeError(must_be("geometry", "a RandomResizedCrop, ResizeCenterCrop or CropPad", self.geometry))
        check_probability("flip", self.flip)
        if self.augment is not None and not callable(self.augment):
            raise TypeError(must_be("augment", "a function on DALI nodes, or None", self.augment))
        for name, value in (("mean", self.mean), ("std", self.std)):
            if not isinstance(value, tuple | list) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
                raise TypeError(must_be(name, "three numbers, for R, G and B", value))
        if min(self.std) <= 0:
            raise ValueError(must_be("std", "three numbers above 0", self.std))

    @property
    def size(self) -> tuple[int, int]:
        """Output height and width in pixels."""
        return height_width(self.geometry.size)
