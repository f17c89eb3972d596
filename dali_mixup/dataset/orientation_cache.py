"""What is kept of orientations from run to run: a file beside that of the sizes, by the same names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.arrays_file import load_arrays, save_arrays
from dali_mixup.dataset.cache import find_names
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.sizes import Kept, Sizes, warn_of_unkept

MAGIC = b"dali_mixup orientations 1\n"  # the version counts up with each change of the columns or their meaning
UNKNOWN = 0
COLUMNS: dict[str, type[np.integer[Any]]] = {"file_size": np.int64, "mtime_ns": np.int64, "orientation": np.uint8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Orientations of some files.

    Attributes:
        names: M paths below their folder.
        columns: (M,) arrays by name, see `COLUMNS`.
    """

    names: PathList
    columns: dict[str, np.ndarray]


def recall_orientations(kept: Kept, sizes: Sizes) -> np.ndarray:
    """(N,) uint8, what is known of files with the same names, sizes and times; `UNKNOWN` of the others."""
    known = _load(kept)
    rows = find_names(kept.names, known.names)
    found = np.full(len(kept.names), UNKNOWN, np.uint8)
    same = rows >= 0
    for name in ("file_size", "mtime_ns"):
        same[same] = known.columns[name][rows[same]] == getattr(sizes, name)[same]
    found[same] = known.columns["orientation"][rows[same]]
    return found


def keep_orientations(kept: Kept, sizes: Sizes, orientations: np.ndarray) -> None:
    """Keep those of good files, beside what is known of others of their folder.

    Args:
        kept: where, and the names.
        sizes: of the files.
        orientations: (N,) uint8.
    """
    known, good = _load(kept), np.flatnonzero(sizes.height > 0)
    columns = {"file_size": sizes.file_size, "mtime_ns": sizes.mtime_ns, "orientation": orientations}
    others = np.flatnonzero(find_names(known.names, kept.names) < 0)
    chosen = ((kept.names, good), (known.names, others))
    names = [source.encoded(i).tobytes() for source, rows in chosen for i in rows.tolist()]
    merged = {name: np.concatenate([columns[name][good], known.columns[name][others]]) for name in COLUMNS}
    listed = PathList(names)
    try:
        save_arrays(_file(kept), MAGIC, {"blob": listed.blob, "ends": listed.ends, **merged})
    except OSError as error:
        warn_of_unkept(kept.file.parent, error)


def _file(kept: Kept) -> Path:
    return kept.file.with_suffix(".orientations")


def _load(kept: Kept) -> Known:
    nothing = Known(names=PathList([]), columns={name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()})
    return load_arrays(_file(kept), MAGIC, _parse) or nothing


def _parse(data: Mapping[str, np.ndarray]) -> Known:
    names = PathList.from_arrays(data["blob"], data["ends"])
    columns = {name: data[name].astype(dtype, casting="safe") for name, dtype in COLUMNS.items()}
    if any(column.shape != (len(names),) for column in columns.values()):
        raise ValueError("columns of different lengths")
    if len(names) and not 1 <= columns["orientation"].min() <= columns["orientation"].max() <= 8:
        raise ValueError("orientations outside of 1 to 8")
    return Known(names=names, columns=columns)
