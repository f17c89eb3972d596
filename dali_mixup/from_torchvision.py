"""`from_torchvision`: transforms of torchvision and timm, read by name, as an `ImagePipeline`. Neither package is imported."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from dali_mixup.crops import CenterCrop, KeepSize, RandomCrop, Resize
from dali_mixup.errors import must_be
from dali_mixup.geometry import RandomResizedCrop, ResizeCenterCrop
from dali_mixup.parity import Line, Parity, Translation
from dali_mixup.pipeline import Geometry, ImagePipeline
from dali_mixup.torchvision_options import (
    as_levels,
    fill_of,
    interpolation_of,
    name_of,
    pair,
    side_or_pair,
    square_or_pair,
    text_of,
    three,
    unknown,
)
from dali_mixup.torchvision_transforms import TABLE, Values, is_pointwise, translate
from dali_mixup.transforms import RandomHorizontalFlip, RandomVerticalFlip, Transform

ONE = (1.0, 1.0, 1.0)
ZERO = (0.0, 0.0, 0.0)
LEVEL = (1 / 255, 1 / 255, 1 / 255)
# Measured by bench.parity, and checked against it by a test.
MIRRORED_NEAREST = (
    "the flip comes after resizing here, where nearest neighbours differ: by 0.07 levels in the mean, 160 at most (224 to 100 pixels)"
)
MIRRORED = "the flip comes after the crop here, which cuts one pixel beside where the margin is odd: by 4.6 levels in the mean, 190 at most"


def from_torchvision(transform: Any, *, strict: bool = False) -> ImagePipeline:
    """Translate a `Compose`, an `nn.Sequential`, the preset of a torchvision model's weights, or a single transform.

    `print` of the result shows what became of each transform and how close that comes, by itself, to torchvision on PIL images: "exact",
    "within one level" (of 255) or "approximate"; `python -m bench.parity` measures it. This holds on the CPU. On a GPU DALI resizes, and
    edges differ by more. Random numbers have torchvision's distributions and are drawn from (seed, epoch, position) of the Loader.

    Without `Normalize` images are floats from 0 to 1, or from 0 to 255 where torchvision would deliver them so or as uint8.

    Args:
        transform: from `torchvision.transforms`, its `v2`, or `timm.data.create_transform`.
        strict: refuse approximate ones.

    Raises:
        TypeError: a transform that has no translation.
        ValueError: one that can't be done at its place or with its options; with `strict` one that is approximate.

    >>> import torch
    >>> print(from_torchvision(torch.nn.Sequential(torch.nn.Identity())))
    Identity() -> nothing (exact)
    """
    reading = _Reading()
    for step in _flatten(transform):
        reading.read(step)
    approximate = [line for line in reading.lines if line.parity == Parity.APPROXIMATE]
    if strict and approximate:
        named = "".join(f"\n  {line.theirs}: {line.note}" for line in approximate)
        raise ValueError(f"transform must be exact or within one level with strict=True; approximate are:{named}")
    return reading.pipeline()


class _Reading:
    """What has been read so far.

    Attributes:
        lines: the table.
        resize: what comes before the crop.
        crop: the geometry that gives images their size.
        flip: probability of a flip before all other transforms.
        mirrored: the text of a flip that came before the crop.
        transforms: of pixels.
        tensor: whether images are tensors.
        floating: whether they are floats.
        normalized: whether `Normalize` has come.
        values: what pixels are worth.
    """

    def __init__(self):
        self.lines: list[Line] = []
        self.resize: Resize | None = None
        self.crop: Geometry | None = None
        self.flip = 0.0
        self.mirrored = ""
        self.transforms: list[Transform] = []
        self.tensor = self.floating = self.normalized = False
        self.values = Values(ZERO, LEVEL)

    def read(self, step: Any) -> None:
        """Translate one transform and write its line."""
        name = name_of(step)
        if name in STEPS:
            ours, parity, note = STEPS[name](self, step)
        elif name in TABLE:
            ours, parity, note = self._pixels(step)
        else:
            raise unknown(step)
        self.lines.append(Line(theirs=text_of(step), ours=ours, parity=parity, note=note))

    def pipeline(self) -> ImagePipeline:
        """All that was read."""
        values = self.values if self.tensor else Values(ZERO, ONE)
        made = ImagePipeline(
            geometry=self.crop or self.resize or KeepSize(),
            flip=self.flip,
            transforms=tuple(self.transforms),
            mean=values.mean,
            std=values.std,
        )
        return replace(made, translation=Translation(lines=tuple(self.lines), parts=made.parts))

    def _pixels(self, step: Any) -> "Found":
        """A transform of pixels, at its place among the others."""
        if self.normalized and name_of(step) not in COMMUTE:
            raise _misplaced(step, "it works on levels; put it before Normalize")
        transform, parity, note = translate(step, self.values)
        if isinstance(transform, RandomHorizontalFlip | RandomVerticalFlip) and self.crop is None:
            self.mirrored = text_of(step)
        if isinstance(transform, RandomHorizontalFlip) and not self.transforms:
            self.flip += transform.p - 2 * self.flip * transform.p
            return f"flip={self.flip:g}", parity, note
        self.transforms.append(transform)
        return repr(transform), parity, note

    def check_before(self, step: Any, *, resizes: bool, black: bool = True) -> None:
        """Raise if what was read changes pixels in a way that can't be put off until after `step`, a resize or a crop."""
        for transform in self.transforms:
            flips = isinstance(transform, RandomHorizontalFlip | RandomVerticalFlip)
            if not flips and (resizes or not black or not is_pointwise(transform)):
                raise _misplaced(step, f"{transform} would work on the whole image; put it behind the crop, where it costs less, too")

    def set_crop(self, step: Any, crop: Geometry) -> None:
        """Make `crop` the geometry."""
        if self.crop is not None:
            raise _misplaced(step, f"the images are cropped already, by {self.crop}; crop once")
        self.crop = crop


