"""What is kept of a folder's sizes from run to run, in a file that is checked before it is believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.arrays_file import load_arrays, save_arrays
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.verdict import Verdict

MAGIC = b"dali_mixup sizes 2\n"  # the version counts up with each change of the columns or their meaning
COLUMNS: dict[str, type[np.integer[Any]]] = {
    "height": np.int32,
    "width": np.int32,
    "file_size": np.int64,
    "mtime_ns": np.int64,
    "verdict": np.uint8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What is known of the good files of a folder.

    Attributes:
        names: M paths below the folder.
        columns: (M,) arrays by name, see `COLUMNS`.
    """

    names: PathList
    columns: dict[str, np.ndarray]

    @classmethod
    def empty(cls) -> "Cache":
        """A cache that knows nothing."""
        return cls(names=PathList([]), columns={name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()})

    def find(self, names: PathList) -> np.ndarray:
        """The row of each name, -1 where it isn't known; (N,) int64."""
        return find_names(names, self.names)

    def updated(self, names: PathList, columns: dict[str, np.ndarray]) -> "Cache":
        """What is known of these files, without the bad ones, and beside them what was known of others."""
        good = np.flatnonzero(columns["verdict"] != Verdict.BAD).tolist()
        others = np.flatnonzero(Cache(names=names, columns=columns).find(self.names) < 0).tolist()
        merged = [*(names.encoded(i).tobytes() for i in good), *(self.names.encoded(i).tobytes() for i in others)]
        table = {name: np.concatenate([columns[name][good], self.columns[name][others]]) for name in COLUMNS}
        return Cache(names=PathList(merged), columns=table)


def find_names(names: PathList, known: PathList) -> np.ndarray:
    """Where each name stands among the known ones, -1 where it doesn't; (N,) int64."""
    if np.array_equal(names.ends, known.ends) and np.array_equal(names.blob, known.blob):
        return np.arange(len(names))
    row_of = {known.encoded(i).tobytes(): i for i in range(len(known))}
    return np.array([row_of.get(names.encoded(i).tobytes(), -1) for i in range(len(names))], np.int64)


def load_cache(file: Path) -> Cache:
    """What a cache file holds; an empty cache where there is none or where it can't be trusted. Never raises."""
    return load_arrays(file, MAGIC, _parse) or Cache.empty()


def save_cache(file: Path, cache: Cache) -> None:
    """Write a cache in one atomic step.

    Raises:
        OSError: the folder can't be written.
    """
    save_arrays(file, MAGIC, {"blob": cache.names.blob, "ends": cache.names.ends, **cache.columns})


def _parse(data: Mapping[str, np.ndarray]) -> Cache:
    names = PathList.from_arrays(data["blob"], data["ends"])
    columns = {name: data[name].astype(dtype, casting="safe") for name, dtype in COLUMNS.items()}
    if any(column.shape != (len(names),) for column in columns.values()):
        raise ValueError("columns of different lengths")
    return Cache(names=names, columns=columns)
