"""The table of torchvision's and timm's transforms of geometry and of values.

What each of them is here, and how close that comes.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from dali_mixup.errors import must_be
from dali_mixup.geometry.crops import CenterCrop, RandomCrop, ResizeCenterCrop
from dali_mixup.geometry.geometry import rgb
from dali_mixup.geometry.keep_ratio import CropOrPad, ResizeKeepRatio
from dali_mixup.geometry.pad import Pad
from dali_mixup.geometry.resize import Resize
from dali_mixup.geometry.resized_crop import RandomResizedCrop
from dali_mixup.geometry.zoom_out import RandomZoomOut
from dali_mixup.parity import Line, Parity, together
from dali_mixup.translation.corners import read_crops
from dali_mixup.translation.options import (
    are_whole,
    as_levels,
    fill_of,
    for_images,
    interpolation_of,
    pair,
    side_or_pair,
    square_or_pair,
    text_of,
    three,
)
from dali_mixup.translation.pixel_table import ZERO, Values
from dali_mixup.translation.reading import ONE, TO_GRAY, Reading, misplaced

# Measured by bench.parity, and checked against it by a test.
MIRRORED_NEAREST = (
    "the flip comes after resizing here, where nearest neighbours differ: by 0.07 levels in the mean, 160 at "
    "most (224 to 100 pixels)"
)
TENSOR_NEAREST = "torchvision's NEAREST takes other pixels of tensors than of PIL images; NEAREST_EXACT takes these"
TENSOR_BICUBIC = (
    "torchvision resizes tensors otherwise: uint8 ones by 0.01 levels in the mean, 2 at most, float ones, which "
    "aren't clipped, by 0.3 and 30; put it before ToTensor or ToImage"
)
MIRRORED = (
    "the flip comes after the crop here, which cuts one pixel beside where the margin is odd: by 4 levels in "
    "the mean, 190 at most"
)
GRAY_FIRST = (
    "images become gray after resizing here, which rounds otherwise: by 0.2 levels in the mean, 2 at most where it is "
    "bilinear, else 14; put Grayscale behind it"
)
NOTHING = Line("nothing")


def _check_antialias(reading: Reading, step: Any) -> None:
    if reading.tensor and getattr(step, "antialias", True) is False:
        raise ValueError(must_be("antialias", "True, as it always is for PIL images", text_of(step)))


def _resampled(reading: Reading, step: Any, ours: Resize | ResizeKeepRatio | RandomResizedCrop) -> Line:
    """How close resizing comes, of tensors, and after a flip or a Grayscale that is done after it here."""
    if reading.gray_first:
        return Line(ours, Parity.APPROXIMATE, GRAY_FIRST)
    if reading.tensor and ours.interpolation == "bicubic":
        return Line(ours, Parity.APPROXIMATE, TENSOR_BICUBIC)
    if reading.tensor and getattr(step.interpolation, "value", "") == "nearest":
        return Line(ours, Parity.APPROXIMATE, TENSOR_NEAREST)
    if ours.interpolation == "nearest" and reading.mirrored:
        return Line(ours, Parity.APPROXIMATE, MIRRORED_NEAREST)
    rounding = ("bilinear", "random", "bicubic") if isinstance(ours, RandomResizedCrop) else ("bilinear", "random")
    rounds = ours.interpolation in rounding or reading.mirrored
    return Line(ours, Parity.ONE_LEVEL if rounds else Parity.EXACT)


def _resize(reading: Reading, step: Any) -> Line:
    _check_antialias(reading, step)
    if reading.crop is not None or reading.resize is not None:
        raise misplaced(step, "the images are resized or cropped already; resize once, and before the crop")
    reading.check_before(step, resizes=True)
    size = None if step.size is None else side_or_pair(step.size)
    reading.resize = Resize(size, step.max_size, interpolation_of(step))
    return _resampled(reading, step, reading.resize)


def _plain_resize(reading: Reading, step: Any) -> Resize | None:
    """The resize before a crop of torchvision's."""
    if isinstance(reading.resize, ResizeKeepRatio):
        raise misplaced(step, "behind ResizeKeepRatio stands timm's CenterCropOrPad or RandomCropOrPad")
    return reading.resize


