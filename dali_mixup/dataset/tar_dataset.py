"""Images in tars, as WebDataset lays them out, read in any order."""

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.ask_each import Share, alone
from dali_mixup.dataset.dataset import Encoded, ReadableDataset, Reading, fingerprint_of
from dali_mixup.dataset.open_files import OpenFiles
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.remote import Remote
from dali_mixup.dataset.remote_files import open_store
from dali_mixup.dataset.remote_samples import Place, RemoteRead, RemoteSamples
from dali_mixup.dataset.remote_tars import RemoteTars
from dali_mixup.dataset.sizes import default_cache_folder, warn_of_unkept
from dali_mixup.dataset.tar_cache import cache_file, remember_verdicts
from dali_mixup.dataset.tar_files import LOCAL_TARS, TarFiles
from dali_mixup.dataset.tar_index import TarIndex, make_index, scan_tars
from dali_mixup.dataset.tar_scan import Layout
from dali_mixup.dataset.tar_urls import are_urls, find_remote_tars, find_tars
from dali_mixup.dataset.targets import check_targets
from dali_mixup.dataset.verdict import why_unreadable
from dali_mixup.errors import BadFileWarning, DatasetError, ReadError, must_be, name_some
from dali_mixup.geometry.geometry import Windows

IMAGE = ("jpg", "jpeg", "png", "webp")