Found = tuple[str, Parity, str]


def _flatten(transform: Any) -> Iterator[Any]:
    """The transforms one by one, out of nested containers."""
    if name_of(transform) == "Compose":
        inner = transform.transforms
    elif name_of(transform) in ("Sequential", "ModuleList") or isinstance(transform, list | tuple):
        inner = transform
    else:
        yield transform
        return
    for step in inner:
        yield from _flatten(step)


def _misplaced(step: Any, why: str) -> ValueError:
    return ValueError(must_be("transform", "in an order that one decoding and resizing can follow", text_of(step), why))


def _parity(interpolation: str) -> Parity:
    return Parity.ONE_LEVEL if interpolation in ("bilinear", "random") else Parity.EXACT


def _resize(reading: _Reading, step: Any) -> Found:
    if step.antialias is False and reading.tensor:
        raise ValueError(must_be("antialias", "True, as it always is for PIL images", text_of(step)))
    if reading.crop is not None or reading.resize is not None:
        raise _misplaced(step, "the images are resized or cropped already; resize once, and before the crop")
    reading.check_before(step, resizes=True)
    interpolation = interpolation_of(step)
    reading.resize = Resize(None if step.size is None else side_or_pair(step.size), step.max_size, interpolation)
    if reading.mirrored and interpolation == "nearest":
        return repr(reading.resize), Parity.APPROXIMATE, MIRRORED_NEAREST
    return repr(reading.resize), _parity(interpolation), ""


def _center_crop(reading: _Reading, step: Any) -> Found:
    size, resize = square_or_pair(step.size), reading.resize
    reading.check_before(step, resizes=False)
    sides = size if isinstance(size, tuple) else (size,)
    if resize and isinstance(resize.size, int) and resize.max_size is None and resize.size >= max(sides):
        crop = ResizeCenterCrop(resize.size, size, resize.interpolation)
    else:
        crop = CenterCrop(size, resize, as_levels(reading.values.to_levels(ZERO)))
    reading.set_crop(step, crop)
    if reading.mirrored:
        return repr(crop), Parity.APPROXIMATE, MIRRORED
    return repr(crop), Parity.EXACT, ""


def _random_crop(reading: _Reading, step: Any) -> Found:
    fill = reading.values.to_levels(fill_of(step))
    crop = RandomCrop(
        square_or_pair(step.size),
        _padding(step),
        bool(step.pad_if_needed),
        as_levels(fill),
        step.padding_mode,
        reading.resize,
    )
    left, top, right, bottom = crop.margins
    if reading.mirrored and (left, top) != (right, bottom):
        raise _misplaced(step, f"its padding differs from side to side; put {reading.mirrored} behind it")
    pads = crop.pad_if_needed or any(crop.margins)
    black = crop.border.mode != "constant" or crop.fill == 0 or not pads
    reading.check_before(step, resizes=False, black=black)
    reading.set_crop(step, crop)
    rounded = pads and crop.padding_mode == "constant" and any(level != round(level) for level in fill)
    return repr(crop), Parity.ONE_LEVEL if rounded else Parity.EXACT, ""


def _padding(step: Any) -> Any:
    """Of v1 as it was given, of v2 parsed: left, right, top, bottom."""
    if step.padding is None:
        return 0
    if isinstance(step.padding, int):
        return step.padding
    sides = tuple(int(side) for side in step.padding)
    if ".v2." in type(step).__module__ and len(sides) == 4:
        left, right, top, bottom = sides
        sides = (left, top, right, bottom)
    if len(set(sides)) == 1:
        return sides[0]
    return sides


