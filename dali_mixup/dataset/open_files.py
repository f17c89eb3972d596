"""Many files of which some are open at a time, for reads at any place from several threads."""

import os
import resource
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

MOST_OPEN = 4096
SHARE = 4  # no more than a quarter of the files that this process may open


class OpenFiles:
    """Files that are opened when they are first needed and stay open as long as there is room.

    A copy, also by pickle, opens its own.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: Sequence[str]):
        self.paths = paths

        def open_one(number: int) -> _OpenFile:
            return _OpenFile(paths[number])

        self._opened = lru_cache(most_open())(open_one)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.paths,)

    @contextmanager
    def hold(self, numbers: Iterable[int]) -> Iterator[dict[int, int]]:
        """File descriptors by the files' numbers; none of them is closed inside of the `with`.

        Raises:
            OSError: one can't be opened.
        """
        held = {number: self._opened(number) for number in numbers}
        yield {number: each.fd for number, each in held.items()}

    def forget(self) -> None:
        """Open all files anew, since something else may be there by now."""
        self._opened.cache_clear()


class _OpenFile:
    """Closed when nobody uses it any more: a thread may still read what others pushed out."""

    def __init__(self, path: str):
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for a writer
        weakref.finalize(self, os.close, self.fd).atexit = False


def most_open() -> int:
    """How many files to keep open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN if limit == resource.RLIM_INFINITY else min(MOST_OPEN, max(1, limit // SHARE))
