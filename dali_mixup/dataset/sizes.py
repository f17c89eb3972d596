"""Heights, widths and verdicts of many files: probed, remembered in the user's cache folder.

There is one cache per folder of images, see `cache`; a damaged or foreign one is probed afresh.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dali_mixup.dataset.ask_each import ask_each
from dali_mixup.dataset.cache import COLUMNS, Cache, load_cache, save_cache
from dali_mixup.dataset.header import Header, probe
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.verdict import Verdict

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


class Kept(NamedTuple):
    """A cache, and the names by which it knows the samples."""

    names: PathList
    file: Path


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
    kept = None if cache_folder is None or not len(paths) else place_of(paths, cache_folder)

    def is_current(i: int, file_size: int, mtime_ns: int) -> bool:
        return _unchanged(paths.encoded(i).tobytes(), file_size, mtime_ns)

    def probe_file(i: int) -> Header:
        return probe(paths.encoded(i).tobytes())

    return _look_at_all(probe_file, len(paths), kept=kept, is_current=is_current, progress=progress)


def probe_sizes(
    probe: Callable[[int], Header], total: int, *, kept: Kept | None = None, progress: bool = True
) -> Sizes:
    """Sizes of the samples with the numbers below `total`, of a store that is no list of files.

    Args:
        probe: looks at the sample of a number; perhaps called in threads.
        total: N.
        kept: the cache of just this store, by whose name its images are known not to have changed; None keeps nothing.
        progress: see `read_sizes`.
    """
    return _look_at_all(probe, total, kept=kept, is_current=lambda *_: True, progress=progress)


def _look_at_all(
    probe: Callable[[int], Header],
    total: int,
    *,
    kept: Kept | None,
    is_current: Callable[[int, int, int], bool],
    progress: bool,
) -> Sizes:
    """Sizes of all samples, from the cache where what it knows of one is current, else probed."""
    columns = {name: np.zeros(total, dtype) for name, dtype in COLUMNS.items()}
    reasons: dict[int, str] = {}
    known = Cache.empty() if kept is None else load_cache(kept.file)
    rows = np.full(total, -1) if kept is None else known.find(kept.names)
    is_known = rows >= 0

    for name, column in columns.items():
        column[is_known] = known.columns[name][rows[is_known]]

    def look(i: int) -> Header | None:
        """Probe a sample, unless the cache knows what it is now."""
        if is_known[i] and is_current(i, columns["file_size"].item(i), columns["mtime_ns"].item(i)):
            return None
        return probe(i)

    found = ask_each(look, range(total), description="reading image sizes", progress=progress)
    good = _fill(columns, reasons, found)
    if kept is not None and good:
        _keep(kept.file, known.updated(kept.names, columns))
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
    if cache_folder is not None and len(paths):
        remember_kept(place_of(paths, cache_folder), sizes, verdicts)


def remember_kept(kept: Kept, sizes: Sizes, verdicts: np.ndarray) -> None:
    """See `remember_verdicts`, for samples that are no list of files."""
    known = load_cache(kept.file)
    rows = known.find(kept.names)
    # SCAN_FIRST is what everybody knows, and less than what another process may have learnt.
    numbers = np.flatnonzero((rows >= 0) & (verdicts != Verdict.BAD) & (verdicts != Verdict.SCAN_FIRST))
    for name in ("file_size", "mtime_ns"):
        numbers = numbers[known.columns[name][rows[numbers]] == getattr(sizes, name)[numbers]]
    column, learnt = known.columns["verdict"], verdicts[numbers]
    if (column[rows[numbers]] != learnt).any():
        column[rows[numbers]] = learnt
        _keep(kept.file, known)


def place_of(paths: PathList, cache_folder: Path) -> Kept:
    """What is kept of the folder that files share, in which they have the names that they have below it."""
    folder = paths.common_folder()
    name = hashlib.blake2b(os.path.abspath(folder or os.fsencode(os.curdir)), digest_size=16).hexdigest()
    return Kept(paths.below(folder), cache_folder / f"{name}.sizes")


def _keep(cache_file: Path, cache: Cache) -> None:
    try:
        save_cache(cache_file, cache)
    except OSError as error:
        warn_of_unkept(cache_file.parent, error)


def warn_of_unkept(cache_folder: Path, error: OSError) -> None:
    """Warn that what was read of images can't be kept for the next time."""
    warnings.warn(
        f"image sizes can't be kept in {cache_folder} ({error.strerror}) and will be read again next time; {REMEDY}",
        stacklevel=4,
    )


def _fill(columns: Mapping[str, np.ndarray], reasons: dict[int, str], headers: Iterable[Header | None]) -> int:
    """Enter headers in the columns, and what is bad in `reasons`; how many are good."""
    good = 0
    for i, header in enumerate(headers):
        if header is None:  # known already
            continue
        for name, column in columns.items():
            column[i] = getattr(header, name)
        if header.reason:
            reasons[i] = header.reason
        else:
            good += 1
    return good


def _unchanged(path: bytes, file_size: int, mtime_ns: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_size == file_size and status.st_mtime_ns == mtime_ns
