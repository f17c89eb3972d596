"""The job that every loader under test gets: these files, this batch size, these outputs."""

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dali_mixup.dataset.files import EXTENSIONS, ImageFolder

ALPHA = 0.4

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Batches of `size` x `size` float32 images with random crops, flips, normalization and mixup at `ALPHA`.

    Attributes:
        paths: the files; listed several times where an epoch must not end during a run.
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


def endless(paths: list[str], labels: list[int], images: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The files again and again, until one epoch over them lasts for at least `images` images."""
    times = -(-images // len(paths))
    return tuple(paths) * times, tuple(labels) * times


def forever(loader: Iterable[Any]) -> Generator[Any, None, None]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader
