"""Loaders of pixels in memory: crops that reach 4 pixels beyond the edge, flips, normalization and mixup, no resize."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from bench.feed import ALPHA, Batches, Feed, forever
from bench.machine import cores
from bench.peers.ours import distinct, open_loader
from bench.peers.packs import packed
from bench.peers.torchvision_pillow import mixed_batches
from bench.torchvision_fix import import_torchvision
from dali_mixup import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ArrayDataset,
    ImagePipeline,
    MixUp,
    RandomCrop,
)
from dali_mixup.dataset.dataset import ImageDataset

PADDING = 4


class Pixels(Dataset):
    """Transformed images and labels by number, as torchvision's `CIFAR10` gives them."""

    def __init__(self, images: np.ndarray, labels: Sequence[int], transform: Callable[[Image.Image], torch.Tensor]):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def with_mixup(feed: Feed) -> Batches:
    """Mixed batches and stacked targets of this library's `ArrayDataset`."""
    return _ours(feed, MixUp(alpha=ALPHA), _in_memory(feed))


def without_mixup(feed: Feed) -> Batches:
    """The same batches, unmixed, and labels."""
    return _ours(feed, None, _in_memory(feed))


def from_pack(feed: Feed) -> Batches:
    """The mixed batches, of the same images in a pack of pixels, which is written beforehand."""
    with packed(_in_memory(feed), pixels=True) as dataset:
        yield from _ours(feed, MixUp(alpha=ALPHA), dataset)


def from_files(feed: Feed) -> Batches:
    """The same pipeline on the files themselves, of which each is decoded in each epoch."""
    return _ours(feed, MixUp(alpha=ALPHA))


def torchvision(feed: Feed) -> Batches:
    """The usual recipe for CIFAR: images made of the array one by one, torchvision's transforms, worker processes."""
    transforms = import_torchvision("torchvision.transforms")
    transform = transforms.Compose(
        [
            transforms.RandomCrop(feed.size, padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return mixed_batches(feed, Pixels(read_images(feed), feed.labels, transform))


def read_images(feed: Feed) -> np.ndarray:
    """(N, size, size, 3) uint8, as often as the feed lists a file; files of other sizes are resized."""
    files = list(dict.fromkeys(feed.paths))
    with ThreadPoolExecutor(cores()) as pool:
        images = np.stack(list(pool.map(partial(_read, size=feed.size), files)))
    places = {path: place for place, path in enumerate(files)}
    return images[[places[path] for path in feed.paths]]


def _in_memory(feed: Feed) -> ArrayDataset:
    """Each image once."""
    paths, labels = zip(*distinct(feed), strict=True)
    return ArrayDataset(read_images(replace(feed, paths=paths)), labels)


def _read(path: str, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size)))


def _ours(feed: Feed, mixup: MixUp | None, dataset: ImageDataset | None = None) -> Batches:
    pipeline = ImagePipeline(geometry=RandomCrop(feed.size, padding=PADDING), flip=0.5)
    return forever(open_loader(feed, mixup, dataset=dataset, pipeline=pipeline))
