"""Heights and widths of many files: probed in threads, remembered in the user's cache folder.

The cache is one `.npz` of plain arrays per folder of images (never pickle). It is written to a temporary file and
renamed, so that two processes may build it at once; a damaged or foreign one is probed afresh.
"""

import hashlib
import logging
import os
import tempfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dali_mixup.dataset.header import Header, probe
from dali_mixup.dataset.paths import PathList

FORMAT = 1
PROBE_THREADS = 16  # network folders wait for each open; on a local disk more threads than cores cost nothing
FILES_PER_TASK = 128
COLUMNS = {"height": np.int32, "width": np.int32, "file_size": np.int64, "mtime_ns": np.int64}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is known of each file, one row per path.

    Attributes:
        height: (N,) int32, pixels; 0 for a file that can't be an image.
        width: (N,) int32, pixels.
        file_size: (N,) int64, bytes; -1 for a missing file.
        mtime_ns: (N,) int64, modification time in ns.
        reasons: why a file can't be an image, by its row.
    """

    height: np.ndarray
    width: np.ndarray
    file_size: np.ndarray
    mtime_ns: np.ndarray
    reasons: dict[int, str]


def default_cache_folder() -> Path:
    """`$DALI_MIXUP_CACHE`, else `dali_mixup` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if folder := os.environ.get("DALI_MIXUP_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dali_mixup"


def read_sizes(paths: PathList, *, cache_folder: Path | None, progress: bool = True) -> Sizes:
    """Sizes of all files; only those that the cache doesn't know, or knows with another size or time, are opened.

    Args:
        paths: the files.
        cache_folder: where caches lie; None reads every header and keeps nothing.
        progress: show a bar on stderr once the work takes longer than half a second.
    """
    columns = {name: np.zeros(len(paths), dtype) for name, dtype in COLUMNS.items()}
    reasons: dict[int, str] = {}
    if not len(paths):
        return Sizes(**columns, reasons=reasons)
    folder = paths.common_folder()
    names = paths.below(folder)  # lists of one folder share one cache
    cache_file = None if cache_folder is None else cache_folder / _cache_name(os.path.abspath(os.fsdecode(folder)))
    known = _load(cache_file) if cache_file is not None else _empty_cache()
    rows = _find_rows(names, known["names"])

    def look(i: int) -> Header | None:
        """Fill in what the cache knows of a file, or probe it."""
        path = paths.encoded(i).tobytes()
        if rows[i] < 0 or not _unchanged(path, known["file_size"][rows[i]], known["mtime_ns"][rows[i]]):
            return probe(path)
        for name, column in columns.items():
            column[i] = known[name][rows[i]]
        return None

    probed: list[int] = []
    for i, header in _look_in_threads(look, len(paths), progress=progress):
        for name, column in columns.items():
            column[i] = getattr(header, name)
        if header.reason:
            reasons[i] = header.reason
        else:
            probed.append(i)

    if cache_file is not None and probed:
        _save(cache_file, names, columns, reasons, known)
    return Sizes(**columns, reasons=reasons)


def _look_in_threads(
    look: Callable[[int], Header | None], total: int, *, progress: bool
) -> Iterator[tuple[int, Header]]:
    """`look` at the numbers below `total` behind a bar; what it finds, by number."""
    stopped = threading.Event()

    def look_at_some(start: int) -> list[tuple[int, Header]]:
        numbers = range(start, min(start + FILES_PER_TASK, total))
        return [(i, header) for i in numbers if not stopped.is_set() and (header := look(i))]

    starts = range(0, total, FILES_PER_TASK)
    with (
        ThreadPoolExecutor(PROBE_THREADS) as pool,
        tqdm(
            total=total, desc="reading image sizes", unit=" files", delay=0.5, leave=False, disable=not progress
        ) as bar,
    ):
        try:
            for start, found in zip(starts, pool.map(look_at_some, starts), strict=True):
                yield from found
                bar.update(min(FILES_PER_TASK, total - start))
        except BaseException:  # Ctrl-C: do not read the rest of a million headers first
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def _cache_name(folder: str) -> str:
    return hashlib.blake2b(os.fsencode(folder), digest_size=16).hexdigest() + ".npz"


def _unchanged(path: bytes, file_size: int, mtime_ns: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_size == file_size and status.st_mtime_ns == mtime_ns


def _find_rows(names: PathList, known: PathList) -> np.ndarray:
    """The row of each name in `known`, -1 where it isn't there; (N,) int64."""
    if np.array_equal(names.ends, known.ends) and np.array_equal(names.blob, known.blob):
        return np.arange(len(names))
    row_of = {known.encoded(i).tobytes(): i for i in range(len(known))}
    return np.array([row_of.get(names.encoded(i).tobytes(), -1) for i in range(len(names))], np.int64)


def _empty_cache() -> dict:
    return {"names": PathList([]), **{name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()}}


def _load(cache_file: Path) -> dict:
    """The cache's names and columns; an empty one where there is none or where it can't be trusted."""
    try:
        with open(cache_file, "rb") as file, np.load(file, allow_pickle=False) as data:
            if int(data["format"]) != FORMAT:
                return _empty_cache()
            names = PathList.from_arrays(data["blob"], data["ends"])
            known = {
                "names": names,
                **{name: data[name].astype(dtype, casting="safe") for name, dtype in COLUMNS.items()},
            }
    except FileNotFoundError:
        return _empty_cache()
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.info("image sizes are read afresh: the cache %s is damaged (%s)", cache_file, error)
        return _empty_cache()
    good = all(known[name].shape == (len(names),) for name in COLUMNS)
    return known if good and (known["height"] > 0).all() and (known["width"] > 0).all() else _empty_cache()


def _save(
    cache_file: Path, names: PathList, columns: dict[str, np.ndarray], reasons: dict[int, str], known: dict
) -> None:
    """Write the good files' sizes, beside those of other lists of the same folder, in one atomic step."""
    good = np.setdiff1d(np.arange(len(names)), list(reasons))
    others = np.flatnonzero(_find_rows(known["names"], names) < 0)
    merged = PathList(
        [*(names.encoded(i).tobytes() for i in good), *(known["names"].encoded(i).tobytes() for i in others)],
    )
    table = {name: np.concatenate([columns[name][good], known[name][others]]) for name in COLUMNS}
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache_file.parent, suffix=".tmp", delete=False) as file:
            try:
                np.savez(file, allow_pickle=False, format=FORMAT, blob=merged.blob, ends=merged.ends, **table)
                file.close()
                os.replace(file.name, cache_file)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        warnings.warn(
            f"image sizes can't be kept in {cache_file.parent} ({error.strerror}) and will be read again next time; "
            "set DALI_MIXUP_CACHE to a folder that can be written, or pass cache=False",
            stacklevel=2,
        )
