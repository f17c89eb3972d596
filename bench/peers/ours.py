"""`dali_mixup.Loader`."""

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from bench.feed import ALPHA, Batches, Feed, forever
from bench.machine import wait_until_idle
from bench.measure import Timing, timed
from dali_mixup import FileList, GpuDecode, ImagePipeline, Loader, MixUp, TarDataset
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.pipelines import imagenet

READY = 4  # batches: more than a Loader prepares


def with_mixup(feed: Feed) -> Batches:
    """Mixed batches and stacked targets."""
    return batches(feed, MixUp(alpha=ALPHA))


def without_mixup(feed: Feed) -> Batches:
    """The same batches, unmixed, and labels."""
    return batches(feed, None)


def from_tar(feed: Feed) -> Batches:
    """The same batches, of the same files in a tar, which is written beforehand."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "images.tar")
        write_tar(file, distinct(feed))
        dataset = TarDataset(file, cache_dir=folder, progress=False)
        yield from forever(open_loader(feed, MixUp(alpha=ALPHA), dataset=dataset))


def time_epoch(loader: Loader) -> Timing:
    """Time an epoch, see `time_batches`."""
    return time_batches((len(images) for images, _ in loader), loader.device)


def time_batches(sizes: Iterator[int], device: torch.device | str) -> Timing:
    """Time the batches of an epoch, of which `sizes` tells how many images each has, behind those that were ready.

    What is prepared for the next epoch is done when this returns: it would take time from another loader.

    Raises:
        ValueError: the epoch has no other batches.
    """
    ready = len(list(islice(sizes, READY)))
    timing = timed(lambda: sum(sizes), device)
    if not timing.items:
        raise ValueError(f"an epoch must have more than {READY} batches, has {ready}; take smaller ones")
    wait_until_idle()
    return timing


def write_tar(file: str, samples: Iterable[tuple[str, int]]) -> None:
    """A tar in WebDataset's layout: files under numbers, each with its label."""
    with tarfile.open(file, "w") as tar:
        for number, (path, label) in enumerate(samples):
            tar.add(path, f"{number:08}.jpg")  # whatever it is: the content decides
            label_file = tarfile.TarInfo(f"{number:08}.cls")
            label_file.size = len(str(label))
            tar.addfile(label_file, io.BytesIO(str(label).encode()))


def batches(feed: Feed, mixup: MixUp | None, gpu_decode: GpuDecode | None = None) -> Batches:
    """Epoch after epoch, decoded as `gpu_decode` says where that is on a GPU."""
    return forever(open_loader(feed, mixup, gpu_decode))


def open_loader(
    feed: Feed,
    mixup: MixUp | None,
    gpu_decode: GpuDecode | None = None,
    *,
    dataset: ImageDataset | None = None,
    images: int | None = None,
    pipeline: ImagePipeline | None = None,
) -> Loader:
    """For one epoch at a time, over the feed's files or what holds them.

    An epoch has as many images as the feed lists, or `images`. Where that is more than there are, it is several passes
    over them, each in an order of its own.
    """
    dataset = dataset or list_files(feed)
    images = images or len(feed.paths)
    order = None if images <= len(dataset) else passes(len(dataset), images, feed.seed)
    return Loader(
        dataset,
        pipeline or imagenet.train(size=feed.size),
        batch_size=feed.batch_size,
        shuffle=order is None,
        sampler=order,
        drop_last=True,
        mixup=mixup,
        seed=feed.seed,
        device=feed.device,
        num_threads=feed.threads,
        gpu_decode=gpu_decode or GpuDecode(),
    )


def distinct(feed: Feed) -> list[tuple[str, int]]:
    """Each file once, with its label."""
    return list(dict.fromkeys(zip(feed.paths, feed.labels, strict=True)))


def list_files(feed: Feed) -> FileList:
    """The feed's files, each once."""
    paths, labels = zip(*distinct(feed), strict=True)
    return FileList(paths, labels, cache=False, progress=False)


def passes(samples: int, images: int, seed: int) -> list[int]:
    """Numbers of so many images: all samples in some order, then all in another, and so on."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(samples) for _ in range(-(-images // samples))])[:images].tolist()
