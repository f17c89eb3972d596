"""`dali_mixup.Loader`."""

from bench.feed import ALPHA, Batches, Feed
from dali_mixup import FileList, Loader, MixUp
from pipelines import imagenet


def with_mixup(feed: Feed) -> Batches:
    """Mixed batches and stacked targets."""
    return _batches(feed, MixUp(alpha=ALPHA))


def without_mixup(feed: Feed) -> Batches:
    """The same batches, unmixed, and labels."""
    return _batches(feed, None)


def _batches(feed: Feed, mixup: MixUp | None) -> Batches:
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
    )
    while True:
        yield from loader
