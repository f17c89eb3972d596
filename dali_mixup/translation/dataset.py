"""Which files, labels and transform a torch dataset of images is made of.

Read from its attributes, believed only after trying.
"""

import copy
import os
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.pillow import open_with_pillow
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.translation.trying import seeded

WAYS_OUT = (
    "{}: dm.Loader({}, dm.from_torchvision(transform), batch_size=64); or keep the DataLoader and put MixUp, CutMix or "
    "MixUpIterator behind it"
)
WAY_OUT = WAYS_OUT.format("list the files in a FileList and build a Loader", "dm.FileList(paths, targets, classes)")
WAY_OUT_OF_ARRAYS = WAYS_OUT.format(
    "put the images, as uint8 arrays, into an ArrayDataset and build a Loader",
    "dm.ArrayDataset(images, targets, classes)",
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
    while _is_plain_subset(base):
        inner = np.asarray(base.indices, np.int64)
        base, numbers = base.dataset, inner if numbers is None else inner[numbers]
    kind, samples, transform = type(base).__name__, getattr(base, "samples", None), getattr(base, "transform", None)
    if isinstance(samples, Sequence) and not len(samples):
        raise DatasetError(must_be(f"loader.dataset.samples of {kind}", "at least one (path, target)", samples))
    if not isinstance(samples, Sequence) or not _is_path_and_target(samples[0]):
        rule = "a dataset of image files, with `samples` (path, target)"
        raise TypeError(must_be("loader.dataset", rule, kind, WAY_OUT_OF_ARRAYS if _holds_arrays(base) else WAY_OUT))
    if not callable(transform):
        rule = "a transform of torchvision's that ends in tensors"
        raise TypeError(must_be(f"loader.dataset.transform of {kind}", rule, transform))
    if hasattr(base, "__len__") and len(base) != len(samples):
        rule = f"that of its `samples` ({len(samples)})"
        remedy = "take a Subset, or shorten `samples`"
        raise ValueError(must_be(f"len(loader.dataset) of a {kind}", rule, len(base), remedy))
    chosen = range(len(samples)) if numbers is None else numbers.tolist()
    target_transform = getattr(base, "target_transform", None)
    paths, targets = [samples[i][0] for i in chosen], [samples[i][1] for i in chosen]
    if target_transform is not None:
        targets = _transformed(targets, target_transform)
    files = FileList(paths, targets, getattr(base, "classes", None) if target_transform is None else None)
    files.transform, files.root = transform, getattr(base, "root", None)
    tried = sorted({0, len(files) // 2, len(files) - 1} - set(files.bad_files))
    _check_reader(getattr(base, "loader", None), files, tried)
    if type(base).__getitem__.__module__ != "torchvision.datasets.folder" or hasattr(base, "__getitems__"):
        for place in tried:
            _check_item(base, chosen[place], files.paths[place], files.targets[place])
    return files, transform


def _is_plain_subset(dataset: Any) -> bool:
    """Whether its items are those of the dataset inside, with nothing done to them."""
    if not isinstance(dataset, Subset):
        return False
    kind = type(dataset)
    return kind.__getitem__ is Subset.__getitem__ and kind.__getitems__ is Subset.__getitems__


def _holds_arrays(dataset: Any) -> bool:
    """Whether there are images among its attributes, as in a TensorDataset or CIFAR10."""
    values = chain.from_iterable(
        value if isinstance(value, list | tuple) else [value] for value in getattr(dataset, "__dict__", {}).values()
    )
    return any(isinstance(value, np.ndarray | torch.Tensor) and value.ndim >= 2 for value in values)


def _transformed(targets: list[Any], transform: Callable) -> list[Any]:
    """What a target_transform makes of targets, once and for all: a random one is refused."""
    name = "loader.dataset.target_transform"
    rule = "a function of the target alone, since it is called once and not in every epoch"
    made = []
    for seed in range(2):
        with seeded(seed):
            try:
                made.append([transform(target) for target in targets])
            except Exception as error:
                raise ValueError(must_be(name, "a function of the target", error, WAY_OUT)) from error
    first, again = (np.asarray(each) for each in made)
    if first.shape != again.shape or not ((first == again) | ((first != first) & (again != again))).all():
        remedy = "for random targets change those of each batch in the training loop"
        raise ValueError(must_be(name, rule, transform, remedy))
    return made[0]


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
    rule = "a reader that gives RGB as Pillow does, unrotated, like torchvision's default_loader"
    for path in (files.paths[place] for place in tried):
        try:
            found = np.asarray(reader(path))
        except Exception as error:
            raise ValueError(must_be("loader.dataset.loader", f"{rule} ({path} fails)", error, WAY_OUT)) from error
        if not np.array_equal(found, _read_rgb(path)):
            raise ValueError(must_be("loader.dataset.loader", f"{rule} ({path} differs)", reader, WAY_OUT))


def _check_item(dataset: Any, number: int, path: str, target: np.ndarray) -> None:
    """A dataset class of the user's own must hand Pillow's RGB image to its transform, and return its result."""
    given, made = [], torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(number % 2**32))

    def transform(image: Any) -> torch.Tensor:
        given.append(image)
        return made

    name = f"an item of loader.dataset, a {type(dataset).__name__},"
    try:
        with seeded(0):
            probe = _with_transform(dataset, transform)
            item = probe.__getitems__([number])[0] if hasattr(probe, "__getitems__") else probe[number]
    except Exception as error:
        raise ValueError(must_be(name, f"(transform(image), target); item {number} fails", error, WAY_OUT)) from error
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
