"""Tars at URLs, of which a scan reads the headers.

Where the next header lies only the one before it tells, so a scan that waits for each would take hours. Threads that
begin at places all over the tar, at the first block there that looks like a header, fetch what the scan will ask for
when it comes there. They may be mistaken (a tar in a tar has headers, too): the scan believes none of it, and fetches
itself what they didn't.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

from dali_mixup.dataset.header import look
from dali_mixup.dataset.remote_files import RemoteFile, RemoteFiles
from dali_mixup.dataset.tar_files import CHUNK, OpenTar, Stamp
from dali_mixup.dataset.tar_members import BLOCK, after_header

TARS_AT_ONCE = 4  # each of which takes some KB per sample of memory
SHORTEST_WALK = 4 << 20  # bytes of a tar that are worth a thread
WINDOW = 1 << 17  # bytes in which a header is looked for at a time
MOST_WINDOWS = 32


class RemoteTars:
    """Asks about all tars at once, and reads of them what is looked for.

    Args:
        store: how URLs are read.
        urls: of the tars.
    """

    chunk = 0  # what is read at once is decided here

    def __init__(self, store: RemoteFiles, urls: Sequence[str]):
        self.store = store
        self.threads: int = min(TARS_AT_ONCE, store.options.requests)
        self._walks = store.options.requests // min(self.threads, len(urls))
        with ThreadPoolExecutor(min(store.options.requests, len(urls))) as pool:
            self._asked: dict[str, Future[RemoteFile]] = {url: pool.submit(store.ask, url) for url in urls}

    def file(self, url: str) -> RemoteFile:
        """A tar as it was when this was built; an OSError if it couldn't be asked about."""
        return self._asked[url].result()

    def key(self, path: str) -> bytes:
        """See `TarFiles`."""
        return path.encode(errors="surrogateescape")

    def stamp(self, path: str) -> Stamp:
        """See `TarFiles`."""
        return self.file(path).stamp()

    @contextmanager
    def open(self, path: str) -> Iterator[OpenTar]:
        """See `TarFiles`."""
        source = _WalkedSource(self.store, self.file(path))
        walks = max(1, min(self._walks, source.size // SHORTEST_WALK))
        bounds = [source.size * k // walks // BLOCK * BLOCK for k in range(walks)] + [source.size]
        stopped = threading.Event()
        with ThreadPoolExecutor(walks, thread_name_prefix="dali_mixup walk") as pool:
            for start, stop in pairwise(bounds[1:]):  # the first part the scan walks itself
                pool.submit(source.walk, start, stop, stopped)
            try:
                yield OpenTar(source, lambda: self.store.ask(path).stamp())
            finally:
                stopped.set()


class _WalkedSource:
    """A file at a URL, of which chunks are at hand; they are dropped when the reader has passed them."""

    def __init__(self, store: RemoteFiles, file: RemoteFile):
        self._store, self._file, self.size = store, file, file.size
        self._chunks: dict[int, bytes] = {}
        self._starts: list[int] = []  # of the chunks, in order
        self._lock = threading.Lock()

    def read_at(self, at: int, count: int) -> bytes:
        """See `Source`; what lies well before is dropped."""
        with self._lock:
            passed = self._starts[: max(0, bisect_right(self._starts, at) - 2)]
            del self._starts[: len(passed)]
            for start in passed:
                del self._chunks[start]
        return self.peek(at, count)

    def peek(self, at: int, count: int) -> bytes:
        """Like `read_at`, and drops nothing."""
        count = max(0, min(count, self.size - at))
        with self._lock:
            k = bisect_right(self._starts, at)
            start = self._starts[k - 1] if k else 0
            chunk = self._chunks.get(start, b"")
        if at + count > start + len(chunk):
            start, chunk = at, self._fetch(at, max(count, CHUNK))
            self._keep(start, chunk)
        return chunk[at - start : at - start + count]

    def walk(self, start: int, stop: int, stopped: threading.Event) -> None:
        """Fetch what a scan reads from `start` to `stop`: headers, and of images as much as tells their size."""
        at = self._find_header(start, stop, stopped)
        while at is not None and at < stop and not stopped.is_set():
            begin, at = at + BLOCK, after_header(self.peek(at, BLOCK), at)
            if at is not None and at - begin > CHUNK:
                look(_Member(self, begin, at - begin))

    def _find_header(self, start: int, stop: int, stopped: threading.Event) -> int | None:
        for window in range(start, min(stop, start + MOST_WINDOWS * WINDOW), WINDOW):
            if stopped.is_set():
                return None
            data = self._fetch(window, WINDOW)
            for at in range(0, len(data) - BLOCK + 1, BLOCK):
                if after_header(data[at : at + BLOCK], window + at) is not None:
                    return window + at
        return None

    def _fetch(self, at: int, count: int) -> bytes:
        return self._store.read(self._file, at, min(at + count, self.size))

    def _keep(self, start: int, chunk: bytes) -> None:
        with self._lock:
            if start not in self._chunks:
                self._starts.insert(bisect_right(self._starts, start), start)
            self._chunks[start] = chunk


class _Member:
    """A file in a tar, as far as a walk knows."""

    def __init__(self, source: _WalkedSource, start: int, size: int):
        self._source, self._start, self.size = source, start, size

    def read_at(self, at: int, count: int) -> bytes:
        return self._source.peek(self._start + at, max(0, min(count, self.size - at)))
