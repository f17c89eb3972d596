"""`dali_mixup.Loader`."""

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable

import numpy as np

from bench.feed import ALPHA, Batches, Feed, forever
from dali_mixup import FileList, GpuDecode, Loader, MixUp, TarDataset
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.pipelines import imagenet


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
        distinct = list(dict.fromkeys(zip(feed.paths, feed.labels, strict=True)))
        write_tar(file, distinct)
        times = -(-len(feed.paths) // len(distinct))  # as often as the files are listed
        yield from forever(
            open_loader(feed, MixUp(alpha=ALPHA), dataset=TarDataset([file] * times, cache_dir=folder, progress=False))
        )


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
) -> Loader:
    """For one epoch at a time, over the feed's files or what holds them; of so many `images`, with repeats."""
    dataset = dataset or FileList(feed.paths, feed.labels, cache=False, progress=False)
    order = None if images is None else (np.random.default_rng(feed.seed).permutation(images) % len(dataset)).tolist()
    return Loader(
        dataset,
        imagenet.train(size=feed.size),
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
