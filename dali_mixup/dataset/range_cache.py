"""Pieces of remote files kept on this machine, a file each, for all of its processes.

A piece is written beside its place under a lock and renamed when it is whole, so what lies in the cache is never a part
of a transfer. The lock is on the unfinished file: who finds it locked waits for the other one to be done.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

PART = ".part"
LOOK_AGAIN = 0.01  # seconds between looks at a piece that another one fetches
ROOM_AT_ONCE = 0.1  # of the limit, which is made when it is reached, since looking for the oldest takes long
COUNTER = "used"
MOST_DIGITS = 32


class CacheError(Exception):
    """The cache folder can't be written; the cause is an OSError."""


class RangeCache:
    """Keeps pieces.

    Args:
        folder: where; it is made when it is first needed.
        most_bytes: of all pieces in it; the least recently used ones leave. None for no limit.
        patience: seconds to wait for another process that fetches the same piece.
    """

    folder: Path
    most_bytes: int | None
    patience: float

    def __init__(self, folder: Path, *, most_bytes: int | None, patience: float):
        self.folder, self.most_bytes, self.patience = folder, most_bytes, patience

    def has(self, name: str) -> bool:
        """Whether a piece is kept, as far as nobody drops it now."""
        return os.path.exists(self.folder / name)

    def read(self, name: str, size: int) -> bytes | None:
        """A piece; None if it isn't kept, or isn't what was."""
        path = f"{self.folder}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            data = os.read(fd, size + 1)
            while 0 < len(data) < size and (more := os.read(fd, size + 1 - len(data))):
                data += more
            if self.most_bytes is not None:
                os.utime(fd)
        except OSError:
            return None
        finally:
            os.close(fd)
        return data if len(data) == size else None

    def map(self, name: str, size: int) -> np.ndarray | None:
        """A piece, (size,) uint8, mapped to memory; None if it isn't kept. It may leave the cache meanwhile."""
        path = self.folder / name
        try:
            levels = np.asarray(np.memmap(path, np.uint8, "r"))
            if self.most_bytes is not None:
                os.utime(path)
        except (OSError, ValueError):
            return None
        return levels if len(levels) == size else None

    def keep(self, name: str, size: int, fetch: Callable[[], bytes]) -> tuple[bytes, OSError | None]:
        """A piece that isn't kept: of all processes that ask for it one fetches it, and the others wait.

        Args:
            name: of the piece: a folder and a name in it.
            size: in bytes.
            fetch: gets its bytes; what it raises is raised here, and nothing is kept.

        Returns:
            Its bytes, and why they can't be kept; None if they are.
        """
        path, until = self.folder / name, time.monotonic() + self.patience
        if self.most_bytes is not None and size > self.most_bytes:
            return fetch(), None
        while time.monotonic() < until:
            try:
                fd = self._open_part(path)
            except OSError as error:
                return fetch(), error
            if fd is None:  # another one fetches it, or has just done so
                if (data := self.read(name, size)) is not None:
                    return data, None
                time.sleep(LOOK_AGAIN)
                continue
            try:
                if (data := self.read(name, size)) is not None:
                    os.unlink(f"{path}{PART}")
                    return data, None
                return self._fill(path, fd, size, fetch)
            finally:
                os.close(fd)
        return fetch(), None

    def _open_part(self, path: Path) -> int | None:
        """The unfinished file of a piece, locked; None if another one has it."""
        part = f"{path}{PART}"
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(part).st_ino == os.fstat(fd).st_ino:  # else it was renamed since it was opened
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _fill(self, path: Path, fd: int, size: int, fetch: Callable[[], bytes]) -> tuple[bytes, OSError | None]:
        part, data = f"{path}{PART}", None
        try:
            data = fetch()
            os.ftruncate(fd, 0)  # what a process wrote that died is gone
            with self._room_for(size):
                left = memoryview(data)
                while left:
                    left = left[os.write(fd, left) :]
                os.replace(part, path)
        except BaseException as error:
            os.unlink(part)
            if data is None or not isinstance(error, OSError):
                raise
            return data, error
        return data, None

    @contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        """Make room for a piece, which is counted once it is there.

        Where there is a limit, one piece at a time is written, so that those that aren't whole need no counting.
        """
        if self.most_bytes is None:
            yield
            return
        fd = os.open(self.folder / COUNTER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            text = os.pread(fd, MOST_DIGITS, 0)
            used = int(text) if text.isdigit() else self._drop_to(self.most_bytes)
            if used + size > self.most_bytes:
                used = self._drop_to(self.most_bytes - max(size, int(self.most_bytes * ROOM_AT_ONCE)))
            os.ftruncate(fd, 0)  # whoever comes after a kill counts anew
            yield
            os.pwrite(fd, str(used + size).encode(), 0)
        finally:
            os.close(fd)

    def _drop_to(self, most: int) -> int:
        """Drop the least recently used pieces until the others have at most so many bytes; returns how many."""
        pieces, total = [], 0
        for entry in self._entries():
            if entry.name.endswith(PART):
                self._drop_unfinished(entry.path)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            pieces.append((status.st_mtime_ns, status.st_size, entry.path))
        pieces.sort(reverse=True)
        for k, (_, size, _) in enumerate(pieces):
            if total + size > most:
                for _, _, old in pieces[k:]:
                    Path(old).unlink(missing_ok=True)
                break
            total += size
        return total

    def _drop_unfinished(self, part: str) -> None:
        """Drop what somebody left who died; nothing if somebody works on it."""
        fd = self._open_part(Path(part.removesuffix(PART)))
        if fd is not None:
            os.unlink(part)
            os.close(fd)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for folder in os.scandir(self.folder):
            if folder.is_dir(follow_symlinks=False):
                yield from os.scandir(folder.path)
