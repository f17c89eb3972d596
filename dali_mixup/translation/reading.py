"""What has been read of a chain of transforms, and what the next one may still do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dali_mixup.errors import must_be
from dali_mixup.geometry.crops import KeepSize
from dali_mixup.geometry.keep_ratio import ResizeKeepRatio
from dali_mixup.geometry.pad import Pad
from dali_mixup.geometry.resize import Resize
from dali_mixup.parity import Line, Translation
from dali_mixup.pipeline import Geometry, ImagePipeline
from dali_mixup.transforms.after import After, check_after
from dali_mixup.transforms.erasing import RandomErasing
from dali_mixup.transforms.transforms import RandomGrayscale, RandomHorizontalFlip, RandomVerticalFlip, Transform
from dali_mixup.translation.options import name_of, text_of
from dali_mixup.translation.pixel_table import ZERO, Values, is_pointwise, on_tensors, translate

ONE = (1.0, 1.0, 1.0)
LEVEL = (1 / 255, 1 / 255, 1 / 255)
TO_GRAY = RandomGrayscale(1.0)
COMMUTE = ("RandomErasing", "RandomHorizontalFlip", "RandomVerticalFlip")  # with normalization


class Reading:
    """What has been read so far.

    Attributes:
        lines: the table.
        resize: what comes before the crop.
        zoom_out: puts images on a canvas before the geometry.
        crop: the geometry that gives images their size.
        flip: probability of a flip before all other transforms.
        mirrored: the text of a flip that came before the crop.
        transforms: of pixels.
        tensor: whether images are tensors.
        floating: whether they are floats.
        normalized: whether `Normalize` has come.
        values: what pixels are worth.
        gray: whether images have one channel, which is carried as three equal ones to the end.
        gray_first: whether that is before anything else is done to them.
        view: which of several crops this is about; None where an image stays one.
    """

    gray: bool
    gray_first: bool
    view: int | None
    mirrored: str
    flip: float

    def __init__(self, *, tensor: bool = False, gray: bool = False, view: int | None = None):
        self.lines: list[Line] = []
        self.resize: Resize | ResizeKeepRatio | None = None
        self.zoom_out: Callable[[Geometry], Geometry] | None = None
        self.crop: Geometry | None = None
        self.flip = 0.0
        self.mirrored = ""
        self.transforms: list[Transform] = []
        self.tensor = tensor
        self.floating = self.normalized = False
        self.values: Values = Values(ZERO, LEVEL)
        self.gray, self.gray_first, self.view = gray, False, view

    def pipeline(self, after: Sequence[After]) -> ImagePipeline:
        """All that was read, and functions of the finished batch."""
        values = self.values if self.tensor else Values(ZERO, ONE)
        resize = self.resize
        if isinstance(resize, ResizeKeepRatio):
            if self.crop is None:
                remedy = "put CenterCropOrPad or RandomCropOrPad behind it"
                raise ValueError(must_be("transform", "one that gives all images one size", str(resize), remedy))
            resize = None  # the crop has it
        transforms = [TO_GRAY, *self.transforms] if self.gray_first else self.transforms
        if self.gray and transforms[-1:] == [TO_GRAY]:  # the last step does it anyway
            transforms = transforms[:-1]
        channels = 1 if self.gray else 3
        geometry = self.crop or resize or KeepSize()
        made = ImagePipeline(
            geometry=self.zoom_out(geometry) if self.zoom_out else geometry,
            flip=self.flip,
            transforms=tuple(transforms),
            mean=values.mean[:channels],
            std=values.std[:channels],
            channels=channels,
            after=check_after(after),
        )
        lines = [*self.lines, *(Line("on the finished batch, before mixup", theirs=text_of(each)) for each in after)]
        return replace(made, translation=Translation(lines=tuple(lines), parts=made.parts))

    def add_pixels(self, step: Any) -> Line:
        """A transform of pixels by its row of the table, at its place among the others."""
        return self.add_transform(step, translate(step, self.values))

    def add_transform(self, step: Any, found: Line) -> Line:
        """What stands for a transform of pixels, at its place among the others."""
        if self.normalized and name_of(step) not in COMMUTE:
            raise misplaced(step, "it works on levels; put it before Normalize")
        if self.gray and isinstance(found.ours, RandomErasing) and found.ours.noise is not None:
            raise misplaced(step, "its noise would be mixed out of three channels; put it before Grayscale")
        transform, line = found.ours, on_tensors(found, floating=self.floating) if self.tensor else found
        if isinstance(transform, RandomHorizontalFlip | RandomVerticalFlip) and isinstance(self.crop, Pad | None):
            self.mirrored = text_of(step)
        if isinstance(transform, RandomHorizontalFlip) and not self.transforms:
            self.flip += transform.p - 2 * self.flip * transform.p
            return line._replace(ours=f"flip={self.flip:g}")
        self.transforms.append(transform)
        return line

    def check_before(self, step: Any, *, resizes: bool, black: bool = True) -> None:
        """Raise if what was read changes pixels in a way that can't wait until after `step`, a resize or a crop."""
        for transform in self.transforms:
            flips = isinstance(transform, RandomHorizontalFlip | RandomVerticalFlip)
            if not flips and (resizes or not black or not is_pointwise(transform)):
                why = f"{transform} would work on the whole image; put it behind the crop, where it costs less, too"
                raise misplaced(step, why)

    def set_crop(self, step: Any, crop: Geometry) -> None:
        """Make `crop` the geometry."""
        if self.crop is not None:
            raise misplaced(step, f"the images are cropped already, by {self.crop}; crop once")
        self.crop = crop


def misplaced(step: Any, why: str) -> ValueError:
    """The error for a transform that can't be done at its place."""
    return ValueError(must_be("transform", "in an order that one decoding and resizing can follow", text_of(step), why))