def _center_crop(reading: Reading, step: Any) -> Line:
    size, resize = square_or_pair(step.size), _plain_resize(reading, step)
    sides = size if isinstance(size, tuple) else (size,)
    if resize and isinstance(resize.size, int) and resize.max_size is None and resize.size >= max(sides):
        crop = ResizeCenterCrop(resize.size, size, resize.interpolation)
    else:
        crop = CenterCrop(size, resize, as_levels(reading.values.to_levels(ZERO)))
    reading.check_before(step, resizes=False, black=not crop.fill)
    reading.set_crop(step, crop)
    return Line(crop, Parity.APPROXIMATE, MIRRORED) if reading.mirrored else Line(crop)


def _random_crop(reading: Reading, step: Any) -> Line:
    pad, fill, padding = None, reading.values.to_levels(fill_of(step)), _padding(step)
    pads, mode = step.pad_if_needed or padding != 0, step.padding_mode
    if isinstance(reading.crop, Pad) and not isinstance(reading.crop.resize, RandomResizedCrop):
        pad, reading.crop = reading.crop, None
        if padding or (pads and (pad.padding_mode, pad.fill) != (mode, as_levels(fill))):
            raise misplaced(step, f"{pad} pads already; pad once, here or there")
        padding, mode = pad.padding, pad.padding_mode
        fill = fill if pads else three(rgb(pad.fill))
    size, resize = square_or_pair(step.size), _plain_resize(reading, step)
    crop = RandomCrop(size, padding, bool(step.pad_if_needed), as_levels(fill), mode, resize)
    _check_margins(reading, step, crop)
    black = crop.border.mode != "constant" or crop.fill == 0 or not (pads or pad)
    reading.check_before(step, resizes=False, black=black)
    reading.set_crop(step, crop)
    rounded = (pads or pad) and mode == "constant" and not are_whole(fill)
    return Line(crop, Parity.ONE_LEVEL if rounded else Parity.EXACT)


def _keep_ratio(reading: Reading, step: Any) -> Line:
    """Of timm, and before one of its crops."""
    if reading.crop is not None or reading.resize is not None:
        raise misplaced(step, "the images are resized or cropped already; resize once, and before the crop")
    reading.check_before(step, resizes=True)
    interpolation = "random" if isinstance(step.interpolation, tuple | list) else interpolation_of(step)
    reading.resize = ResizeKeepRatio(
        square_or_pair(step.size),
        step.longest,
        interpolation,
        step.random_scale_prob,
        pair(step.random_scale_range),
        bool(step.random_scale_area),
        step.random_aspect_prob,
        pair(step.random_aspect_range),
    )
    return _resampled(reading, step, reading.resize)


def _crop_or_pad(reading: Reading, step: Any) -> Line:
    """timm's, behind a resize or not."""
    position = "random" if type(step).__name__ == "RandomCropOrPad" else "center"
    fill = reading.values.to_levels(three(fill_of(step)))
    crop = CropOrPad(square_or_pair(step.size), reading.resize, position, as_levels(fill), step.padding_mode)
    reading.check_before(step, resizes=False, black=crop.padding_mode != "constant" or not crop.fill)
    reading.set_crop(step, crop)
    if reading.mirrored and position == "center":
        return Line(crop, Parity.APPROXIMATE, MIRRORED)
    rounded = crop.padding_mode == "constant" and not are_whole(fill)
    return Line(crop, Parity.ONE_LEVEL if rounded else Parity.EXACT)


