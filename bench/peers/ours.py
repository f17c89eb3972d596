"""`dali_mixup.Loader`."""

from bench.feed import ALPHA, Batches, Feed, forever
from dali_mixup import FileList, GpuDecode, Loader, MixUp
from dali_mixup.pipelines import imagenet


def with_mixup(feed: Feed) -> Batches:
    """Mixed batches and stacked targets."""
    return batches(feed, MixUp(alpha=ALPHA))


def without_mixup(feed: Feed) -> Batches:
    """The same batches, unmixed, and labels."""
    return batches(feed, None)


def batches(feed: Feed, mixup: MixUp | None, gpu_decode: GpuDecode | None = None) -> Batches:
    """Epoch after epoch, decoded as `gpu_decode` says where that is on a GPU."""
    return forever(open_loader(feed, mixup, gpu_decode))


def open_loader(feed: Feed, mixup: MixUp | None, gpu_decode: GpuDecode | None = None) -> Loader:
    """For one epoch at a time."""
    return Loader(
        FileList(feed.paths, feed.labels, cache=False, progress=False),
        imagenet.train(size=feed.size),
        batch_size=feed.batch_size,
        shuffle=True,
        drop_last=True,
        mixup=mixup,
        seed=feed.seed,
        device=feed.device,
        num_threads=feed.threads,
        gpu_decode=gpu_decode or GpuDecode(),
    )
