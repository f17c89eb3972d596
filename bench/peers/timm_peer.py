"""timm as its training script feeds a model.

`create_loader` with its prefetcher, and mixup of uint8 images while collating.
"""

import torch

from bench.feed import ALPHA, Batches, Feed, forever
from bench.machine import cores
from bench.peers.deit import Listed
from bench.torchvision_fix import import_torchvision
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD


def batches(feed: Feed) -> Batches:
    """Decode, crop, resize, flip in Pillow and mix in numpy, in worker processes; normalize on the finished batch."""
    import_torchvision()
    from timm.data.dataset import ImageDataset
    from timm.data.loader import create_loader
    from timm.data.mixup import FastCollateMixup

    loader = create_loader(
        ImageDataset("", reader=Listed(feed)),
        input_size=(3, feed.size, feed.size),
        batch_size=feed.batch_size,
        is_training=True,
        use_prefetcher=True,
        no_aug=False,
        hflip=0.5,
        color_jitter=0.0,
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        num_workers=feed.workers or cores(),
        collate_fn=FastCollateMixup(mixup_alpha=ALPHA, label_smoothing=0.0, num_classes=feed.classes, mode="batch"),
        pin_memory=torch.device(feed.device).type == "cuda",
        device=torch.device(feed.device),
        persistent_workers=True,
    )
    yield from forever(loader)