def _pad(reading: Reading, step: Any) -> Line:
    fill = reading.values.to_levels(fill_of(step))
    resize = reading.crop if isinstance(reading.crop, RandomResizedCrop) else _plain_resize(reading, step)
    if reading.crop is not resize and reading.crop is not None:
        raise misplaced(step, f"{reading.crop} has cut off what is around; leave one of them out")
    pad = Pad(_sides(step.padding), as_levels(fill), step.padding_mode, resize)
    _check_margins(reading, step, pad)
    black = pad.padding_mode != "constant" or pad.fill == 0
    reading.check_before(step, resizes=False, black=black)
    reading.crop = pad
    rounded = pad.padding_mode == "constant" and not are_whole(fill)
    return Line(pad, Parity.ONE_LEVEL if rounded else Parity.EXACT)


def _zoom_out(reading: Reading, step: Any) -> Line:
    if reading.crop is not None or reading.resize is not None:
        raise misplaced(step, "the images are resized or cropped already; put it before that")
    if reading.zoom_out is not None:
        raise misplaced(step, "the images have a canvas already; zoom out once")
    if reading.view is not None:
        raise misplaced(step, "each view would draw a canvas of its own; leave it out where there are several crops")
    if reading.mirrored:
        raise misplaced(step, f"it would come before {reading.mirrored} here; put that behind it")
    reading.check_before(step, resizes=True)
    fill = reading.values.to_levels(fill_of(step))
    reading.zoom_out = partial(RandomZoomOut, fill=as_levels(fill), side_range=pair(step.side_range), p=float(step.p))
    return Line("RandomZoomOut around what follows", Parity.EXACT if are_whole(fill) else Parity.ONE_LEVEL)


def _check_margins(reading: Reading, step: Any, padded: RandomCrop | Pad) -> None:
    """A flip that came before is done after it here."""
    left, top, right, bottom = padded.border.margins
    if reading.mirrored and (left, top) != (right, bottom):
        raise misplaced(step, f"its padding differs from side to side; put {reading.mirrored} behind it")


def _padding(step: Any) -> Any:
    """Of v1 as it was given, of v2 parsed: left, right, top, bottom."""
    if step.padding is None:
        return 0
    sides = _sides(step.padding)
    if ".v2." in type(step).__module__ and isinstance(sides, tuple) and len(sides) == 4:
        left, right, top, bottom = sides
        sides = (left, top, right, bottom)
    return sides


def _sides(padding: Any) -> Any:
    """One int where all are the same."""
    if isinstance(padding, int):
        return padding
    sides = tuple(int(side) for side in padding)
    return sides[0] if len(set(sides)) == 1 else sides


def _random_resized_crop(reading: Reading, step: Any) -> Line:
    _check_antialias(reading, step)
    if reading.resize is not None:
        raise misplaced(step, "it resizes once more; leave out the Resize before it")
    reading.check_before(step, resizes=True)
    # timm's "random" is a tuple of two
    interpolation = "random" if isinstance(step.interpolation, tuple | list) else interpolation_of(step)
    crop = RandomResizedCrop(square_or_pair(step.size), pair(step.scale), pair(step.ratio), interpolation)
    reading.set_crop(step, crop)
    return _resampled(reading, step, crop)


def _preset(reading: Reading, step: Any) -> Line:
    """`weights.transforms()` of torchvision's classification models."""
    first = SimpleNamespace(
        size=step.resize_size, max_size=None, interpolation=step.interpolation, antialias=step.antialias
    )
    found = [_resize(reading, first), _center_crop(reading, SimpleNamespace(size=step.crop_size))]
    _to_float(reading, step)
    _normalize(reading, step)
    return together(found, f"{reading.crop}, mean and std")


def _grayscale(reading: Reading, step: Any) -> Line:
    if step.num_output_channels != 1:
        reading.gray = False
        return reading.add_pixels(step)
    if reading.gray:
        return NOTHING
    line = Line(TO_GRAY)
    if reading.tensor or reading.crop or reading.resize or reading.transforms:
        line = reading.add_transform(step, line)
    else:
        reading.gray_first = True
    reading.gray = True
    return line._replace(ours="channels=1")