class TarDataset(ReadableDataset):
    """Images in tars, in the layout of WebDataset, read in any order.

    Files side by side whose names are the same up to the first dot are a sample: `n01/cat.jpg` and `n01/cat.cls`. The
    first look reads the headers of each tar, in threads, and keeps in the cache folder where each image lies, its size
    and its class; from then on images are read from their places, so that a shuffle is one of all tars. Source:
    https://github.com/webdataset/webdataset

    Args:
        urls: a path, a pattern such as `train-{000000..000146}.tar` or `train-*.tar`, a folder of tars, or several of
            these; or URLs and patterns of them, such as `s3://bucket/train-{000..146}.tar`. Samples come in the order
            of the tars and, in a tar, in its own.
        image: extensions of images, in lower case; a key must not have two of them.
        target: the extension of a file that holds the class index in decimal digits, or a function from a sample's
            other files to its target: an int, or a float array for multi-label, regression or soft labels. It is
            given a mapping from extension to bytes, with the sample's key as `["__key__"]` and the tar as
            `["__url__"]`, and is called for each sample, in order, whenever the data set is built.
        classes: class names; the class of target i is `classes[i]`. None if there are none.
        cache_dir: where the scans are kept; None for `$DALI_MIXUP_CACHE`, else `~/.cache/dali_mixup`. If it is given,
            samples of tars at URLs are kept there, too, once they were fetched, for all processes of this machine.
        cache_bytes: what these samples may take; the least recently used ones leave. None for no limit.
        cache: keep anything at all.
        remote: of URLs, how they are read.
        progress: show a bar on stderr when the first look takes longer than half a second.

    Attributes:
        tars: `PathList` of the tars.
        names: `PathList` of the images in them, one per sample.

    Raises:
        DatasetError: no tars, or tars that can't be used: truncated, compressed, with a sparse file, a link, a sample
            without a target or two with the same key. Each is named.
        TypeError: targets are neither integers nor floats.
        ImportError: URLs, and fsspec or what it needs for them isn't installed.

    >>> import io, tarfile, tempfile, PIL.Image, dali_mixup as dm
    >>> image = io.BytesIO()
    >>> PIL.Image.new("RGB", (40, 30)).save(image, "PNG")
    >>> folder = tempfile.TemporaryDirectory()
    >>> with tarfile.open(f"{folder.name}/train-000.tar", "w") as tar:
    ...     for name, content in (("cat.png", image.getvalue()), ("cat.cls", b"0")):
    ...         info = tarfile.TarInfo(name)
    ...         info.size = len(content)
    ...         tar.addfile(info, io.BytesIO(content))
    >>> dm.TarDataset(f"{folder.name}/train-{{000..000}}.tar", classes=["cat"])
    TarDataset(1 sample in 1 tar, 1 class)
    >>> folder.cleanup()
    """

    tars: PathList
    names: PathList | None
    leave_out = "leave them out with subset()"

    def __init__(
        self,
        urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        image: str | Iterable[str] = IMAGE,
        target: str | Callable[[Mapping[str, Any]], Any] = "cls",
        classes: Sequence[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        cache: bool = True,
        remote: Remote | None = None,
        progress: bool = True,
    ):
        if not (isinstance(target, str) or callable(target)):
            raise TypeError(must_be("target", 'an extension such as "cls", or a function', target))
        given = [urls] if isinstance(urls, str | os.PathLike) else list(urls)
        self._tar_files: TarFiles = LOCAL_TARS
        if are_urls(given):
            store = open_store(remote, cache_bytes)
            paths = find_remote_tars([str(each) for each in given], store.match)
            self._tar_files = RemoteTars(store, paths)
        else:
            paths = find_tars(given)
        extensions = [image] if isinstance(image, str) else image
        self._layout = Layout(
            image=tuple(each.lower() for each in extensions), target=target.lower() if isinstance(target, str) else None
        )
        self._cache_folder = None
        if cache:
            self._cache_folder = default_cache_folder() if cache_dir is None else Path(cache_dir)
        scans = scan_tars(paths, self._layout, self._cache_folder, progress=progress, tars=self._tar_files)
        if not any(len(scan.images.names) for scan in scans):
            rule = f"tars with at least one image ({' '.join(self._layout.image)})"
            raise DatasetError(must_be("urls", rule, urls, "name other extensions in image="))
        self.tars, self._stamps = PathList(paths), [scan.stamp for scan in scans]
        self._short_names = self.tars.below(self.tars.common_folder())
        self._files, self._remote = OpenFiles(self.tars), None
        if isinstance(self._tar_files, RemoteTars):
            files, folder = map(self._tar_files.file, paths), self._cache_folder if cache_dir is not None else None
            self._remote = RemoteSamples(
                list(files), self._tar_files.store.options, cache_folder=folder, cache_bytes=cache_bytes
            )
            self.ahead: int = self._remote.options.requests
        index = make_index(paths, scans, None if isinstance(target, str) else target, self._tar_files)
        checked = check_targets(index.targets, len(index.names), classes)
        self._describe_index(replace(index, targets=checked), classes)
        passed = [
            f"{path}: {name}" for path, scan in zip(self._short_names, scans, strict=True) for name in scan.passed
        ]
        if passed:
            kinds = f"passed over without an image ({' '.join(self._layout.image)})"
            warnings.warn(f"{len(passed)} keys {kinds}: {name_some(passed, len(passed))}", BadFileWarning, stacklevel=2)

    def name(self, number: int) -> str:
        """Tar and member: `train-0007.tar: n014/x.jpg`."""
        return f"{self._short_names[self._index.tar[number]]}: {self._index.names[number]}"

    def fingerprint(self) -> str:
        """See `ImageDataset`; of the names in the tars, so that a tar of a folder has the one of its files."""
        return fingerprint_of(self._index.names, self.targets)

    def subset(self, numbers: Sequence[int] | np.ndarray) -> "TarDataset":
        """Some of the samples, in this order: to leave bad ones out, or to share them out for validation.

        Args:
            numbers: of the samples.

        Raises:
            DatasetError: none.
        """
        chosen = np.arange(len(self))[np.asarray(numbers)] if len(numbers) else np.zeros(0, np.int64)
        if not len(chosen):
            raise DatasetError(must_be("numbers", "those of at least one sample", numbers))
        kept = copy.copy(self)
        kept._describe_index(self._index.subset(chosen), self.classes)
        return kept

    def read(self, numbers: list[int], windows: Windows | None = None, share: Share = alone) -> list[Encoded | str]:
        """See `ReadableDataset`.

        Raises:
            ReadError: a tar is gone, or isn't the one that was scanned any more; of a URL, a sample can't be fetched.
        """
        if self._remote is not None:
            return self.start(numbers, windows).result()
        return share(lambda run: self._read_some([numbers[i] for i in run]), len(numbers))

    def _read_some(self, numbers: list[int]) -> list[Encoded | str]:
        chosen = np.array(numbers, np.int64)
        tars, starts = self._index.tar[chosen].tolist(), self._index.start[chosen].tolist()
        found: list[Encoded | str] = [""] * len(numbers)
        for tar, places in groupby(np.lexsort((starts, tars)).tolist(), key=tars.__getitem__):
            with self._hold(tar) as fd:
                for at in places:
                    found[at] = self._read(fd, numbers[at], starts[at])
        return found

    def start(self, numbers: list[int], windows: Windows | None = None) -> Reading:  # noqa: ARG002  all of it
        """See `ReadableDataset`."""
        assert self._remote is not None  # noqa: S101  only then `ahead` isn't 0
        chosen = np.array(numbers, np.int64)
        columns = (self._index.tar[chosen], self._index.start[chosen], self.sizes.file_size[chosen])
        places = [Place(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        return RemoteRead(self._remote, places, [self.name(number) for number in numbers], _as_encoded)

    def remember(self, verdicts: np.ndarray) -> None:
        """See `EncodedDataset`: kept with the scans."""
        if self._cache_folder is None:
            return
        new = np.flatnonzero(verdicts != self.sizes.verdict)
        new = new[np.argsort(self._index.tar[new], kind="stable")]
        for numbers in np.split(new, np.flatnonzero(np.diff(self._index.tar[new])) + 1):
            for tar in self._index.tar[numbers[:1]].tolist():
                file = cache_file(self._cache_folder, self.tars[tar], self._layout, self._tar_files)
                try:
                    remember_verdicts(file, self._stamps[tar], self._index.row[numbers], verdicts[numbers])
                except OSError as error:
                    warn_of_unkept(self._cache_folder, error)
                    return

    def _read(self, fd: int, number: int, start: int) -> Encoded | str:
        length = int(self.sizes.file_size[number])
        try:
            data = os.pread(fd, length, start)
        except OSError as error:
            return why_unreadable(error)
        if len(data) < length:
            raise ReadError(f"{self.name(number)}: only {len(data)} of {length} bytes can be read")
        return Encoded(data)

    def _describe_index(self, index: TarIndex, classes: Sequence[str] | None) -> None:
        self._index, self.names = index, index.names
        self._describe(index.targets, classes, index.sizes)

    @contextmanager
    def _hold(self, tar: int) -> Iterator[int]:
        """The file descriptor of a tar that is as it was when it was scanned."""
        try:
            with self._files.hold([tar]) as fds:
                status = os.fstat(fds[tar])
                if (status.st_size, status.st_mtime_ns) == self._stamps[tar]:
                    yield fds[tar]
                    return
        except OSError as error:
            raise ReadError(f"{self.tars[tar]}: {why_unreadable(error)}") from error
        self._files.forget()  # it may be put back
        raise ReadError(f"{self.tars[tar]} changed since it was scanned; build the {type(self).__name__} again")

    def __repr__(self) -> str:
        samples = f"{len(self)} sample{'s' * (len(self) > 1)} in {len(self.tars)} tar{'s' * (len(self.tars) > 1)}"
        classes = "" if self.classes is None else f", {len(self.classes)} class{'es' * (len(self.classes) > 1)}"
        return f"{type(self).__name__}({samples}{classes})"


def _as_encoded(data: list[bytes]) -> list[Encoded | str]:
    return [Encoded(each) for each in data]
