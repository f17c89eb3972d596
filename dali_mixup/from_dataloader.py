"""`from_dataloader`: what a torch DataLoader does with files of images, done by a `Loader`."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset
from torch.utils.data.distributed import DistributedSampler

from dali_mixup.collate import find_mixup
from dali_mixup.dataset import FileList
from dali_mixup.errors import must_be
from dali_mixup.faults import MAX_PIXELS
from dali_mixup.from_torchvision import from_torchvision
from dali_mixup.header import open_with_pillow
from dali_mixup.loader import Loader
from dali_mixup.random_choice import AnyMixer, RandomChoice

WAY_OUT = "list the files in a FileList and build a Loader, or keep the DataLoader and put MixUp, CutMix or MixUpIterator behind it"
# torchvision's image readers, all of which give RGB as Pillow reads it.
KNOWN_READERS = ("default_loader", "pil_loader", "accimage_loader")


def from_dataloader(
    loader: DataLoader,
    *,
    mixup: AnyMixer | None = None,
    targets: Literal["stacked", "dense"] | None = None,
    strict: bool = False,
    seed: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    num_threads: int | None = None,
    prefetch: int = 2,
    shard: tuple[int, int] | None = None,
    on_bad_sample: Literal["raise", "replace"] = "raise",
    max_bad_fraction: float = 0.01,
    max_pixels: int = MAX_PIXELS,
) -> Loader:
    """A `Loader` in the place of a torch DataLoader over files of images.

    Read from the DataLoader: the files, labels and classes of its dataset (torchvision's ImageFolder or DatasetFolder, a Subset of one, any
    dataset with `samples` and `transform`), the transform (see `from_torchvision`), batch_size, sampler or batch_sampler, drop_last and
    the generator's seed; and a collate_fn that applies torchvision's MixUp, CutMix or a RandomChoice of them. Its workers, pinning and
    time limits have no counterpart.

    A RandomSampler over all samples becomes `shuffle=True`. Any other sampler goes on deciding the order (see `Loader`). As in torch,
    ranks share the data out only by a sampler that does so, or by `shard`.

    Args:
        loader: what to replace. It isn't run; of datasets and readers that torchvision doesn't have, a few samples are read.
        mixup: a MixUp, CutMix or RandomChoice, in the place of any that the collate_fn applies. None keeps that one: one lam per batch, not
            folded, dense targets.
        targets: form of the targets in place of the mixup's own: "stacked" (B, 3) for `MixUpLoss`, or "dense" (B, C) for a loss that takes
            probabilities.
        strict: refuse transforms that are only approximately torchvision's.
        seed: of all random numbers. None takes that of the DataLoader's generator or DistributedSampler, or else draws one from torch's
            default generator, as RandomSampler does: `torch.manual_seed` before makes it repeatable.
        device: see `Loader`, as for all that follow.
        dtype: of the images.
        memory_format: of the images.
        num_threads: DALI's.
        prefetch: batches that are prepared ahead.
        shard: (rank, world size), for a DataLoader whose sampler shares nothing out.
        on_bad_sample: "raise" or "replace".
        max_bad_fraction: where "replace" ends.
        max_pixels: of one image.

    Raises:
        TypeError, ValueError: a part of the DataLoader that can't be taken over; the message names it and the way out.
    """
    if not isinstance(loader, DataLoader):
        raise TypeError(must_be("loader", "a torch.utils.data.DataLoader", loader))
    if targets not in (None, "stacked", "dense"):
        raise ValueError(must_be("targets", '"stacked", "dense" or None', targets))
    own_batches = loader.batch_size is None
    if own_batches and loader.batch_sampler is None:
        raise ValueError("loader.batch_size must be an int, got None; a DataLoader without batches has no counterpart")
    files, transform = _read_dataset(loader.dataset)
    mixup = mixup or find_mixup(loader.collate_fn, count_classes(files))
    sampler = loader.sampler
    own_order = own_batches or not (type(sampler) is SequentialSampler or _is_plain_shuffle(sampler, len(files)))
    return Loader(
        files,
        from_torchvision(transform, strict=strict),
        batch_size=loader.batch_size,
        shuffle=not own_order and type(sampler) is RandomSampler,
        sampler=sampler if own_order and not own_batches else None,
        batch_sampler=loader.batch_sampler if own_batches else None,
        drop_last=loader.drop_last and not own_batches,
        mixup=_with_targets(mixup, targets, files),
        seed=_find_seed(loader) if seed is None else seed,
        device=device,
        dtype=dtype,
        memory_format=memory_format,
        num_threads=num_threads,
        prefetch=prefetch,
        shard=shard or _find_shard(loader),
        on_bad_sample=on_bad_sample,
        max_bad_fraction=max_bad_fraction,
        max_pixels=max_pixels,
    )


def _read_dataset(dataset: Any) -> tuple[FileList, Any]:
    """Files with labels, and the transform."""
    base, numbers = dataset, None
    while isinstance(base, Subset):
        inner = np.asarray(base.indices, np.int64)
        base, numbers = base.dataset, inner if numbers is None else inner[numbers]
    samples, transform = getattr(base, "samples", None), getattr(base, "transform", None)
    if not isinstance(samples, list | tuple) or not samples or not _is_path_and_target(samples[0]):
        raise TypeError(must_be("loader.dataset", "a dataset of image files, with `samples` (path, target)", type(base).__name__, WAY_OUT))
    if not callable(transform):
        rule = "a transform of torchvision's that ends in tensors"
        raise TypeError(must_be(f"loader.dataset.transform of {type(base).__name__}", rule, transform))
    chosen = range(len(samples)) if numbers is None else numbers.tolist()
    target_transform = getattr(base, "target_transform", None)
    targets = [samples[i][1] if target_transform is None else target_transform(samples[i][1]) for i in chosen]
    classes = getattr(base, "classes", None) if target_transform is None else None
    files = FileList([samples[i][0] for i in chosen], targets, classes)
    _check_reader(getattr(base, "loader", None), files)
    _check_items(base, chosen[0], files)
    return files, transform


def count_classes(files: FileList) -> int | None:
    """The width of dense targets; None for labels that are no class indices."""
    if files.classes is not None:
        return len(files.classes)
    return int(files.targets.max()) + 1 if files.targets.dtype == np.int64 else None


def _is_path_and_target(sample: Any) -> bool:
    return isinstance(sample, list | tuple) and len(sample) == 2 and isinstance(sample[0], str | bytes | os.PathLike)


def _check_reader(reader: Callable | None, files: FileList) -> None:
    """A reader of the user's own must give what everyone's reader gives."""
    module = getattr(reader, "__module__", "")
    if reader is None or (module == "torchvision.datasets.folder" and getattr(reader, "__name__", "") in KNOWN_READERS):
        return
    for index in sorted({0, len(files) // 2, len(files) - 1} - set(files.bad_files)):
        path = files.paths[index]
        with open_with_pillow(path) as image:
            expected = np.asarray(image.convert("RGB"))
        found = np.asarray(reader(path))
        if found.shape != expected.shape or not np.array_equal(found, expected):
            rule = f"a reader that gives RGB as Pillow does, unrotated, like torchvision's default_loader ({path} differs)"
            raise ValueError(must_be("loader.dataset.loader", rule, reader, WAY_OUT))


def _check_items(dataset: Any, number: int, files: FileList) -> None:
    """A dataset class of the user's own must give an image and the target of `samples`, nothing else."""
    getter = type(dataset).__getitem__
    if getter.__module__ == "torchvision.datasets.folder" or 0 in files.bad_files:
        return
    with torch.random.fork_rng(devices=()):
        item = dataset[number]
    rule = f"to give (image, target) with the target of `samples`, {files.targets[0].tolist()!r}"
    if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], torch.Tensor):
        raise TypeError(must_be(f"loader.dataset, a {type(dataset).__name__},", rule, item, WAY_OUT))
    if not np.array_equal(np.asarray(item[1]), files.targets[0]):
        raise ValueError(must_be(f"loader.dataset, a {type(dataset).__name__},", rule, item[1], WAY_OUT))


