"""`dali_mixup.Loader`."""

from bench.feed import ALPHA, Batches, Feed
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
    loader = Loader(
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
    while True:
        yield from loader
