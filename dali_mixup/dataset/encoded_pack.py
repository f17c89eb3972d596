"""A pack of encoded images, of which only the bytes of a window are read and decoded."""

import os
from dataclasses import fields

import numpy as np

from dali_mixup.dataset.ask_each import Share, alone
from dali_mixup.dataset.dataset import Encoded, ReadableDataset, Reading
from dali_mixup.dataset.open_files import OpenFiles
from dali_mixup.dataset.packed import PackedDataset
from dali_mixup.dataset.remote_samples import Place, RemoteRead
from dali_mixup.dataset.restarts import SegmentTable
from dali_mixup.dataset.sizes import Sizes
from dali_mixup.dataset.verdict import most_bytes, why_unreadable
from dali_mixup.geometry.geometry import Windows


class EncodedPack(ReadableDataset, PackedDataset):
    """JPEGs with restart markers, and other images as they were. See `PackedDataset`."""

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        if self._remote is None:
            self._files = OpenFiles([os.fspath(self.folder / name) for name in self._shards])
        columns = {"height": arrays["height"], "width": arrays["width"], "verdict": arrays["verdict"]}
        size = arrays["size"]
        sizes = Sizes(**columns, file_size=size, mtime_ns=np.zeros(len(size), np.int64), reasons={})
        own = {each.name for each in fields(SegmentTable)} - {"heights", "widths"}
        self._segments = SegmentTable(heights=sizes.height, widths=sizes.width, **{name: arrays[name] for name in own})
        self._describe(self.targets, self.classes, sizes)

    def orientation(self, number: int) -> int:
        """See `ImageDataset`; the packed JPEGs no longer hold it."""
        return PackedDataset.orientation(self, number)

    def read(self, numbers: list[int], windows: Windows | None = None, share: Share = alone) -> list[Encoded | str]:
        """See `ReadableDataset`.

        Raises:
            ReadError: of a URL, a sample can't be fetched.
        """
        if self._remote is not None:
            return self.start(numbers, windows).result()
        chosen = np.array(numbers, np.int64)
        shards, offsets = self._shard[chosen].tolist(), self._offset[chosen].tolist()
        cuttable = (self._segments.header[chosen] > 0) & (windows is not None)
        found: list[Encoded | str] = [""] * len(numbers)
        try:
            with self._files.hold(shards) as fds:
                files = [(fds[shard], offset) for shard, offset in zip(shards, offsets, strict=True)]
                whole = np.flatnonzero(~cuttable).tolist()
                read = share(
                    lambda run: [self._read_whole(*files[whole[k]], numbers[whole[k]]) for k in run], len(whole)
                )
                for i, data in zip(whole, read, strict=True):
                    found[i] = data
                if windows is not None and cuttable.any():
                    places = np.flatnonzero(cuttable)
                    cuts = self._segments.cut(chosen[places], windows.rows(places.tolist()))
                    read = cuts.read([files[i] for i in places], share)
                    for i, cut in zip(places.tolist(), read, strict=True):
                        found[i] = cut
        except OSError as error:  # a shard can't be opened; others can
            if len(numbers) == 1:
                return [why_unreadable(error)]
            each = [None if windows is None else windows.rows([i]) for i in range(len(numbers))]
            return [self.read([number], window)[0] for number, window in zip(numbers, each, strict=True)]
        return found

    def start(self, numbers: list[int], windows: Windows | None = None) -> Reading:
        """See `ReadableDataset`; without a cache a sample is fetched up to the last row of its window."""
        assert self._remote is not None  # noqa: S101  only then `ahead` isn't 0
        chosen = np.array(numbers, np.int64)
        sizes = np.array([self._length(number) for number in numbers], np.int64)
        places = np.flatnonzero((self._segments.header[chosen] > 0) & (windows is not None))
        cuts = None
        if windows is not None and len(places):
            cuts = self._segments.cut(chosen[places], windows.rows(places.tolist()))
            if self._remote.cache is None:
                sizes[places] = cuts.ends()

        def finish(data: list[bytes]) -> list[Encoded | str]:
            found: list[Encoded | str] = [Encoded(each) for each in data]
            if cuts is not None:
                taken = cuts.take([data[i] for i in places.tolist()])
                for i, cut in zip(places.tolist(), taken, strict=True):
                    found[i] = cut
            return found

        columns = (self._shard[chosen], self._offset[chosen], sizes)
        wanted = [Place(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        return RemoteRead(self._remote, wanted, [self.name(number) for number in numbers], finish)

    def _length(self, number: int) -> int:
        """How much of a sample is read."""
        limit = most_bytes(int(self.heights[number]), int(self.widths[number]))
        return min(int(self.sizes.file_size[number]), limit)

    def _read_whole(self, fd: int, offset: int, number: int) -> Encoded | str:
        length = self._length(number)
        data = os.pread(fd, length, offset)
        return Encoded(data) if len(data) == length else "truncated"
