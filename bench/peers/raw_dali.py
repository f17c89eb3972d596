"""What a user of DALI would write without this library.

A pipeline from DALI's ImageNet example, and `v2.MixUp` in torch after it.
"""

# DALI makes its operators and types at import, where pyright does not see them.
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

from typing import Any

import torch

from bench.feed import ALPHA, Batches, Feed, forever
from bench.machine import cores
from bench.torchvision_fix import import_torchvision
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD, GpuDecode


def batches(feed: Feed) -> Batches:
    """Read, decode random crops, resize, flip and normalize in DALI; mixup on the finished batch."""
    v2 = import_torchvision("torchvision.transforms.v2")
    mixup = v2.MixUp(alpha=ALPHA, num_classes=feed.classes)
    for images, labels in plain_batches(feed):
        yield mixup(images, labels)


def plain_batches(feed: Feed, gpu_decode: GpuDecode | None = None) -> Batches:
    """The same without mixup; on a GPU decoded with these settings, None for DALI's own."""
    from nvidia.dali.plugin.pytorch import DALIClassificationIterator, LastBatchPolicy

    pipeline = build_pipeline(feed, gpu_decode)
    loader = DALIClassificationIterator(
        pipeline, reader_name="reader", last_batch_policy=LastBatchPolicy.DROP, auto_reset=True
    )
    for batch in forever(loader):
        images, labels = batch[0]["data"], batch[0]["label"]
        yield images, labels.squeeze(1).long().to(images.device)


def build_pipeline(feed: Feed, gpu_decode: GpuDecode | None = None) -> Any:
    """The pipeline, on the feed's device."""
    from nvidia.dali import fn, pipeline_def, types

    on_gpu = torch.device(feed.device).type == "cuda"

    @pipeline_def(
        batch_size=feed.batch_size,
        num_threads=feed.threads or cores() + 1,
        device_id=torch.cuda.current_device() if on_gpu else None,
        seed=feed.seed,
    )
    def pipeline() -> tuple[Any, Any]:
        files, labels = fn.readers.file(
            files=list(feed.paths), labels=list(feed.labels), random_shuffle=True, name="reader"
        )
        device = "mixed" if on_gpu else "cpu"
        options = gpu_decode.options((0, 0)) if on_gpu and gpu_decode is not None else {}
        images = fn.decoders.image_random_crop(files, device=device, output_type=types.RGB, **options)
        images = fn.resize(images, resize_x=feed.size, resize_y=feed.size, interp_type=types.INTERP_TRIANGULAR)
        images = fn.crop_mirror_normalize(
            images,
            mirror=fn.random.coin_flip(),
            mean=[255 * value for value in IMAGENET_MEAN],
            std=[255 * value for value in IMAGENET_STD],
            dtype=types.FLOAT,
            output_layout="CHW",
        )
        return images, labels

    return pipeline()
