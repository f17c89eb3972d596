"""`ImagePipeline`: what happens to one image, as data. The graph and the stage carry it out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch

from dali_mixup.errors import check_bool, check_choice, check_probability, must_be
from dali_mixup.geometry.geometry import Geometry
from dali_mixup.parity import Translation
from dali_mixup.picture import as_html
from dali_mixup.transforms.after import After, check_after
from dali_mixup.transforms.transforms import Transform, check_transforms

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GEOMETRIES = "or one of Resize, KeepSize, CenterCrop and RandomCrop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePipeline:
    """Geometry, flip, the user's own DALI operators, transforms, normalization, the user's functions: in this order.

    Args:
        geometry: the crop and the output size.
        flip: probability of a horizontal flip.
        augment: a plain function on DALI nodes, uint8 HWC of the output size in and out: any of DALI's operators,
            random ones too.
        transforms: such as `(dm.ColorJitter(0.4, 0.4, 0.4), dm.RandomErasing())`, planned from (seed, epoch, position)
            as the crops are.
        mean: per channel (RGB, or a single one), of values in [0, 1].
        std: per channel, likewise; an output value is (pixel / 255 - mean) / std.
        channels: 3, or 1 for gray images (B, 1, H, W), with levels as Pillow's `convert("L")` and torchvision's
            `Grayscale(1)` give them behind all transforms, before normalization; `mean` and `std` then hold one number
            each. On a GPU its batches come from torch's operators, not from the Triton kernel.
        decode: "exact" as Pillow does, or "scaled": on a CPU, where a window of a JPEG is at least four times as high
            and wide as the output, it is decoded at a half, a quarter or an eighth of its size. For photos of many
            megapixels, which then load several times as fast; it changes an image by half a level in the mean.
        orient: hold images upright as their EXIF says, as `PIL.ImageOps.exif_transpose` does, before all else; windows
            are those of the upright image. Without it they come as they are stored, as in torchvision's ImageFolder.
            The orientations are read from all files when a Loader is built, and those of file lists, folders and
            Hugging Face's tables are kept beside their sizes. Images that aren't upright are decoded whole by Pillow,
            which takes longer.
        after: functions of yours on the finished batch, images (B, 3, H, W) float32 with contiguous rows, normalized
            and not mixed yet, on its device; each gives images of the same shape. What they do to one image should
            depend on no other, as with a transform of torchvision's. `dm.Planned` gives a function random numbers of
            (seed, epoch, position). What it draws itself, from torch, numpy or Python, comes from a thread of the
            Loader's: neither the seed nor a resumed run repeats it. Mixing then takes a pass of its own.
        translation: where `from_torchvision` made the pipeline from; for `print` alone.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import dali_mixup as dm
    >>> dm.ImagePipeline(geometry=dm.ResizeCenterCrop(256, 224), flip=1.5)
    Traceback (most recent call last):
    ValueError: flip must be a probability from 0 to 1, got 1.5
    """

    geometry: Geometry
    flip: float = 0.0
    augment: Callable[[Any], Any] | None = None
    transforms: tuple[Transform, ...] = ()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: Literal[1, 3] = 3
    decode: Literal["exact", "scaled"] = "exact"
    orient: bool = False
    after: tuple[After, ...] = ()
    translation: Translation | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.geometry, type) or not isinstance(self.geometry, Geometry):
            raise TypeError(
                must_be("geometry", "a RandomResizedCrop, ResizeCenterCrop or CropPad", self.geometry, GEOMETRIES)
            )
        check_probability("flip", self.flip)
        if self.augment is not None and not callable(self.augment):
            raise TypeError(must_be("augment", "a function on DALI nodes, or None", self.augment))
        check_transforms(self.transforms)
        check_choice("channels", self.channels, (1, 3))
        for name, value in (("mean", self.mean), ("std", self.std)):
            _check_per_channel(name, value, self.channels)
        check_choice("decode", self.decode, ("exact", "scaled"))
        check_bool("orient", self.orient)
        object.__setattr__(self, "after", check_after(self.after))
        if self.decode == "scaled" and self.augment is not None:
            raise ValueError(must_be("decode", '"exact" with augment', self.decode))
        if min(self.std) <= 0:
            raise ValueError(
                must_be("std", f"{'three numbers' if self.channels == 3 else 'one number'} above 0", self.std)
            )

    def __str__(self) -> str:
        """The translation, line by line; of any other pipeline its fields."""
        if self.translation is None or self.translation.parts != self.parts:
            return repr(self)
        return "\n".join(map(str, self.translation.lines))

    def _repr_html_(self) -> str:
        """What notebooks show: what each transform became, or the fields."""
        if self.translation is not None and self.translation.parts == self.parts:
            return as_html("ImagePipeline", [("", line) for line in map(str, self.translation.lines)])
        told = [each for each in fields(self) if each.repr]
        return as_html("ImagePipeline", [(each.name, getattr(self, each.name)) for each in told])

    @property
    def parts(self) -> tuple[Any, ...]:
        """All that the pipeline does."""
        own = (self.geometry, self.flip, self.augment, self.transforms, self.mean, self.std, self.channels)
        return *own, self.decode, self.orient, self.after

    @property
    def size(self) -> tuple[int, int]:
        """Output height and width in pixels.

        Raises:
            ValueError: it depends on the dataset.
        """
        if self.geometry.output is None:
            remedy = "a Loader takes the size from its dataset"
            raise ValueError(must_be("geometry", "of a fixed size", self.geometry, remedy))
        return self.geometry.output

    def normalization(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and shift (channels,) in the precision of `dtype`; a value is scale * level + shift."""
        mean, std = torch.tensor(self.mean, dtype=dtype), torch.tensor(self.std, dtype=dtype)
        return 1 / (255 * std), -mean / std

    def settled(self, height: np.ndarray, width: np.ndarray) -> "ImagePipeline":
        """The pipeline with a fixed output size, for a dataset of images of `height`, `width` (N,).

        0 stands for files that are none.

        Raises:
            ValueError: the images come out with different sizes.
        """
        images = height > 0
        geometry = self.geometry.settled(height[images], width[images])
        if geometry is self.geometry:
            return self
        made = replace(self, geometry=geometry)
        if self.translation is None or self.translation.parts != self.parts:
            return made
        return replace(made, translation=replace(self.translation, parts=made.parts))


def _check_per_channel(name: str, value: object, channels: int) -> None:
    """Raise a TypeError unless `value` holds a number for each channel."""
    rule = "three numbers, for R, G and B" if channels == 3 else "one number, such as (0.5,), with channels=1"
    numbers: Sequence[Any] = value if isinstance(value, tuple | list) else ()
    if len(numbers) != channels or not all(isinstance(number, int | float) for number in numbers):
        raise TypeError(must_be(name, rule, value))