def _random_resized_crop(reading: _Reading, step: Any) -> Found:
    if getattr(step, "antialias", True) is False and reading.tensor:
        raise ValueError(must_be("antialias", "True, as it always is for PIL images", text_of(step)))
    if reading.resize is not None:
        raise _misplaced(step, "it resizes once more; leave out the Resize before it")
    reading.check_before(step, resizes=True)
    # timm's "random" is a tuple of two
    interpolation = "random" if isinstance(step.interpolation, tuple | list) else interpolation_of(step)
    crop = RandomResizedCrop(square_or_pair(step.size), pair(step.scale), pair(step.ratio), interpolation)
    reading.set_crop(step, crop)
    if reading.mirrored and interpolation == "nearest":
        return repr(crop), Parity.APPROXIMATE, MIRRORED_NEAREST
    return repr(crop), _parity(interpolation), ""


def _preset(reading: _Reading, step: Any) -> Found:
    """`weights.transforms()` of torchvision's classification models."""
    first = SimpleNamespace(size=step.resize_size, max_size=None, interpolation=step.interpolation, antialias=step.antialias)
    _, parity, _ = _resize(reading, first)
    crop, _, _ = _center_crop(reading, SimpleNamespace(size=step.crop_size))
    _to_float(reading, step)
    _normalize(reading, step)
    return f"{crop}, mean and std", parity, ""


def _to_tensor(reading: _Reading, step: Any) -> Found:
    if type(step).__module__ == "timm.data.transforms" and type(step).__name__ == "ToTensor":  # floats from 0 to 255
        reading.tensor = reading.floating = True
        return "images from 0 to 255", Parity.EXACT, ""
    return _to_float(reading, step)


def _to_float(reading: _Reading, _step: Any) -> Found:
    if not reading.floating:
        reading.values = Values(ZERO, ONE)
    reading.tensor = reading.floating = True
    return "images from 0 to 1", Parity.EXACT, ""


def _to_uint8_tensor(reading: _Reading, _step: Any) -> Found:
    reading.tensor = True
    return "nothing", Parity.EXACT, ""


def _to_dtype(reading: _Reading, step: Any) -> Found:
    dtype = step.dtype
    if isinstance(dtype, dict):  # of v2, by type
        named = {getattr(key, "__name__", key): value for key, value in dtype.items()}
        dtype = named.get("Image", named.get("others"))
    if dtype is None or (dtype == torch.uint8 and not reading.floating):
        return "nothing", Parity.EXACT, ""
    if dtype != torch.float32:
        raise ValueError(must_be("dtype", "torch.float32", text_of(step), "the Loader's dtype= delivers float16 and bfloat16"))
    if getattr(step, "scale", True):
        return _to_float(reading, step)
    reading.tensor = reading.floating = True
    return "nothing", Parity.EXACT, ""


def _normalize(reading: _Reading, step: Any) -> Found:
    if not reading.floating:
        raise _misplaced(step, "it needs floats; put ToTensor or ToDtype(torch.float32, scale=True) before it")
    given_mean, given_std = three(step.mean, "mean"), three(step.std, "std")
    mean, std = reading.values
    reading.values = Values(
        three(m + s * given for m, s, given in zip(mean, std, given_mean, strict=True)),
        three(s * given for s, given in zip(std, given_std, strict=True)),
    )
    reading.normalized = True
    return f"mean={reading.values.mean}, std={reading.values.std}", Parity.EXACT, ""


def _nothing(_reading: _Reading, _step: Any) -> Found:
    return "nothing", Parity.EXACT, ""


STEPS: dict[str, Callable[[_Reading, Any], Found]] = {
    "CenterCrop": _center_crop,
    "ConvertImageDtype": _to_dtype,
    "Identity": _nothing,
    "ImageClassification": _preset,
    "MaybePILToTensor": _to_uint8_tensor,
    "MaybeToTensor": _to_float,
    "Normalize": _normalize,
    "PILToTensor": _to_uint8_tensor,
    "RGB": _nothing,
    "RandomCrop": _random_crop,
    "RandomResizedCrop": _random_resized_crop,
    "RandomResizedCropAndInterpolation": _random_resized_crop,
    "Resize": _resize,
    "ToDtype": _to_dtype,
    "ToImage": _to_uint8_tensor,
    "ToNumpy": _to_uint8_tensor,
    "ToPureTensor": _nothing,
    "ToTensor": _to_tensor,
}
COMMUTE = ("RandomErasing", "RandomHorizontalFlip", "RandomVerticalFlip")  # with normalization