def _to_rgb(reading: Reading, _step: Any) -> Line:
    reading.gray = False
    return NOTHING


def _to_tensor(reading: Reading, step: Any) -> Line:
    if type(step).__module__ == "timm.data.transforms" and type(step).__name__ == "ToTensor":  # floats from 0 to 255
        reading.tensor = reading.floating = True
        return Line("images from 0 to 255")
    return _to_float(reading, step)


def _to_float(reading: Reading, _step: Any) -> Line:
    if not reading.floating:
        reading.values = Values(ZERO, ONE)
    reading.tensor = reading.floating = True
    return Line("images from 0 to 1")


def _to_uint8_tensor(reading: Reading, _step: Any) -> Line:
    reading.tensor = True
    return NOTHING


def _to_image(reading: Reading, step: Any) -> Line:
    if reading.floating or step.mode is not None:
        raise misplaced(step, "it must get uint8 images, and mode=None")
    reading.tensor = False
    return NOTHING


def _to_dtype(reading: Reading, step: Any) -> Line:
    dtype = for_images(step.dtype)
    if dtype is None or (dtype == torch.uint8 and not reading.floating):
        return NOTHING
    if dtype != torch.float32:
        remedy = "the Loader's dtype= delivers float16 and bfloat16"
        raise ValueError(must_be("dtype", "torch.float32", text_of(step), remedy))
    if getattr(step, "scale", True):
        return _to_float(reading, step)
    reading.tensor = reading.floating = True
    return NOTHING


def _normalize(reading: Reading, step: Any) -> Line:
    if not reading.floating:
        raise misplaced(step, "it needs floats; put ToTensor or ToDtype(torch.float32, scale=True) before it")
    given_mean, given_std = three(step.mean, "mean"), three(step.std, "std")
    mean, std = reading.values
    reading.values = Values(
        three(m + s * given for m, s, given in zip(mean, std, given_mean, strict=True)),
        three(s * given for s, given in zip(std, given_std, strict=True)),
    )
    if reading.gray and not len(set(reading.values.mean)) == len(set(reading.values.std)) == 1:
        raise ValueError(must_be("mean", "one number, and std, for images of one channel", text_of(step)))
    reading.normalized = True
    return Line(f"mean={reading.values.mean}, std={reading.values.std}")


def _nothing(_reading: Reading, _step: Any) -> Line:
    return NOTHING


GEOMETRIES = (
    "CenterCrop",
    "CenterCropOrPad",
    "FiveCrop",
    "ImageClassification",
    "RandomCrop",
    "RandomCropOrPad",
    "RandomResizedCrop",
    "RandomResizedCropAndInterpolation",
    "Resize",
    "TenCrop",
)
STEPS: dict[str, Callable[[Reading, Any], Line]] = {
    "CenterCrop": _center_crop,
    "CenterCropOrPad": _crop_or_pad,
    "ConvertImageDtype": _to_dtype,
    "FiveCrop": read_crops,
    "Grayscale": _grayscale,
    "Identity": _nothing,
    "ImageClassification": _preset,
    "MaybePILToTensor": _to_uint8_tensor,
    "MaybeToTensor": _to_float,
    "Normalize": _normalize,
    "PILToTensor": _to_uint8_tensor,
    "Pad": _pad,
    "RGB": _to_rgb,
    "RandomCrop": _random_crop,
    "RandomCropOrPad": _crop_or_pad,
    "RandomResizedCrop": _random_resized_crop,
    "RandomResizedCropAndInterpolation": _random_resized_crop,
    "RandomZoomOut": _zoom_out,
    "Resize": _resize,
    "ResizeKeepRatio": _keep_ratio,
    "TenCrop": read_crops,
    "ToDtype": _to_dtype,
    "ToImage": _to_uint8_tensor,
    "ToNumpy": _to_uint8_tensor,
    "ToPILImage": _to_image,
    "ToPureTensor": _nothing,
    "ToTensor": _to_tensor,
}
