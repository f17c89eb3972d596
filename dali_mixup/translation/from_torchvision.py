"""`from_torchvision`: transforms of torchvision and timm, read by name, as an `ImagePipeline`.

Neither package is imported.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

from dali_mixup.errors import check_bool
from dali_mixup.parity import Parity
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.transforms.after import After
from dali_mixup.translation.corners import count_crops, without_stacks
from dali_mixup.translation.options import AS_AUGMENT, name_of, text_of, unknown
from dali_mixup.translation.pixel_table import TABLE
from dali_mixup.translation.reading import Reading
from dali_mixup.translation.step_table import GEOMETRIES, STEPS
from dali_mixup.translation.unwrap import gives_several, unwrap

AS_AFTER = (
    "leave it out and hand it over by after=[my_function], which takes and returns the finished float images "
    "(B, 3, H, W) before they are mixed"
)


@overload
def from_torchvision(
    transform: Any, *, strict: bool = False, after: Sequence[After] = (), views: Literal[False] = False
) -> ImagePipeline: ...
@overload
def from_torchvision(
    transform: Any, *, strict: bool = False, after: Sequence[After] = (), views: Literal[True]
) -> list[ImagePipeline]: ...
def from_torchvision(
    transform: Any, *, strict: bool = False, after: Sequence[After] = (), views: bool = False
) -> ImagePipeline | list[ImagePipeline]:
    """Translate a `Compose`, an `nn.Sequential`, the preset of a torchvision model's weights, or a single transform.

    `print` of the result shows what became of each transform and how close that comes, by itself, to torchvision on PIL
    images: "exact", "within one level" (of 255) or "approximate"; `python -m bench.parity` measures it. Behind ToTensor
    or ToImage the class is that of torchvision's own code for tensors, which is often less close. This holds where
    torch resizes: on a GPU, and with an `augment`, DALI resizes, and edges differ by more. Random numbers have
    torchvision's distributions and are drawn from (seed, epoch, position).

    Without `Normalize` images are floats from 0 to 1, or from 0 to 255 where torchvision would deliver them so or as
    uint8.

    Args:
        transform: from `torchvision.transforms`, its `v2`, or `timm.data.create_transform`; also a function or an
            object of your own that only calls one of them, as the presets of torchvision's reference scripts do. It is
            tried on a few images.
        strict: refuse approximate ones.
        after: what torchvision would do behind all that is translated, by functions of the finished batch; see
            `ImagePipeline`. A transform of yours that takes one tensor becomes
            `lambda images: torch.stack([cutout(image) for image in images])`; it comes as close to torchvision as what
            stands before it.
        views: give a list of pipelines, one for each image that FiveCrop or TenCrop makes, as `Loader` takes it; of any
            other transform a list of one. A Lambda that makes tensors of the crops and stacks them is read through: a
            Loader gives a list of batches, of which `torch.stack(images, 1)` makes (B, 5, 3, H, W).

    Raises:
        TypeError: a transform that has no translation.
        ValueError: one that can't be done at its place or with its options; with `strict` one that is approximate.

    >>> import torch
    >>> print(from_torchvision(torch.nn.Sequential(torch.nn.Identity())))
    Identity() -> nothing (exact)
    """
    check_bool("views", views)
    if views:
        return translate_views(transform, strict=strict, after=after)
    return translate(transform, strict=strict, after=after)


def translate_views(
    transform: Any, *, strict: bool, tensors: bool = False, gray: bool = False, after: Sequence[After] = ()
) -> list[ImagePipeline]:
    """The pipelines of all images that a transform makes of each; see `translate`."""
    steps = list(_flatten(transform))
    count = count_crops(steps)
    options: dict[str, Any] = {"strict": strict, "tensors": tensors, "gray": gray, "after": after}
    if count is None:
        return [translate(steps, **options)]
    steps = without_stacks(steps)
    return [translate(steps, view=view, **options) for view in range(count)]


def translate(
    transform: Any,
    *,
    strict: bool,
    tensors: bool = False,
    gray: bool = False,
    after: Sequence[After] = (),
    view: int | None = None,
) -> ImagePipeline:
    """See `from_torchvision`.

    `tensors` says whether the transform gets uint8 tensors in the place of PIL images, `gray` whether images of one
    channel, `view` which of several crops is meant.
    """
    reading = Reading(tensor=tensors, gray=gray, view=view)
    steps = list(_flatten(transform))
    for number, step in enumerate(steps):
        _read(reading, step, steps[number + 1 :])
    approximate = [line for line in reading.lines if line.parity == Parity.APPROXIMATE]
    if strict and approximate:
        named = "".join(f"\n  {line.theirs}: {line.note}" for line in approximate)
        raise ValueError(f"transform must be exact or within one level with strict=True; approximate are:{named}")
    return reading.pipeline(after)


def _read(reading: Reading, step: Any, later: list[Any]) -> None:
    """Translate one transform and write its line."""
    name = name_of(step)
    if name in STEPS:
        line = STEPS[name](reading, step)
    elif name in TABLE:
        line = reading.add_pixels(step)
    else:
        raise unknown(step, _way_out(reading, step, later))
    reading.lines.append(line._replace(theirs=text_of(step)))


def _way_out(reading: Reading, step: Any, later: list[Any]) -> str:
    """What to do about a transform that has no translation, at its place."""
    if gives_several(step):
        return (
            "a Loader makes the views of an image itself: translate what makes one of them, and pass the Loader, or "
            "from_dataloader with transform=, views=2, or the Loader a list of such pipelines, one per view"
        )
    if reading.floating:
        return AS_AFTER
    crop = next((each for each in later if name_of(each) in GEOMETRIES), None)
    if crop is not None:
        return f"leave it out, or put it behind {text_of(crop)}: what comes before would need the whole image"
    if reading.transforms:
        return f"{AS_AUGMENT}; it runs before {reading.transforms[0]}"
    return AS_AUGMENT


def _flatten(transform: Any) -> Iterator[Any]:
    """The transforms one by one, out of nested containers and of functions and objects that only pass images on."""
    if name_of(transform) == "Compose":
        inner = transform.transforms
    elif name_of(transform) in ("Sequential", "ModuleList") or isinstance(transform, list | tuple):
        inner = transform
    elif not name_of(transform) and (chain := unwrap(transform)) is not None:
        inner = [chain]
    else:
        yield transform
        return
    for step in inner:
        yield from _flatten(step)
