"""A pack, of whichever kind: what `dali-mixup pack` wrote."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.dataset import ImageDataset, fingerprint_of
from dali_mixup.dataset.pack_index import load_arrays, read_about
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.remote import Remote, is_url
from dali_mixup.dataset.remote_files import open_store
from dali_mixup.dataset.remote_pack import ask_shards, holds_pixels, load_index
from dali_mixup.dataset.remote_samples import RemoteSamples
from dali_mixup.errors import DatasetError


class PackedDataset(ImageDataset):
    """Images that `dali-mixup pack` has packed.

    The pack of a folder gives the same batches as the folder, bit for bit, unless it was told to shrink; a state that
    was saved with one fits the other. What comes of it is an `EncodedPack`, or a `PixelPack` of what was packed with
    `pixels=True`.

    Args:
        folder: what `dali-mixup pack` wrote, or the URL of a copy, such as `s3://bucket/packed`.
        cache_dir: of a URL, where samples are kept once they were fetched, for all processes of this machine; None
            keeps none, and fetches no more of each than its window needs. Of a pack of pixels all are fetched at once,
            and held in memory without it.
        cache_bytes: what the samples in `cache_dir` may take; the least recently used ones leave. None for no limit.
        remote: of a URL, how it is read.

    Raises:
        DatasetError: no pack, one of another version, one that was changed or damaged since, or nothing at a URL.
        ValueError: `cache_bytes` are fewer than a pack of pixels has.
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
    targets: np.ndarray
    classes: list[str] | None
    leave_out = "leave them out when packing (skip_bad, --skip-bad)"

    def __new__(
        cls,
        folder: str | os.PathLike[str],
        *,
        cache_dir: str | os.PathLike[str] | None = None,  # noqa: ARG004  `__init__`'s
        cache_bytes: int | None = None,
        remote: Remote | None = None,
    ) -> "PackedDataset":
        """A pack of the kind that the folder holds."""
        if cls is not PackedDataset:  # also when it is unpickled
            return super().__new__(cls)
        from dali_mixup.dataset.encoded_pack import EncodedPack
        from dali_mixup.dataset.pixel_pack import PixelPack

        if is_url(folder):
            of_pixels = holds_pixels(open_store(remote, cache_bytes), os.fspath(folder).rstrip("/"))
        else:
            of_pixels = read_about(Path(folder)).get("pixels", False)
        return object.__new__(PixelPack if of_pixels else EncodedPack)

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        remote: Remote | None = None,
    ):
        self._remote: RemoteSamples | None = None
        if is_url(folder):
            self.folder = os.fspath(folder).rstrip("/")
            about, arrays = self._open_url(self.folder, cache_dir, cache_bytes, remote)
        else:
            self.folder = Path(folder)
            about = read_about(self.folder)
            arrays = load_arrays(self.folder, about)
            _check_shards(self.folder, about["shards"])
        self.names = self._names = PathList.from_arrays(arrays["names"], arrays["name_ends"])
        self._shards = [shard["name"] for shard in about["shards"]]
        self._shard_bytes = [shard["bytes"] for shard in about["shards"]]
        self._shard, self._offset = arrays["shard"], arrays["offset"]
        self._orientations = arrays["orientation"]  # which what is packed doesn't hold
        self._complete = "" if about["bad"] else about["settings"]["fingerprint"]
        self.targets, self.classes = arrays["targets"], about["classes"]
        self._take(arrays)

    def __getnewargs__(self) -> tuple[str | Path]:
        return (self.folder,)

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        """Keep what a kind of pack needs of the index."""
        raise NotImplementedError

    def _open_url(
        self, url: str, cache_dir: str | os.PathLike[str] | None, cache_bytes: int | None, remote: Remote | None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The index of a pack at a URL, whose shards are looked at."""
        store = open_store(remote, cache_bytes)
        cache_folder = None if cache_dir is None else Path(cache_dir)
        about, arrays = load_index(store, url, cache_folder)
        shards = ask_shards(store, url, about["shards"])
        self._remote = RemoteSamples(shards, store.options, cache_folder=cache_folder, cache_bytes=cache_bytes)
        self.ahead: int = store.options.requests
        return about, arrays

    def name(self, number: int) -> str:
        """The shard and the name of a sample."""
        return f"{self._shards[self._shard[number]]}: {self._names[number]}"

    def fingerprint(self) -> str:
        """That of what was packed."""
        return self._complete or fingerprint_of(self._names, self.targets)

    def pixels(self, number: int) -> np.ndarray:
        """See `ImageDataset`; each kind of pack has its own way."""
        raise NotImplementedError

    def orientation(self, number: int) -> int:
        """See `ImageDataset`."""
        return int(self._orientations[number])

    def orientations(self) -> np.ndarray:
        """See `ImageDataset`."""
        return self._orientations

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
        check_size(path, size, shard["bytes"])


def check_size(path: Path, size: int, expected: int) -> None:
    """Refuse a shard that isn't as long as it was written."""
    if size != expected:
        raise DatasetError(f"{path} must have {expected} bytes, has {size}; pack it again")
