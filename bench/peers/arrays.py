"""Loaders of pixels in memory: crops that reach 4 pixels beyond the edge, flips, normalization and mixup, no resize."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from bench.feed import ALPHA, Batches, Feed, forever
from bench.machine import cores
from bench.peers.torchvision_pillow import mixed_batches
from bench.torchvision_fix import import_torchvision
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD, ArrayDataset, FileList, ImagePipeline, Loader, MixUp, RandomCrop
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
    return _ours(feed, ArrayDataset(read_images(feed), feed.labels), MixUp(alpha=ALPHA))


def without_mixup(feed: Feed) -> Batches:
    """The same batches, unmixed, and labels."""
    return _ours(feed, ArrayDataset(read_images(feed), feed.labels), None)


def from_files(feed: Feed) -> Batches:
    """The same pipeline on the files themselves, of which each is decoded in each epoch."""
    return _ours(feed, FileList(feed.paths, feed.labels, cache=False, progress=False), MixUp(alpha=ALPHA))


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
    distinct = list(dict.fromkeys(feed.paths))
    with ThreadPoolExecutor(cores()) as pool:
        images = np.stack(list(pool.map(partial(_read, size=feed.size), distinct)))
    places = {path: place for place, path in enumerate(distinct)}
    return images[[places[path] for path in feed.paths]]


def _read(path: str, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size)))


def _ours(feed: Feed, dataset: ImageDataset, mixup: MixUp | None) -> Batches:
    pipeline = ImagePipeline(geometry=RandomCrop(feed.size, padding=PADDING), flip=0.5)
    loader = Loader(
        dataset,
        pipeline,
        batch_size=feed.batch_size,
        shuffle=True,
        drop_last=True,
        mixup=mixup,
        seed=feed.seed,
        device=feed.device,
        num_threads=feed.threads,
    )
    return forever(loader)
