"""`dali_mixup.Loader` on packs of the feed's files, which are packed beforehand."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.feed import ALPHA, Batches, Feed, forever
from bench.peers.ours import distinct, open_loader
from dali_mixup import FileList, MixUp, PackedDataset, Shrink, pack

LONG_SIDE = 400  # pixels, and the quality, as FFCV's users shrink ImageNet
QUALITY = 90


def lossless(feed: Feed) -> Batches:
    """The same batches, of which each file's window alone is read and decoded."""
    with packed(feed) as dataset:
        yield from forever(open_loader(feed, MixUp(alpha=ALPHA), dataset=dataset))


def shrunk(feed: Feed) -> Batches:
    """Batches of images that were shrunk once and for all."""
    with packed(feed, Shrink(max_size=LONG_SIDE, quality=QUALITY)) as dataset:
        yield from forever(open_loader(feed, MixUp(alpha=ALPHA), dataset=dataset))


@contextmanager
def packed(feed: Feed, shrink: Shrink | None = None) -> Iterator[PackedDataset]:
    """A pack of the files, each once, in a temporary folder."""
    paths, labels = zip(*distinct(feed), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pack"
        pack(FileList(paths, labels, cache=False, progress=False), out, shrink=shrink, progress=False)
        yield PackedDataset(out)
