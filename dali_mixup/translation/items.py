"""What an item of a dataset is made of: the image that its transform gets, and the target."""

import copy
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from dali_mixup.dataset.pillow import open_with_pillow
from dali_mixup.errors import must_be
from dali_mixup.translation.options import name_of
from dali_mixup.translation.trying import seeded

WAY_OUT = (
    "say what it holds, and its sampler, batch size and seed are read as ever: from_dataloader(loader, files=paths, "
    "targets=labels, transform=transform), where files may also be one of dali_mixup's data sets; or keep the "
    "DataLoader and put MixUp, CutMix or MixUpIterator behind it"
)


class Item(NamedTuple):
    """An image before any transform, uint8, as its dataset has it: Pillow's, an array or a tensor; and the target."""

    image: Any
    target: Any


def find_transform(dataset: Any) -> str:
    """The attribute that holds a dataset's transform; "" if there is none."""
    if callable(getattr(dataset, "transform", None)):
        return "transform"
    both = getattr(dataset, "transforms", None)  # torchvision's own, of image and target, is no more than its parts
    if callable(both) and not hasattr(both, "target_transform"):
        return "transforms"
    return next((name for name, value in vars(dataset).items() if name_of(value) and name != "target_transform"), "")


def see_item(dataset: Any, number: int) -> Item:
    """The item of a number, before its transform.

    Raises:
        TypeError, ValueError: the dataset does something else than `(transform(image), target)`.
    """
    transform = find_transform(dataset)
    spy = _Spy(number)
    name = f"an item of loader.dataset, a {type(dataset).__name__},"
    rule = "(transform(image), target)" if transform else "(image, target)"
    try:
        probe = _with_transform(dataset, transform, spy) if transform else dataset
        with seeded(0):
            item = probe.__getitems__([number])[0] if hasattr(probe, "__getitems__") else probe[number]
    except Exception as error:
        if spy.named:
            rule = f"{rule}, but its transform is called with {', '.join(spy.named)}=, as albumentations' are"
            raise TypeError(must_be(name, rule, getattr(dataset, transform), WAY_OUT)) from error
        raise ValueError(must_be(name, f"{rule}; item {number} fails", error, WAY_OUT)) from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise TypeError(must_be(name, rule, item, WAY_OUT))
    if not transform:
        return Item(*item)
    if not isinstance(item[0], torch.Tensor):
        raise TypeError(must_be(name, rule, item, WAY_OUT))
    if len(spy.given) != 1 or not torch.equal(item[0], spy.made):
        raise ValueError(must_be(name, f"{rule}, with nothing done before or after the transform", item[0], WAY_OUT))
    return Item(spy.given[0], item[1])


class _Spy:
    """A transform that keeps what it is given, and gives noise."""

    def __init__(self, seed: int):
        self.given: list[Any] = []
        self.named: list[str] = []
        self.made = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed % 2**32))

    def __call__(self, *images: Any, **named: Any) -> torch.Tensor:
        self.given += images
        self.named += named
        return self.made


def _with_transform(dataset: Any, name: str, transform: Callable) -> Any:
    """The same dataset with another transform, also in torchvision's `transforms`, which holds it once more."""
    probe, both = copy.copy(dataset), getattr(dataset, "transforms", None)
    if name == "transform" and both is not None and getattr(both, "transform", None) is dataset.transform:
        probe.transforms = copy.copy(both)
        probe.transforms.transform = transform
    setattr(probe, name, transform)
    return probe


def read_rgb(path: str | bytes | os.PathLike[str]) -> np.ndarray:
    """The pixels of a file as Pillow and torchvision's default_loader read them, uint8 (H, W, 3)."""
    with open_with_pillow(os.fsdecode(path)) as image:
        return np.asarray(image.convert("RGB"))


def same_pixels(given: Any, kept: Any) -> bool:
    """Whether an item's image has the levels of another, whose channels may come first or last."""
    image, levels = as_array(given), as_array(kept)
    if image is None or levels is None:
        return False
    layouts = [levels, np.moveaxis(levels, 0, -1)] if levels.ndim == 3 else [levels]
    image = np.moveaxis(image, 0, -1) if isinstance(given, torch.Tensor) and image.ndim == 3 else image
    return any(np.array_equal(np.squeeze(image), np.squeeze(layout)) for layout in layouts)


def as_array(image: Any) -> np.ndarray | None:
    """The levels of an image of any kind; None for what isn't uint8."""
    array = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    return array if array.dtype == np.uint8 and array.ndim in (2, 3) else None


def is_gray(image: Any) -> bool:
    """Whether an item's image has one channel."""
    array = as_array(image)
    return array is not None and (array.ndim == 2 or array.shape[0 if isinstance(image, torch.Tensor) else -1] == 1)
