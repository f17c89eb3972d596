"""DeiT's recipe: RandomResizedCrop, bicubic, flips, timm's RandAugment, erasing with noise, mixup or CutMix.

Source: Touvron et al., Training data-efficient image transformers, 2021, arXiv:2012.12877, table 9; timm's
`create_loader` as its training script calls it.
"""

from dataclasses import replace
from typing import Any, BinaryIO

import torch

from bench.feed import Batches, Feed, forever
from bench.machine import cores
from bench.peers.ours import list_files
from bench.timm_fix import import_timm
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD, from_dataloader


def timm(feed: Feed) -> Batches:
    """Timm's own loader: worker processes, its prefetcher, and mixup while collating."""
    yield from forever(create_loader(feed))


def ours(feed: Feed) -> Batches:
    """Timm's loader swapped by `from_dataloader`, over each file once: an epoch of ours ends without a pause."""
    files = list_files(feed)
    loader = create_loader(replace(feed, paths=tuple(files.paths), labels=tuple(files.targets.tolist())))
    made = from_dataloader(
        loader, files=files, targets="stacked", seed=feed.seed, num_threads=feed.threads, device=feed.device
    )
    yield from forever(made)


def create_loader(feed: Feed) -> Any:
    """Timm's loader over the files of a feed."""
    timm = import_timm()
    return timm.create_loader(
        timm.ImageDataset("", reader=Listed(feed)),
        input_size=(3, feed.size, feed.size),
        batch_size=feed.batch_size,
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=0.25,
        re_mode="pixel",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        num_workers=feed.workers or cores(),
        collate_fn=timm.FastCollateMixup(0.8, 1.0, label_smoothing=0.1, num_classes=feed.classes),
        pin_memory=torch.device(feed.device).type == "cuda",
        device=torch.device(feed.device),
    )


class Listed:
    """What timm wants of a reader: open files and labels by number."""

    def __init__(self, feed: Feed):
        self.paths, self.labels = feed.paths, feed.labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        return open(self.paths[index], "rb"), self.labels[index]
