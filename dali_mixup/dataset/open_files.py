"""Many files of which a few are open at a time, for reads at any place from several threads."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MOST_OPEN = 64


class OpenFiles:
    """Files that are opened when they are first needed and stay open as long as there is room.

    A copy, also by pickle, opens its own.

    Args:
        paths: of the files.
        most: files to keep open; those in use aren't counted.
    """

    def __init__(self, paths: Sequence[str], most: int = MOST_OPEN):
        self.paths, self.most = paths, most
        self._open: OrderedDict[int, int] = OrderedDict()  # file descriptors, the longest unused first
        self._users: dict[int, int] = {}
        self._lock = threading.Lock()

    def __reduce__(self):
        return type(self), (self.paths, self.most)

    def __del__(self):
        for fd in self._open.values():
            os.close(fd)

    @contextmanager
    def hold(self, numbers: Iterable[int]) -> Iterator[dict[int, int]]:
        """File descriptors by the files' numbers; none of them is closed inside of the `with`.

        Raises:
            OSError: one can't be opened.
        """
        needed = set(numbers)
        with self._lock:
            for number in needed:
                self._users[number] = self._users.get(number, 0) + 1
        try:
            with self._lock:
                for number in needed:
                    if number not in self._open:
                        self._open[number] = os.open(self.paths[number], os.O_RDONLY | os.O_CLOEXEC)
                    self._open.move_to_end(number)
                found = {number: self._open[number] for number in needed}
            yield found
        finally:
            with self._lock:
                for number in needed:
                    self._users[number] -= 1
                idle = [each for each in self._open if not self._users.get(each)]
                for number in idle[: max(0, len(self._open) - self.most)]:
                    os.close(self._open.pop(number))
