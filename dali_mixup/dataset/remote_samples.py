"""Samples that lie in remote files: asked for ahead of need, many at once, and kept on this machine."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dali_mixup.dataset.dataset import Encoded
from dali_mixup.dataset.range_cache import RangeCache
from dali_mixup.dataset.remote import Remote
from dali_mixup.dataset.remote_files import LONGEST_PAUSE, RemoteError, RemoteFile, RemoteFiles
from dali_mixup.errors import ReadError, must_be

SAMPLES = "samples"  # in the cache folder
LOOK_AGAIN = 0.2  # seconds between looks whether a sample is still needed


class Place(NamedTuple):
    """A part of a remote file.

    Attributes:
        file: its number.
        start: the first byte.
        size: number of bytes.
    """

    file: int
    start: int
    size: int


class RemoteSamples:
    """Reads samples of remote files, in threads of its own; any thread may ask.

    A copy, also by pickle, has its own threads and the same cache.

    Args:
        files: as they were when they were indexed.
        options: how they are read.
        cache_folder: where samples are kept; None keeps none.
        cache_bytes: of which they may take so many; None for no limit.
    """

    files: Sequence[RemoteFile]
    options: Remote
    cache: RangeCache | None

    def __init__(
        self, files: Sequence[RemoteFile], options: Remote, *, cache_folder: Path | None, cache_bytes: int | None
    ):
        self.files, self.options = files, options
        self._given = {"cache_folder": cache_folder, "cache_bytes": cache_bytes}
        self.store: RemoteFiles = RemoteFiles(options)
        self.cache = None
        if cache_folder is not None:
            patience = (options.retries + 1) * (options.timeout + LONGEST_PAUSE)
            self.cache = RangeCache(cache_folder / SAMPLES, most_bytes=cache_bytes, patience=patience)
            self._digests = [file.digest() for file in files]
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._unkept: OSError | None = None  # why a sample couldn't be kept
        self._said = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_samples, (self.files, self.options, *self._given.values())

    def start(self, places: Sequence[Place]) -> list[Future[bytes] | None]:
        """Begin to fetch samples; None for those that are kept here."""
        if self.cache is None:
            return [*self.store.start([self._range(place) for place in places])]
        return [
            None if self.cache.has(self._name(place)) else self._threads().submit(self._fetch, self.cache, place)
            for place in places
        ]

    def take(self, place: Place, started: Future[bytes] | None, is_dropped: Callable[[], bool]) -> bytes:
        """A sample that `start` began to fetch.

        Raises:
            OSError: it can't be fetched.
            CancelledError: nobody needs it any more.
        """
        if started is None:
            assert self.cache is not None  # noqa: S101  only then `start` gives None
            data = self.cache.read(self._name(place), place.size)
            if data is not None:
                return data
            started = self._threads().submit(self._fetch, self.cache, place)  # it had to leave
        while not started.done():
            if is_dropped():
                raise CancelledError
            wait([started], LOOK_AGAIN)
        self._say_unkept()
        return started.result()

    def map(self, places: Sequence[Place]) -> list[np.ndarray]:
        """Parts as memory, (size,) uint8 each: mapped from the cache, or held where they can't be kept.

        Raises:
            RemoteError: one can't be fetched; it names the file.
            ValueError: the cache may not hold them all.
        """
        total = sum(place.size for place in places)
        if self.cache is not None and self.cache.most_bytes is not None and total > self.cache.most_bytes:
            raise ValueError(must_be("cache_bytes", f"at least {total} for these pixels", self.cache.most_bytes))
        begun = [self._threads().submit(self._map, place) for place in places]
        try:
            return [future.result() for future in begun]
        finally:
            for future in begun:  # where one failed, nobody needs the others
                future.cancel()
            self._say_unkept()

    def _map(self, place: Place) -> np.ndarray:
        try:
            if self.cache is None:
                return np.frombuffer(self.store.read(*self._range(place)), np.uint8)
            kept = self.cache.map(self._name(place), place.size)
            if kept is None:
                data = self._fetch(self.cache, place)
                kept = self.cache.map(self._name(place), place.size)
                kept = np.frombuffer(data, np.uint8) if kept is None else kept
        except RemoteError as error:
            raise RemoteError(f"{self.files[place.file].url} can't be read: {error}") from error
        return kept

    def _say_unkept(self) -> None:
        """Warn once if the cache can't be written."""
        if self._unkept is not None and not self._said:
            self._said = True
            warnings.warn(
                f"samples can't be kept in {self._given['cache_folder']} ({self._unkept.strerror}), and are fetched "
                "again when they are needed; free some space, or bound them with cache_bytes",
                stacklevel=3,
            )

    def _fetch(self, cache: RangeCache, place: Place) -> bytes:
        data, error = cache.keep(self._name(place), place.size, lambda: self.store.read(*self._range(place)))
        self._unkept = self._unkept or error
        return data

    def _range(self, place: Place) -> tuple[RemoteFile, int, int]:
        return self.files[place.file], place.start, place.start + place.size

    def _name(self, place: Place) -> str:
        return f"{self._digests[place.file]}/{place.start}"

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():  # a fork has none of its parent's threads
            self._pool = ThreadPoolExecutor(self.options.requests, thread_name_prefix="dali_mixup remote")
            self._process = os.getpid()
        return self._pool


def _open_samples(
    files: Sequence[RemoteFile], options: Remote, cache_folder: Path | None, cache_bytes: int | None
) -> RemoteSamples:
    return RemoteSamples(files, options, cache_folder=cache_folder, cache_bytes=cache_bytes)


class RemoteRead:
    """Samples that are on their way.

    Args:
        samples: where they come from.
        places: of each.
        names: what messages call them.
        finish: makes of their bytes what is to be decoded.
    """

    def __init__(
        self,
        samples: RemoteSamples,
        places: Sequence[Place],
        names: Sequence[str],
        finish: Callable[[list[bytes]], list[Encoded | str]],
    ):
        self._samples, self._places, self._names, self._finish = samples, places, names, finish
        self._dropped = False
        self._started = samples.start(places)

    def result(self) -> list[Encoded | str]:
        """What there is to decode, when all have arrived.

        Raises:
            ReadError: one of them can't be fetched.
        """
        found = []
        for name, place, started in zip(self._names, self._places, self._started, strict=True):
            try:
                found.append(self._samples.take(place, started, lambda: self._dropped))
            except (OSError, CancelledError) as error:
                url = self._samples.files[place.file].url
                raise ReadError(f"{name}: {url} can't be read: {str(error) or 'given up'}") from error
        return self._finish(found)

    def drop(self) -> None:
        """Fetch nothing more of it, and let nobody wait for what is on its way."""
        self._dropped = True
        for started in self._started:
            if started is not None:
                started.cancel()
