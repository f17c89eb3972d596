"""A pack: tar shards of images, of which only the bytes of a window are read and decoded."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.dataset import Encoded, ReadableDataset, Reading, fingerprint_of
from dali_mixup.dataset.open_files import OpenFiles
from dali_mixup.dataset.pack_index import load_arrays, read_about
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.remote import Remote, is_url
from dali_mixup.dataset.remote_files import open_store
from dali_mixup.dataset.remote_pack import ask_shards, load_index
from dali_mixup.dataset.remote_samples import Place, RemoteRead, RemoteSamples
from dali_mixup.dataset.restarts import SegmentTable
from dali_mixup.dataset.sizes import Sizes
from dali_mixup.dataset.verdict import most_bytes, why_unreadable
from dali_mixup.errors import DatasetError
from dali_mixup.geometry.geometry import Windows


class PackedDataset(ReadableDataset):
    """Images that `dali-mixup pack` has packed.

    The pack of a folder gives the same batches as the folder, bit for bit, unless it was told to shrink; a state that
    was saved with one fits the other.

    Args:
        folder: what `dali-mixup pack` wrote, or the URL of a copy, such as `s3://bucket/packed`.
        cache_dir: of a URL, where samples are kept once they were fetched, for all processes of this machine; None
            keeps none, and fetches no more of each than its window needs.
        cache_bytes: what the samples in `cache_dir` may take; the least recently used ones leave. None for no limit.
        remote: of a URL, how it is read.

    Raises:
        DatasetError: no pack, one of another version, or one that was changed or damaged since.
        ImportError: a URL, and fsspec or what it needs for it isn't installed.

    >>> import os, tempfile, PIL.Image, dali_mixup as dm
    >>> folder = tempfile.mkdtemp()
    >>> PIL.Image.new("RGB", (64, 48)).save(os.path.join(folder, "photo.jpg"))
    >>> files = dm.FileList([os.path.join(folder, "photo.jpg")], targets=[0], cache=False)
    >>> dm.pack(files, os.path.join(folder, "packed"), progress=False).samples
    1
    >>> dm.PackedDataset(os.path.join(folder, "packed"))
    PackedDataset(1 sample in 1 shard)
    """

    folder: str | Path
    names: PathList | None
    leave_out = "leave them out when packing (skip_bad, --skip-bad)"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        remote: Remote | None = None,
    ):
        if is_url(folder):
            self.folder = os.fspath(folder).rstrip("/")
            store = open_store(remote, cache_bytes)
            cache_folder = None if cache_dir is None else Path(cache_dir)
            about, arrays = load_index(store, self.folder, cache_folder)
            self._remote = RemoteSamples(
                ask_shards(store, self.folder, about["shards"]),
                store.options,
                cache_folder=cache_folder,
                cache_bytes=cache_bytes,
            )
            self.ahead: int = store.options.requests
        else:
            self.folder, self._remote = Path(folder), None
            about = read_about(self.folder)
            arrays = load_arrays(self.folder, about)
            _check_shards(self.folder, about["shards"])
            self._files = OpenFiles([os.fspath(self.folder / shard["name"]) for shard in about["shards"]])
        self.names = self._names = PathList.from_arrays(arrays["names"], arrays["name_ends"])
        self._shards = [shard["name"] for shard in about["shards"]]
        self._shard, self._offset = arrays["shard"], arrays["offset"]
        columns = {"height": arrays["height"], "width": arrays["width"], "verdict": arrays["verdict"]}
        size = arrays["size"]
        sizes = Sizes(**columns, file_size=size, mtime_ns=np.zeros(len(size), np.int64), reasons={})
        self._segments = SegmentTable(
            heights=sizes.height,
            widths=sizes.width,
            **{name: arrays[name] for name in ("header", "frame", "unit_height", "unit_width", "first", "starts")},
        )
        self._orientations = arrays["orientation"]  # which the packed JPEGs no longer hold
        self._describe(arrays["targets"], about["classes"], sizes)

    def name(self, number: int) -> str:
        """The shard and the name of a sample."""
        return f"{self._shards[self._shard[number]]}: {self._names[number]}"

    def fingerprint(self) -> str:
        """That of what was packed."""
        return fingerprint_of(self._names, self.targets)

    def orientation(self, number: int) -> int:
        """See `EncodedDataset`."""
        return int(self.orientations()[number])

    def read(self, numbers: list[int], windows: Windows | None = None) -> list[Encoded | str]:
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
                for i in np.flatnonzero(~cuttable).tolist():
                    found[i] = self._read_whole(*files[i], numbers[i])
                if windows is not None and cuttable.any():
                    places = np.flatnonzero(cuttable)
                    cuts = self._segments.cut(chosen[places], windows.rows(places.tolist()))
                    for i, cut in zip(places.tolist(), cuts.read([files[i] for i in places]), strict=True):
                        found[i] = cut
        except OSError as error:
            return [why_unreadable(error)] * len(numbers)
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

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        samples, shards = (
            f"{n} {word}{'s' * (n > 1)}" for n, word in ((len(self), "sample"), (len(self._shards), "shard"))
        )
        return f"PackedDataset({samples} in {shards}{classes})"


def _check_shards(folder: Path, shards: list[dict[str, Any]]) -> None:
    for shard in shards:
        path = folder / shard["name"]
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DatasetError(f"{path} can't be read ({error.strerror}); pack it again") from error
        if size != shard["bytes"]:
            raise DatasetError(f"{path} must have {shard['bytes']} bytes, has {size}; pack it again")
