"""The samples of many tars, one after another: scanned in threads, or remembered."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dali_mixup.bars import progress_bar
from dali_mixup.dataset.cache import COLUMNS as SIZES
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.sizes import Sizes, warn_of_unkept
from dali_mixup.dataset.tar_cache import cache_file, load_scan, save_scan
from dali_mixup.dataset.tar_files import LOCAL_TARS, TarFiles
from dali_mixup.dataset.tar_members import TarError
from dali_mixup.dataset.tar_scan import COLUMNS, Layout, TarScan, scan_tar
from dali_mixup.dataset.tar_targets import Target, make_targets
from dali_mixup.dataset.verdict import why_unreadable
from dali_mixup.errors import SHOWN_NAMES, DatasetError


@dataclass(frozen=True, slots=True, kw_only=True)
class TarIndex:
    """Where N samples lie.

    Attributes:
        names: of their images, in the tars.
        tar: (N,) int64, which tar.
        row: (N,) int64, which sample of it.
        start: (N,) int64, the first byte.
        sizes: of the images.
        targets: (N,) int64, or what a function gave.
    """

    names: PathList
    tar: np.ndarray
    row: np.ndarray
    start: np.ndarray
    sizes: Sizes
    targets: np.ndarray

    def subset(self, numbers: np.ndarray) -> "TarIndex":
        """Some of the samples, in the order of their numbers."""
        sizes, chosen = self.sizes, numbers.tolist()
        return TarIndex(
            names=PathList(self.names.encoded(number).tobytes() for number in chosen),
            tar=self.tar[numbers],
            row=self.row[numbers],
            start=self.start[numbers],
            sizes=Sizes(
                **{name: getattr(sizes, name)[numbers] for name in SIZES},
                reasons={at: sizes.reasons[number] for at, number in enumerate(chosen) if number in sizes.reasons},
            ),
            targets=self.targets[numbers],
        )


def scan_tars(
    paths: Sequence[str],
    layout: Layout,
    cache_folder: Path | None,
    *,
    progress: bool,
    tars: TarFiles = LOCAL_TARS,
) -> list[TarScan]:
    """Scan the tars that aren't known, in threads, with a bar over their bytes.

    Raises:
        DatasetError: some of them can't be used, and why.
    """
    stopped, lock, unkept = threading.Event(), threading.Lock(), []
    total = sum(_size(path, tars) for path in paths)
    options = {"unit": "B", "unit_scale": True, "delay": 0.5, "leave": False, "disable": not progress}
    with (
        ThreadPoolExecutor(min(tars.threads, len(paths))) as pool,
        progress_bar(total=total, desc="scanning tars", **options) as bar,
    ):

        def moved(count: int) -> None:
            if stopped.is_set():
                raise TarError("stopped")
            with lock:
                bar.update(count)

        try:
            found = list(pool.map(lambda path: _find(path, layout, cache_folder, moved, unkept, tars), paths))
        except BaseException:  # Ctrl-C: do not scan the rest first
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    if cache_folder is not None and unkept:
        warn_of_unkept(cache_folder, unkept[0])
    return _without_problems(found)


def make_index(
    paths: Sequence[str], scans: Sequence[TarScan], target: Target | None, tars: TarFiles = LOCAL_TARS
) -> TarIndex:
    """The samples of all tars.

    Args:
        paths: of the tars.
        scans: of each.
        target: makes the targets; None for those of the scans.
        tars: where they lie.

    Raises:
        DatasetError: a target can't be made.
    """
    counts = [len(scan.images.names) for scan in scans]
    columns = {name: np.concatenate([scan.images.columns[name] for scan in scans]) for name in COLUMNS}
    firsts = np.cumsum([0, *counts]).tolist()
    reasons = {
        first + row: why for first, scan in zip(firsts, scans, strict=False) for row, why in scan.reasons.items()
    }
    return TarIndex(
        names=PathList.from_arrays(
            np.concatenate([scan.images.names.blob for scan in scans]),
            np.cumsum(np.concatenate([[0], *(np.diff(scan.images.names.ends) for scan in scans)]), dtype=np.int64),
        ),
        tar=np.repeat(np.arange(len(paths)), counts),
        row=np.concatenate([np.arange(count) for count in counts]),
        start=columns["start"],
        sizes=Sizes(
            height=columns["height"],
            width=columns["width"],
            file_size=columns["file_size"],
            mtime_ns=np.zeros(len(columns["start"]), np.int64),
            verdict=columns["verdict"],
            reasons=reasons,
        ),
        targets=columns["target"] if target is None else make_targets(target, paths, scans, tars),
    )


def _size(path: str, tars: TarFiles) -> int:
    try:
        return tars.stamp(path)[0]
    except OSError:  # which is said when it is scanned
        return 0


def _find(
    path: str,
    layout: Layout,
    cache_folder: Path | None,
    moved: Callable[[int], None],
    unkept: list[OSError],
    tars: TarFiles,
) -> TarScan | str:
    """What is known of a tar, or found now; or why it can't be used. Adds to `unkept` what forbids to keep it."""
    file = None if cache_folder is None else cache_file(cache_folder, path, layout, tars)
    try:
        known = None if file is None else load_scan(file, path, tars)
        if known is not None:
            moved(known.stamp[0])
            return known
        found = scan_tar(path, layout, moved, tars)
    except TarError as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {why_unreadable(error)}"
    try:
        if file is not None:
            save_scan(file, found)
    except OSError as error:
        unkept.append(error)
    return found


def _without_problems(found: Sequence[TarScan | str]) -> list[TarScan]:
    problems = [each for each in found if isinstance(each, str)]
    if problems:
        more = len(problems) - SHOWN_NAMES
        lines = [*problems[:SHOWN_NAMES], *([f"and {more} more"] if more > 0 else [])]
        raise DatasetError("\n  ".join([f"{len(problems)} of {len(found)} tars can't be used:", *lines]))
    return [each for each in found if not isinstance(each, str)]