def _is_plain_shuffle(sampler: Any, samples: int) -> bool:
    return type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == samples


def _find_seed(loader: DataLoader) -> int:
    """The DataLoader's own seed, else a sampler's, else one from torch's default generator."""
    generator = loader.generator or getattr(loader.sampler, "generator", None)
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    if isinstance(loader.sampler, DistributedSampler):
        return loader.sampler.seed
    return int(torch.empty((), dtype=torch.int64).random_())


def _find_shard(loader: DataLoader) -> tuple[int, int] | None:
    """The rank of a distributed sampler; a DataLoader without one gives every rank everything."""
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    rank, world = getattr(sampler, "rank", None), getattr(sampler, "num_replicas", None)
    if isinstance(rank, int) and isinstance(world, int):
        return rank, world
    return (0, 1) if type(sampler) in (SequentialSampler, RandomSampler) else None


def _with_targets(mixer: AnyMixer | None, targets: str | None, files: FileList) -> AnyMixer | None:
    """The same mixer with targets of another form."""
    if mixer is None or targets is None:
        return mixer
    if isinstance(mixer, RandomChoice):
        return replace(mixer, mixers=[_with_targets(one, targets, files) for one in mixer.mixers])
    return replace(mixer, targets=targets, num_classes=count_classes(files) if targets == "dense" else None)
