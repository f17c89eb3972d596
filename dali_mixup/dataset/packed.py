"""A pack: tar shards of images, of which only the bytes of a window are read and decoded."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.dataset import Encoded, ReadableDataset, fingerprint_of
from dali_mixup.dataset.open_files import OpenFiles
from dali_mixup.dataset.pack_index import load_arrays, read_about
from dali_mixup.dataset.paths import PathList
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
        folder: what `dali-mixup pack` wrote.

    Raises:
        DatasetError: no pack, one of another version, or one that was changed or damaged since.

    >>> import os, tempfile, PIL.Image, dali_mixup as dm
    >>> folder = tempfile.mkdtemp()
    >>> PIL.Image.new("RGB", (64, 48)).save(os.path.join(folder, "photo.jpg"))
    >>> files = dm.FileList([os.path.join(folder, "photo.jpg")], targets=[0], cache=False)
    >>> dm.pack(files, os.path.join(folder, "packed"), progress=False).samples
    1
    >>> dm.PackedDataset(os.path.join(folder, "packed"))
    PackedDataset(1 sample in 1 shard)
    """

    leave_out = "leave them out when packing (skip_bad, --skip-bad)"

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        about = read_about(self.folder)
        arrays = load_arrays(self.folder, about)
        self.names = self._names = PathList.from_arrays(arrays["names"], arrays["name_ends"])
        self._shards = [shard["name"] for shard in about["shards"]]
        _check_shards(self.folder, about["shards"])
        self._files = OpenFiles([os.fspath(self.folder / name) for name in self._shards])
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
        """See `ReadableDataset`."""
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

    def _read_whole(self, fd: int, offset: int, number: int) -> Encoded | str:
        size = int(self.sizes.file_size[number])
        limit = most_bytes(int(self.heights[number]), int(self.widths[number]))
        data = os.pread(fd, min(size, limit), offset)
        return Encoded(data) if len(data) == min(size, limit) else "truncated"

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
