"""Tars as they are scanned: files here, or at URLs."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

from dali_mixup.dataset.ask_each import THREADS
from dali_mixup.dataset.source import Source, open_file

CHUNK = 8192  # holds a sample's headers, its class and the head of its image

Stamp = tuple[int, int]  # size in bytes, and modification time in ns or another number that a change changes


class OpenTar(NamedTuple):
    """A tar that can be read.

    Attributes:
        source: its bytes.
        stamp: what it is now.
    """

    source: Source
    stamp: Callable[[], Stamp]


class TarFiles(Protocol):
    """Where tars lie.

    Attributes:
        chunk: bytes that are read at once while headers are looked for.
        threads: that scan, a tar each.
    """

    chunk: int
    threads: int

    def key(self, path: str) -> bytes:
        """By what a tar is known, wherever the process is."""
        ...

    def stamp(self, path: str) -> Stamp:
        """What a tar is now; an OSError for none."""
        ...

    def open(self, path: str) -> AbstractContextManager[OpenTar]:
        """A tar to read; an OSError for none."""
        ...


class LocalTars:
    """Tars in the file system."""

    chunk = CHUNK
    threads = THREADS

    def key(self, path: str) -> bytes:
        """See `TarFiles`."""
        return os.fsencode(os.path.abspath(path))

    def stamp(self, path: str) -> Stamp:
        """See `TarFiles`."""
        return _stamp(os.stat(path))

    @contextmanager
    def open(self, path: str) -> Iterator[OpenTar]:
        """See `TarFiles`."""
        with open_file(path) as (source, _):
            yield OpenTar(source, lambda: _stamp(os.fstat(source.fd)))


LOCAL_TARS = LocalTars()


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns
