"""`from_dataloader`: what a torch DataLoader does with files of images, done by a `Loader`."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.dataset.files import FileList
from dali_mixup.errors import check_choice, must_be
from dali_mixup.loader import Loader
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice
from dali_mixup.options import SharedKeywords, refuse_unknown, spelled_out
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.placement import Shard, Sharing
from dali_mixup.plan.schedule import Scheduled, map_schedule
from dali_mixup.transforms.after import After, check_after
from dali_mixup.translation.collate import find_mixup, holds_mixup, read_mixer
from dali_mixup.translation.dataset import Found, read_dataset
from dali_mixup.translation.from_torchvision import translate
from dali_mixup.translation.prefetcher import read_prefetcher

# Whose classes of DataLoaders give what torch's gives: StatefulDataLoader, and MultiEpochsDataLoader, which keeps its
# workers.
SAME = ("torchdata.", "timm.data.loader")
OF_FILES = "dm.Loader(dm.FileList(paths, labels), dm.from_torchvision(transform), batch_size=64, shuffle=True)"
BUILD = "dm.Loader(dataset, dm.from_torchvision(transform), batch_size=64, shuffle=True)"
Order = Literal["in order", "shuffled", "sampled"]


@spelled_out(SharedKeywords)
def from_dataloader(
    loader: Iterable[Any],
    *,
    mixup: Scheduled[Any] = None,
    files: Sequence[str | os.PathLike[str]] | ImageDataset | None = None,
    targets: Literal["stacked", "dense"] | Sequence[Any] | np.ndarray | torch.Tensor | None = None,
    transform: Any = None,
    after: Sequence[After] = (),
    strict: bool = False,
    seed: int | None = None,
    **options: Unpack[SharedKeywords],
) -> Loader:
    """A `Loader` in the place of a torch DataLoader over images.

    Read from the DataLoader: the images, labels and classes of its dataset, the transform (see `from_torchvision`),
    batch_size, sampler or batch_sampler, drop_last and the generator's seed; and a collate_fn that applies
    torchvision's MixUp or CutMix, those of its reference scripts, or a RandomChoice of them. Its workers, pinning and
    time limits have no counterpart.

    The dataset may be one of torchvision's, of files (ImageFolder, Food101, Imagenette, ...) or arrays (CIFAR10, MNIST,
    ...), a TensorDataset of uint8 images, a Subset or a ConcatDataset of such, a class that gives another dataset's
    images a transform, or any class whose attributes hold the paths or the uint8 images, and the targets, of the
    `(transform(image), target)` that it gives. That is found by looking and believed after trying on 16 items. For all
    others say it by `files`, `targets` and `transform`.

    Of timm's `create_loader` the prefetcher's normalization, random erasing, dtype and device are taken over, and a
    FastCollateMixup with its switch to CutMix; its label smoothing goes into the criterion. timm rounds mixed images to
    levels, erases after mixing, and mixes with the image at the mirrored place of the batch instead of any other.

    A RandomSampler over all samples becomes `shuffle=True`. Any other sampler goes on deciding the order (see
    `Loader`).

    With several ranks a shuffled DataLoader is shared out, whoever started them and whenever the Loader is built; where
    the seed would be one that each of them has drawn, it is 0, as a DistributedSampler's. An unshuffled one gives every
    rank all samples, as torch does (for a validation that each rank does by itself, or rank 0 alone). A sampler of your
    own decides for its rank. One warning says which of these was done; `shard` or a DistributedSampler decide
    otherwise, and are silent.

    Args:
        loader: what to replace, torch's or what `timm.data.create_loader` gives. It isn't run, but some items of its
            dataset are read.
        mixup: dali_mixup's MixUp, CutMix or RandomChoice, or what a training loop applies to its batches (timm's Mixup;
            torchvision's MixUp, CutMix, the RandomMixUp and RandomCutMix of its reference scripts, a RandomChoice of
            them), or a dict from first epochs to these, in the place of the collate_fn, whatever that does. None keeps
            the mixup that it applies. Others' mixups stay as they are: one lam per batch, not folded, dense targets.
        files: N paths, or one of dali_mixup's data sets, of the N samples of `loader.dataset` in its order, which then
            isn't read. Its collate_fn counts only if it refers to torchvision's MixUp or CutMix.
        targets: with paths in `files` their N targets, see `FileList`. Otherwise the form of the targets in place of
            the mixup's own: "stacked" (B, 3) for `MixUpLoss`, or "dense" (B, C) for a loss that takes probabilities.
        transform: what becomes of an image, in the place of the dataset's transform: one for `from_torchvision`, or an
            `ImagePipeline`.
        after: functions of the finished float batch before it is mixed, which take the place of transforms that have no
            translation; see `ImagePipeline`.
        strict: refuse transforms that are only approximately torchvision's.
        seed: of all random numbers. None takes that of the DataLoader's generator or DistributedSampler, or else draws
            one from torch's default generator, as RandomSampler does: `torch.manual_seed` before makes it repeatable.
        **options: device, dtype, memory_format, num_threads, prefetch, shard, on_bad_sample, max_bad_fraction,
            max_pixels, gpu_decode, indices and views of `Loader`.

    Raises:
        TypeError, ValueError: a part of the DataLoader that can't be taken over; the message names it and the way out.
    """
    refuse_unknown(options, "from_dataloader", SharedKeywords)
    prefetcher = read_prefetcher(loader)
    if prefetcher is not None:
        loader = prefetcher.loader
        options.setdefault("device", prefetcher.device)
        options.setdefault("dtype", prefetcher.dtype)
    if not isinstance(loader, DataLoader):
        rule = "a torch.utils.data.DataLoader, or what timm's create_loader gives"
        raise TypeError(must_be("loader", rule, loader, f"build a Loader of its files: {OF_FILES}"))
    _check_kind(loader)
    given = None if targets is None or isinstance(targets, str) else targets
    form = targets if isinstance(targets, str) else None
    check_choice("targets", form, ("stacked", "dense", None))
    own_batches = loader.batch_size is None
    if own_batches and loader.batch_sampler is None:
        raise ValueError("loader.batch_size must be an int, got None; a DataLoader without batches has no counterpart")
    found = _find_images(loader.dataset, files, given, transform)
    dataset, transform = found.images, found.transform
    if isinstance(transform, ImagePipeline):
        pipeline = replace(transform, after=(*transform.after, *check_after(after)))
    else:
        pipeline = _translate(found, strict, after)
    if mixup is None and (files is None or holds_mixup(loader.collate_fn)):
        mixup = find_mixup(loader.collate_fn, count_classes(dataset), smooth=form == "stacked")
    else:
        read = partial(read_mixer, num_classes=count_classes(dataset), smooth=form == "stacked")
        mixup = map_schedule(mixup, read)
    if prefetcher is not None and not isinstance(transform, ImagePipeline):
        pipeline = prefetcher.finish(pipeline, mixed=mixup is not None, strict=strict)
    order = "sampled" if own_batches else _find_order(loader.sampler, len(dataset))
    seed = _find_seed(loader) if seed is None else seed
    if options.get("shard") is None:
        options["shard"] = _shard_of_sampler(loader) or _share(order, drawn=seed is None)
    return Loader(
        dataset,
        pipeline,
        batch_size=loader.batch_size,
        shuffle=order == "shuffled",
        sampler=loader.sampler if order == "sampled" and not own_batches else None,
        batch_sampler=loader.batch_sampler if own_batches else None,
        drop_last=loader.drop_last and not own_batches,
        mixup=map_schedule(mixup, partial(_with_targets, targets=form, dataset=dataset)),
        seed=_draw_seed() if seed is None else seed,
        **options,
    )


def _find_images(source: Any, files: Any, targets: Any, transform: Any) -> Found:
    """The images with their targets, and the transform: as they were given, or found."""
    kind = type(source).__name__
    if isinstance(source, IterableDataset):
        remedy = f"build a Loader over one of dali_mixup's data sets: {BUILD}"
        raise TypeError(must_be("loader.dataset", "a dataset whose samples have numbers", kind, remedy))
    if targets is not None and (files is None or isinstance(files, ImageDataset)):
        rule = '"stacked", "dense" or None unless files= is a list of paths'
        raise ValueError(must_be("targets", rule, targets))
    if files is None:
        return read_dataset(source, transform)
    if isinstance(files, ImageDataset):
        dataset = files
    elif targets is None:
        raise ValueError(must_be("targets", "one per path in files=", targets))
    else:
        dataset = FileList(files, targets)
    if len(dataset) != len(source):
        raise ValueError(must_be("files", f"as many as loader.dataset has samples ({len(source)})", len(dataset)))
    found = getattr(source, "transform", None) if transform is None else transform
    if found is None:
        raise TypeError(must_be("transform", f"given with files=, since {kind} has no `transform`", None))
    return Found(dataset, found)


def _translate(found: Found, strict: bool, after: Sequence[After]) -> ImagePipeline:
    try:
        return translate(found.transform, strict=strict, tensors=found.tensors, gray=found.gray, after=after)
    except (TypeError, ValueError) as error:
        error.add_note("from_dataloader takes another transform, or an ImagePipeline, by transform=")
        raise


def count_classes(dataset: ImageDataset) -> int | None:
    """The width of dense targets; None for labels that are no class indices."""
    if dataset.classes is not None:
        return len(dataset.classes)
    return int(dataset.targets.max()) + 1 if dataset.targets.dtype == np.int64 else None


def _check_kind(loader: DataLoader) -> None:
    """A class of DataLoaders of its own must give what torch's gives, as far as can be seen."""
    kind = type(loader)
    for name in ("__iter__", "__len__", "_get_iterator"):
        own = getattr(kind, name) is not getattr(DataLoader, name)
        if own and not kind.__module__.startswith(SAME):
            rule = f"a DataLoader without an {name} of its own, whose work would be lost"
            remedy = "pass the DataLoader that is inside of it, before accelerator.prepare or another wrapper"
            raise TypeError(must_be("loader", rule, kind.__name__, remedy))


