"""torchvision's `FiveCrop` and `TenCrop`: a view for each crop, and what comes behind them."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from dali_mixup.errors import must_be
from dali_mixup.geometry.corner_crop import CORNERS, CornerCrop
from dali_mixup.geometry.keep_ratio import ResizeKeepRatio
from dali_mixup.parity import Line
from dali_mixup.transforms.transforms import RandomVerticalFlip
from dali_mixup.translation.options import name_of, square_or_pair, text_of, unknown
from dali_mixup.translation.pixel_table import TABLE
from dali_mixup.translation.reading import Reading, misplaced
from dali_mixup.translation.trying import find_within

COUNTS = {"FiveCrop": len(CORNERS), "TenCrop": 2 * len(CORNERS)}
SIZE = (9, 11)  # of the images that are tried
STACK = "a Lambda behind it may only stack what one transform makes of each crop"
VIEWS = "from_torchvision(transform, views=True) gives a list of pipelines, one per view"


def count_crops(steps: Sequence[Any]) -> int | None:
    """How many images a chain makes of each; None where it is one and no list."""
    return next((COUNTS[name_of(step)] for step in steps if name_of(step) in COUNTS), None)


def read_crops(reading: Reading, step: Any) -> Line:
    """The crop that belongs to the view which is read."""
    if reading.view is None:
        raise TypeError(must_be("transform", "one that makes one image of each", text_of(step), VIEWS))
    if isinstance(reading.resize, ResizeKeepRatio):
        raise misplaced(step, "behind ResizeKeepRatio stands timm's CenterCropOrPad or RandomCropOrPad")
    reading.check_before(step, resizes=False)
    second, corner = divmod(reading.view, len(CORNERS))
    mirrored = ("vertical" if step.vertical_flip else "horizontal") if second else None
    crop = CornerCrop(square_or_pair(step.size), CORNERS[corner], reading.resize, mirrored)
    reading.set_crop(step, crop)
    if mirrored == "horizontal":
        reading.flip = 1.0
    elif mirrored == "vertical":
        reading.transforms.append(RandomVerticalFlip(1.0))
    return Line(f"{crop}, flipped" if mirrored else crop)


def without_stacks(steps: Sequence[Any]) -> list[Any]:
    """The steps, with what a `Lambda` does to each crop in its place.

    Raises:
        TypeError, ValueError: a Lambda that does something else, or a step with random numbers of its own in each view.
    """
    made, behind, tensors = [], False, False
    for step in steps:
        name = name_of(step)
        if name in TABLE and name != "Grayscale":
            why = "each view would draw random numbers of its own; leave it out where images become several crops"
            raise misplaced(step, why)
        behind = behind or name in COUNTS
        if name == "Lambda" and behind:
            made += _read_stack(step, tensors=tensors)
            tensors = True
        else:
            made.append(step)
            tensors = tensors or name in ("PILToTensor", "ToImage", "ToTensor")
    return made


def _read_stack(step: Any, *, tensors: bool) -> list[Any]:
    """What a Lambda does to each crop before it stacks them."""
    module = sys.modules[type(step).__module__]
    images = [np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8) for seed in range(len(CORNERS))]
    crops: Any = tuple(map(Image.fromarray, images))
    own: list[Any] = []
    if tensors:
        crops = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images])
    else:
        own = [getattr(module, name)() for name in ("ToTensor", "PILToTensor") if hasattr(module, name)]
    try:
        found = step.lambd(crops)
    except Exception as error:
        raise unknown(step, f"{STACK}; it fails with {type(error).__name__}: {error}") from error
    if tensors and _are_equal(found, lambda: crops):
        return []
    for chain in (*own, *find_within(step.lambd, lambda value: bool(name_of(value)))):
        if _are_equal(found, lambda chain=chain: torch.stack([chain(crop) for crop in crops])):
            return [chain]
    raise unknown(step, STACK)


def _are_equal(found: Any, expected: Callable[[], torch.Tensor]) -> bool:
    try:
        made = expected()
    except Exception:  # noqa: BLE001  one of several chains, made for something else
        return False
    return isinstance(found, torch.Tensor) and found.dtype == made.dtype and torch.equal(found, made)
