"""A list of paths in one block of memory: 60 bytes for a path of 52 characters, where a list of str takes 170."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from dali_mixup.errors import must_be


class PathList(Sequence[str]):
    """An immutable sequence of paths, kept as the bytes that the file system knows (also non-UTF-8 ones).

    Args:
        paths: str, bytes or path-like.

    >>> paths = PathList(["a/1.jpg", b"b/2.jpg"])
    >>> len(paths), paths[1], paths[-1:]
    (2, 'b/2.jpg', ['b/2.jpg'])
    """

    blob: np.ndarray
    ends: np.ndarray
    __slots__ = ("blob", "ends")

    def __init__(self, paths: Iterable[str | bytes | os.PathLike[str]]):
        encoded = [os.fsencode(path) for path in paths]
        self.blob = np.frombuffer(b"".join(encoded), np.uint8)
        self.ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    @classmethod
    def from_arrays(cls, blob: np.ndarray, ends: np.ndarray) -> "PathList":
        """The list whose path i is `blob[ends[i]:ends[i + 1]]`.

        A ValueError unless blob is uint8 and ends is int64 and ascending.
        """
        ascending = (
            ends.ndim == 1
            and len(ends) > 0
            and ends[0] == 0
            and ends[-1] == blob.size
            and bool((np.diff(ends) >= 0).all())
        )
        if blob.dtype != np.uint8 or blob.ndim != 1 or ends.dtype != np.int64 or not ascending:
            raise ValueError(must_be("ends", "ascending int64 positions in a uint8 blob", ends))
        paths = cls([])
        paths.blob, paths.ends = blob, ends
        return paths

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return os.fsdecode(self.encoded(index).tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"PathList of {len(self)} paths"

    def encoded(self, index: int) -> np.ndarray:
        """The bytes of one path, uint8 (length,), without a copy."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, got {index}")
        index %= len(self)
        return self.blob[self.ends[index] : self.ends[index + 1]]

    def padded(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of n paths in one array, and how many of each row are its path's.

        Args:
            indices: (n,) int64, from 0 on.

        Returns:
            (n, longest) uint8 with zeros at the ends, (n,) int32.
        """
        starts, lengths = self.ends[indices], self.ends[indices + 1] - self.ends[indices]
        columns = np.arange(lengths.max(initial=0))
        inside = columns < lengths[:, None]
        rows = np.zeros(inside.shape, np.uint8)
        rows[inside] = self.blob[(starts[:, None] + columns)[inside]]
        return rows, lengths.astype(np.int32)

    def common_folder(self) -> bytes:
        """The folder above all files, as far as their paths tell, with a separator at its end.

        Empty if they share none.
        """
        shared = self.encoded(0).tobytes()
        starts, lengths = self.ends[:-1], np.diff(self.ends)
        length = min(int(lengths.min()), len(shared))
        same = (bool((self.blob[starts + at] == shared[at]).all()) for at in range(length))
        length = next((at for at, equal in enumerate(same) if not equal), length)
        return shared[: shared.rfind(os.fsencode(os.sep), 0, length) + 1]

    def below(self, folder: bytes) -> "PathList":
        """The paths without a folder that all of them begin with."""
        kept = np.ones(self.blob.size, bool)
        for at in range(len(folder)):
            kept[self.ends[:-1] + at] = False
        return PathList.from_arrays(self.blob[kept], self.ends - len(folder) * np.arange(len(self.ends)))
