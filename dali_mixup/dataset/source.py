"""Where the bytes of an encoded image lie: in an open file, in a part of one, or in memory."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Source(Protocol):
    """The bytes of one encoded image, read where they are needed.

    Attributes:
        size: number of bytes.
    """

    @property
    def size(self) -> int: ...  # noqa: D102

    def read_at(self, at: int, count: int) -> bytes:
        """At most `count` bytes from byte `at` on; fewer at the end."""
        ...


class FileSource:
    """An open file, or a part of one.

    Args:
        fd: the file, which stays the caller's.
        size: number of bytes.
        start: the first one.
    """

    fd: int
    size: int
    start: int

    def __init__(self, fd: int, size: int, start: int = 0):
        self.fd, self.size, self.start = fd, size, start

    def read_at(self, at: int, count: int) -> bytes:
        """See `Source`."""
        return os.pread(self.fd, max(0, min(count, self.size - at)), self.start + at)


class BytesSource:
    """Bytes in memory, or in a file that is mapped to it."""

    data: bytes | memoryview
    size: int

    def __init__(self, data: bytes | memoryview):
        self.data, self.size = data, len(data)

    def read_at(self, at: int, count: int) -> bytes:
        """See `Source`."""
        return bytes(self.data[at : at + count])


@contextmanager
def open_file(path: str | bytes) -> Iterator[tuple[FileSource, os.stat_result]]:
    """Open a regular file, without waiting where it is a FIFO, and close it at the end.

    Raises:
        OSError: it can't be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        yield FileSource(fd, status.st_size), status
    finally:
        os.close(fd)
