"""`from_dataloader`: what a torch DataLoader does with files of images, done by a `Loader`."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from dali_mixup.dataset.files import FileList
from dali_mixup.decode.decoder import DEFAULT_GPU_DECODE
from dali_mixup.decode.faults import MAX_PIXELS
from dali_mixup.decode.gpu_decode import GpuDecode
from dali_mixup.errors import check_choice, must_be
from dali_mixup.loader import Loader
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice
from dali_mixup.translation.collate import find_mixup
from dali_mixup.translation.dataset import read_dataset
from dali_mixup.translation.from_torchvision import from_torchvision


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
    gpu_decode: GpuDecode = DEFAULT_GPU_DECODE,
) -> Loader:
    """A `Loader` in the place of a torch DataLoader over files of images.

    Read from the DataLoader: the files, labels and classes of its dataset (torchvision's ImageFolder or DatasetFolder,
    a Subset of one, any dataset with `samples` and `transform`), the transform (see `from_torchvision`), batch_size,
    sampler or batch_sampler, drop_last and the generator's seed; and a collate_fn that applies torchvision's MixUp,
    CutMix or a RandomChoice of them. Its workers, pinning and time limits have no counterpart.

    A RandomSampler over all samples becomes `shuffle=True`. Any other sampler goes on deciding the order (see
    `Loader`). As in torch, ranks share the data out only by a sampler that does so, or by `shard`.

    Args:
        loader: what to replace. It isn't run; of datasets and readers that torchvision doesn't have, a few samples are
            read.
        mixup: dali_mixup's MixUp, CutMix or RandomChoice, in the place of the collate_fn, whatever that does. None
            keeps the mixup that it applies: one lam per batch, not folded, dense targets.
        targets: form of the targets in place of the mixup's own: "stacked" (B, 3) for `MixUpLoss`, or "dense" (B, C)
            for a loss that takes probabilities.
        strict: refuse transforms that are only approximately torchvision's.
        seed: of all random numbers. None takes that of the DataLoader's generator or DistributedSampler, or else draws
            one from torch's default generator, as RandomSampler does: `torch.manual_seed` before makes it repeatable.
        device: see `Loader`, as for all that follow.
        dtype: of the images.
        memory_format: of the images.
        num_threads: DALI's.
        prefetch: batches that are prepared ahead.
        shard: (rank, world size), for a DataLoader whose sampler shares nothing out.
        on_bad_sample: "raise" or "replace".
        max_bad_fraction: where "replace" ends.
        max_pixels: of one image.
        gpu_decode: how DALI decodes on a GPU.

    Raises:
        TypeError, ValueError: a part of the DataLoader that can't be taken over; the message names it and the way out.
    """
    if not isinstance(loader, DataLoader):
        raise TypeError(must_be("loader", "a torch.utils.data.DataLoader", loader))
    check_choice("targets", targets, ("stacked", "dense", None))
    own_batches = loader.batch_size is None
    if own_batches and loader.batch_sampler is None:
        raise ValueError("loader.batch_size must be an int, got None; a DataLoader without batches has no counterpart")
    files, transform = read_dataset(loader.dataset)
    mixup = mixup or find_mixup(loader.collate_fn, count_classes(files))
    sampler = loader.sampler
    own_order = own_batches or not (_is_in_order(sampler, len(files)) or _is_plain_shuffle(sampler, len(files)))
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
        gpu_decode=gpu_decode,
    )


def count_classes(files: FileList) -> int | None:
    """The width of dense targets; None for labels that are no class indices."""
    if files.classes is not None:
        return len(files.classes)
    return int(files.targets.max()) + 1 if files.targets.dtype == np.int64 else None


def _is_in_order(sampler: Any, samples: int) -> bool:
    return type(sampler) is SequentialSampler and len(sampler) == samples


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
