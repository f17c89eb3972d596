"""SPDL: everything in threads of one process; FFmpeg decodes, crops, resizes and flips."""

# pyright: reportMissingImports=false

import random
from collections.abc import Iterator

import torch

from bench.feed import ALPHA, Batches, Feed
from bench.machine import cores
from bench.torchvision_fix import import_torchvision
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD


def batches(feed: Feed) -> Batches:
    """A `PipelineBuilder` with one stage for images, in threads, and one for batches, which normalizes and mixes."""
    import spdl.io
    from spdl.pipeline import PipelineBuilder

    transforms = import_torchvision("torchvision.transforms")
    v2 = import_torchvision("torchvision.transforms.v2")
    mixup = v2.MixUp(alpha=ALPHA, num_classes=feed.classes)
    normalize = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])

    def load(sample: int) -> tuple:
        packets = spdl.io.demux_image(feed.paths[sample])
        image = torch.empty((1, packets.height, packets.width), device="meta")
        top, left, height, width = transforms.RandomResizedCrop.get_params(
            image, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)
        )
        flip = ["hflip"] if random.random() < 0.5 else []
        steps = [
            f"crop={width}:{height}:{left}:{top}:exact=1",
            f"scale={feed.size}:{feed.size}:flags=bilinear",
            *flip,
            "format=rgb24",
        ]
        return spdl.io.decode_packets(packets, filter_desc=",".join(steps)), feed.labels[sample]

    def finish(samples: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
        frames, labels = zip(*samples, strict=True)
        images = spdl.io.to_torch(spdl.io.convert_frames(list(frames)))
        images = normalize(images.to(feed.device).permute(0, 3, 1, 2))
        return mixup(images, torch.tensor(labels, device=feed.device))

    spdl.io.demux_image(
        feed.paths[0]
    )  # loads SPDL's library here: two threads that load it at the same time end the process
    threads = feed.threads or cores() + 1
    pipeline = (
        PipelineBuilder()
        .add_source(_shuffled(feed))
        .pipe(load, concurrency=threads)
        .aggregate(feed.batch_size, drop_last=True)
        .pipe(finish)
        .add_sink(2)
        .build(num_threads=threads + 1)
    )
    with pipeline.auto_stop():
        yield from pipeline


def _shuffled(feed: Feed) -> Iterator[int]:
    generator = torch.Generator().manual_seed(feed.seed)
    while True:
        yield from torch.randperm(len(feed.paths), generator=generator).tolist()
