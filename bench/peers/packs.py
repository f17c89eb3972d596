"""`dali_mixup.Loader` on packs of the feed's files, which are packed beforehand."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.feed import ALPHA, Batches, Feed, forever
from bench.peers.ours import list_files, open_loader
from dali_mixup import MixUp, PackedDataset, Shrink, pack
from dali_mixup.dataset.dataset import ImageDataset

LONG_SIDE = 400  # pixels, and the quality, as FFCV's users shrink ImageNet
QUALITY = 90


def lossless(feed: Feed) -> Batches:
    """The same batches, of which each file's window alone is read and decoded."""
    with packed(list_files(feed)) as dataset:
        yield from forever(open_loader(feed, MixUp(alpha=ALPHA), dataset=dataset))


def shrunk(feed: Feed) -> Batches:
    """Batches of images that were shrunk once and for all."""
    with packed(list_files(feed), shrink=Shrink(max_size=LONG_SIDE, quality=QUALITY)) as dataset:
        yield from forever(open_loader(feed, MixUp(alpha=ALPHA), dataset=dataset))


@contextmanager
def packed(dataset: ImageDataset, *, shrink: Shrink | None = None, pixels: bool = False) -> Iterator[PackedDataset]:
    """A pack in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pack"
        pack(dataset, out, shrink=shrink, pixels=pixels, progress=False)
        yield PackedDataset(out)