def _find_order(sampler: Any, samples: int) -> Order:
    """What the sampler of a DataLoader makes of the order."""
    if type(sampler) is SequentialSampler and len(sampler) == samples:
        return "in order"
    if type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == samples:
        return "shuffled"
    return "sampled"


def _find_seed(loader: DataLoader) -> int | None:
    """The DataLoader's own seed, else a sampler's."""
    generator = loader.generator or getattr(loader.sampler, "generator", None)
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    return loader.sampler.seed if isinstance(loader.sampler, DistributedSampler) else None


def _draw_seed() -> int:
    return int(torch.empty((), dtype=torch.int64).random_())


def _shard_of_sampler(loader: DataLoader) -> Shard | None:
    """The rank of a distributed sampler."""
    own_batches = loader.batch_size is None
    sampler = getattr(loader.batch_sampler, "sampler", None) if own_batches else loader.sampler
    rank, world = getattr(sampler, "rank", None), getattr(sampler, "num_replicas", None)
    return (rank, world) if isinstance(rank, int) and isinstance(world, int) else None


def _share(order: Order, *, drawn: bool) -> Sharing:
    """What ranks do where nobody has said it; `drawn` is the seed that nobody has chosen."""
    if order == "shuffled":
        seeded = ", in the order of seed 0 (seed= takes another)" if drawn else ""
        return Sharing(
            shard=None,
            seed=0 if drawn else None,
            choice=f"They share out the samples of the shuffled DataLoader{seeded}; shard=(0, 1) gives each rank all",
        )
    if order == "in order":
        choice = "Each gets all samples, since the DataLoader isn't shuffled; a DistributedSampler or"
        return Sharing(shard=(0, 1), seed=None, choice=f"{choice} shard=(rank, world size) shares them out")
    choice = "Each gets all that its own sampler gives; a sampler that knows ranks shares them out, or"
    return Sharing(shard=None, seed=None, choice=f"{choice} shard=(rank, world size) says so")


def _with_targets(mixer: AnyMixer | None, *, targets: str | None, dataset: ImageDataset) -> AnyMixer | None:
    """The same mixer with targets of another form."""
    if mixer is None or targets is None:
        return mixer
    if isinstance(mixer, RandomChoice):
        return replace(mixer, mixers=[_with_targets(one, targets=targets, dataset=dataset) for one in mixer.mixers])
    return replace(mixer, targets=targets, num_classes=count_classes(dataset) if targets == "dense" else None)
