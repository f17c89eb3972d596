"""Heights, widths and verdicts of many files: probed in threads, remembered in the user's cache folder.

There is one cache per folder of images, see `cache`; a damaged or foreign one is probed afresh.
"""

import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dali_mixup.dataset.cache import COLUMNS, Cache, load_cache, save_cache
from dali_mixup.dataset.header import Header, probe
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.verdict import Verdict

PROBE_THREADS = 16  # network folders wait for each open; on a local disk more threads than cores cost nothing
FILES_PER_TASK = 128
REMEDY = "set DALI_MIXUP_CACHE to a folder that can be written, or pass cache=False"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is known of each file, one row per path.

    Attributes:
        height: (N,) int32, pixels; 0 for a file that can't be an image.
        width: (N,) int32, pixels.
        file_size: (N,) int64, bytes; -1 for a missing file.
        mtime_ns: (N,) int64, modification time in ns.
        verdict: (N,) uint8, a `Verdict`: who decodes the file.
        reasons: why a file can't be an image, by its row.
    """

    height: np.ndarray
    width: np.ndarray
    file_size: np.ndarray
    mtime_ns: np.ndarray
    verdict: np.ndarray
    reasons: dict[int, str]


def default_cache_folder() -> Path | None:
    """`$DALI_MIXUP_CACHE`, else `dali_mixup` in `$XDG_CACHE_HOME` or `~/.cache`.

    None, with a warning, for a user without a home, as some containers have.
    """
    if folder := os.environ.get("DALI_MIXUP_CACHE"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dali_mixup"
    except RuntimeError:
        warnings.warn(f"image sizes can't be kept, since this user has no home folder; {REMEDY}", stacklevel=2)
        return None


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
    names, cache_file = (paths, None) if cache_folder is None else _place(paths, cache_folder)
    known = Cache.empty() if cache_file is None else load_cache(cache_file)
    rows = known.find(names)

    def look(i: int) -> Header | None:
        """Fill in what the cache knows of a file, or probe it."""
        path = paths.encoded(i).tobytes()
        if rows[i] < 0 or not _unchanged(path, *known.stamp(int(rows[i]))):
            return probe(path)
        for name, column in columns.items():
            column[i] = known.columns[name][rows[i]]
        return None

    good = _fill(columns, reasons, _look_in_threads(look, len(paths), progress=progress))
    if cache_file is not None and good:
        _keep(cache_file, known.updated(names, columns))
    return Sizes(**columns, reasons=reasons)


def probe_sizes(probe: Callable[[int], Header], total: int, *, progress: bool = True) -> Sizes:
    """Sizes of the samples with the numbers below `total`; `probe` is called in threads."""
    columns = {name: np.zeros(total, dtype) for name, dtype in COLUMNS.items()}
    reasons: dict[int, str] = {}
    _fill(columns, reasons, _look_in_threads(probe, total, progress=progress))
    return Sizes(**columns, reasons=reasons)


def remember_verdicts(paths: PathList, sizes: Sizes, verdicts: np.ndarray, *, cache_folder: Path | None) -> None:
    """Keep what was learnt of files since they were probed, such as that the scans of a JPEG are regular.

    One atomic step, meant for the end of an epoch; nothing is written where nothing is new. Other processes may do the
    same for other files of the folder: what one of them loses is only learnt again.

    Args:
        paths: the files.
        sizes: theirs, from `read_sizes`.
        verdicts: (N,) uint8, a `Verdict` of each file as it is known now. Those of bad files, and of files that have
            another size or time in the cache by now, aren't kept.
        cache_folder: where caches lie; None keeps nothing.
    """
    if cache_folder is None or not len(paths):
        return
    names, cache_file = _place(paths, cache_folder)
    known = load_cache(cache_file)
    rows = known.find(names)
    # SCAN_FIRST is what everybody knows, and less than what another process may have learnt.
    numbers = np.flatnonzero((rows >= 0) & (verdicts != Verdict.BAD) & (verdicts != Verdict.SCAN_FIRST))
    for name in ("file_size", "mtime_ns"):
        numbers = numbers[known.columns[name][rows[numbers]] == getattr(sizes, name)[numbers]]
    column, learnt = known.columns["verdict"], verdicts[numbers]
    if (column[rows[numbers]] != learnt).any():
        column[rows[numbers]] = learnt
        _keep(cache_file, known)


def _place(paths: PathList, cache_folder: Path) -> tuple[PathList, Path]:
    """The names of files below the folder that they share, and where what is known of that folder is kept."""
    folder = paths.common_folder()
    name = hashlib.blake2b(os.path.abspath(folder or os.fsencode(os.curdir)), digest_size=16).hexdigest()
    return paths.below(folder), cache_folder / f"{name}.sizes"


def _keep(cache_file: Path, cache: Cache) -> None:
    try:
        save_cache(cache_file, cache)
    except OSError as error:
        warnings.warn(
            f"image sizes can't be kept in {cache_file.parent} ({error.strerror}) and will be read again next time; "
            f"{REMEDY}",
            stacklevel=3,
        )


def _fill(columns: Mapping[str, np.ndarray], reasons: dict[int, str], headers: Iterable[tuple[int, Header]]) -> int:
    """Enter headers in the columns, and what is bad in `reasons`; how many are good."""
    good = 0
    for i, header in headers:
        for name, column in columns.items():
            column[i] = getattr(header, name)
        if header.reason:
            reasons[i] = header.reason
        else:
            good += 1
    return good


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


def _unchanged(path: bytes, file_size: int, mtime_ns: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_size == file_size and status.st_mtime_ns == mtime_ns
