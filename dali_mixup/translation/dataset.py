"""Which files, labels and transform a torch dataset of images is made of.

Read from its attributes, believed only after trying.
"""

import copy
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.pillow import open_with_pillow
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.translation.trying import seeded

WAY_OUT = (
    "list the files in a FileList and build a Loader: dm.Loader(dm.FileList(paths, targets, classes), "
    "dm.from_torchvision(transform), batch_size=64); or keep the DataLoader and put MixUp, CutMix or MixUpIterator "
    "behind it"
)
# torchvision's image readers, all of which give RGB as Pillow reads it.
KNOWN_READERS = ("default_loader", "pil_loader", "accimage_loader")


def read_dataset(dataset: Any) -> tuple[FileList, Any]:
    """Files with labels, and the transform.

    Args:
        dataset: torchvision's ImageFolder or DatasetFolder, a Subset of one, any dataset with `samples` (path, target)
            and `transform`. Of classes and readers that torchvision doesn't have, three samples are read.

    Raises:
        DatasetError: it holds no files.
        TypeError, ValueError: another one, or its items are something else than transform(image) and the target.
    """
    base: Any = dataset
    numbers = None
    while isinstance(base, Subset) and type(base).__getitem__ is Subset.__getitem__:
        inner = np.asarray(base.indices, np.int64)
        base, numbers = base.dataset, inner if numbers is None else inner[numbers]
    kind, samples, transform = type(base).__name__, getattr(base, "samples", None), getattr(base, "transform", None)
    if isinstance(samples, list | tuple) and not samples:
        raise DatasetError(must_be(f"loader.dataset.samples of {kind}", "at least one (path, target)", samples))
    if not isinstance(samples, list | tuple) or not _is_path_and_target(samples[0]):
        rule = "a dataset of image files, with `samples` (path, target)"
        raise TypeError(must_be("loader.dataset", rule, kind, WAY_OUT))
    if not callable(transform):
        rule = "a transform of torchvision's that ends in tensors"
        raise TypeError(must_be(f"loader.dataset.transform of {kind}", rule, transform))
    if hasattr(base, "__len__") and len(base) != len(samples):
        rule = f"that of its `samples` ({len(samples)})"
        remedy = "take a Subset, or shorten `samples`"
        raise ValueError(must_be(f"len(loader.dataset) of a {kind}", rule, len(base), remedy))
    chosen = range(len(samples)) if numbers is None else numbers.tolist()
    target_transform = getattr(base, "target_transform", None)
    targets = [samples[i][1] if target_transform is None else target_transform(samples[i][1]) for i in chosen]
    classes = getattr(base, "classes", None) if target_transform is None else None
    files = FileList([samples[i][0] for i in chosen], targets, classes)
    tried = sorted({0, len(files) // 2, len(files) - 1} - set(files.bad_files))
    _check_reader(getattr(base, "loader", None), files, tried)
    if type(base).__getitem__.__module__ != "torchvision.datasets.folder":
        for place in tried:
            _check_item(base, chosen[place], files.paths[place], files.targets[place])
    return files, transform


def _is_path_and_target(sample: Any) -> bool:
    return isinstance(sample, list | tuple) and len(sample) == 2 and isinstance(sample[0], str | bytes | os.PathLike)


def _read_rgb(path: str) -> np.ndarray:
    with open_with_pillow(path) as image:
        return np.asarray(image.convert("RGB"))


def _check_reader(reader: Callable | None, files: FileList, tried: list[int]) -> None:
    """A reader of the user's own must give what everyone's reader gives."""
    module = getattr(reader, "__module__", "")
    if reader is None or (module == "torchvision.datasets.folder" and getattr(reader, "__name__", "") in KNOWN_READERS):
        return
    for path in (files.paths[place] for place in tried):
        if not np.array_equal(np.asarray(reader(path)), _read_rgb(path)):
            like = "RGB as Pillow does, unrotated, like torchvision's default_loader"
            rule = f"a reader that gives {like} ({path} differs)"
            raise ValueError(must_be("loader.dataset.loader", rule, reader, WAY_OUT))


def _check_item(dataset: Any, number: int, path: str, target: np.ndarray) -> None:
    """A dataset class of the user's own must hand Pillow's RGB image to its transform, and return its result."""
    given, made = [], torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(number % 2**32))

    def transform(image: Any) -> torch.Tensor:
        given.append(image)
        return made

    with seeded(0):
        item = _with_transform(dataset, transform)[number]
    name = f"an item of loader.dataset, a {type(dataset).__name__},"
    if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], torch.Tensor):
        raise TypeError(must_be(name, "(transform(image), target)", item, WAY_OUT))
    if len(given) != 1 or not torch.equal(item[0], made):
        rule = "(transform(image), target), with nothing done before or after the transform"
        raise ValueError(must_be(name, rule, item[0], WAY_OUT))
    if not np.array_equal(np.asarray(given[0]), _read_rgb(path)):
        rule = f"(transform(image), target), with the image as Pillow reads it, in RGB ({path} differs)"
        raise ValueError(must_be(name, rule, given[0], WAY_OUT))
    if not np.array_equal(np.asarray(item[1]), target):
        rule = f"(transform(image), target), with the target of `samples`, {target.tolist()!r}"
        raise ValueError(must_be(name, rule, item[1], WAY_OUT))


def _with_transform(dataset: Any, transform: Callable) -> Any:
    """The same dataset with another transform, also in torchvision's `transforms`, which holds it once more."""
    probe, both = copy.copy(dataset), getattr(dataset, "transforms", None)
    if both is not None and getattr(both, "transform", None) is dataset.transform:
        probe.transforms = copy.copy(both)
        probe.transforms.transform = transform
    probe.transform = transform
    return probe
