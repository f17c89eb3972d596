"""The job that every loader under test gets: these files, this batch size, these outputs. And files for it."""

import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dali_mixup.dataset.files import EXTENSIONS, ImageFolder

ALPHA = 0.4
PER_CLASS = 1000  # links

Batches = Generator[tuple[torch.Tensor, torch.Tensor], None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Batches of `size` x `size` float32 images with random crops, flips, normalization and mixup at `ALPHA`.

    Attributes:
        paths: the files; again and again where an epoch must not end during a run.
        labels: one class index per path.
        classes: how many classes there are.
        batch_size: images per batch.
        size: height and width of an image in the batch, in pixels.
        device: where batches must arrive.
        threads: of a loader that works in threads; None leaves it to the loader's own rule.
        workers: of a loader that works in processes; None for one per core.
        seed: of everything random.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    classes: int
    batch_size: int = 64
    size: int = 224
    device: str = "cpu"
    threads: int | None = None
    workers: int | None = None
    seed: int = 0


def find_files(data: str | os.PathLike, limit: int | None = None) -> tuple[list[str], list[int]]:
    """Paths and labels of a folder of class folders, or of a flat folder, whose files get the classes 0 to 999 in turn.

    Args:
        data: the folder.
        limit: take the first so many files.

    Raises:
        DatasetError: class folders that hold no images.
        SystemExit: no images at all.
    """
    root = Path(data)
    if not root.is_dir():
        raise SystemExit(f"{root} is no folder")
    if any(entry.is_dir() for entry in root.iterdir()):
        folder = ImageFolder(root)
        return list(folder.paths)[:limit], folder.targets.tolist()[:limit]
    paths = sorted(str(path) for path in root.iterdir() if path.name.lower().endswith(EXTENSIONS))[:limit]
    if not paths:
        raise SystemExit(f"{root} holds no images ({' '.join(EXTENSIONS)})")
    return paths, [i % 1000 for i in range(len(paths))]


def find_feed(data: str | os.PathLike, limit: int | None = None) -> Feed:
    """The job with the files of a folder, as `find_files` finds them."""
    paths, labels = find_files(data, limit)
    return Feed(paths=tuple(paths), labels=tuple(labels), classes=max(labels) + 1)


def endless(feed: Feed, images: int) -> Feed:
    """The job with its files again and again, until one epoch over them lasts for at least `images` images."""
    times = -(-images // len(feed.paths))
    return replace(feed, paths=feed.paths * times, labels=feed.labels * times)


def forever(loader: Iterable[Any]) -> Generator[Any, None, None]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


@contextmanager
def linked(paths: Sequence[str], count: int, beside: str | os.PathLike) -> Iterator[list[str]]:
    """Hard links to `paths` again and again, `count` in all, `PER_CLASS` in a class folder, for as long as it is open.

    Args:
        paths: files.
        count: how many links.
        beside: a folder on the same file system, in which a temporary one is made.
    """
    with tempfile.TemporaryDirectory(dir=beside, prefix=".linked-") as root:
        links = [f"{root}/class{i // PER_CLASS:04}/{i:07}{Path(paths[i % len(paths)]).suffix}" for i in range(count)]
        for i, link in enumerate(links):
            if i % PER_CLASS == 0:
                os.mkdir(os.path.dirname(link))
            os.link(paths[i % len(paths)], link)
        yield links


def draw_jpegs(folder: str, count: int, sides: tuple[int, int]) -> list[str]:
    """Write JPEGs of smooth random colours, whose heights and widths lie evenly on a log scale; their paths."""
    rng = np.random.default_rng(0)
    shapes = np.exp(rng.uniform(np.log(sides[0]), np.log(sides[1]), (count, 2))).round().astype(int).tolist()
    paths = [os.path.join(folder, f"{i:05}.jpg") for i in range(count)]
    for path, (height, width) in zip(paths, shapes, strict=True):
        colours = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        colours.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths
