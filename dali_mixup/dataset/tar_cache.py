"""What is kept of a scanned tar from run to run: a file per tar in the cache folder, believed after a check."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dali_mixup.dataset.arrays_file import load_arrays, save_arrays
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.tar_files import LOCAL_TARS, Stamp, TarFiles
from dali_mixup.dataset.tar_scan import COLUMNS, SIDECARS, Layout, Table, TarScan, look_again
from dali_mixup.dataset.verdict import Verdict

MAGIC = b"dali_mixup tar 1\n"  # the version counts up with each change of what a scan finds or means


def cache_file(folder: Path, path: str, layout: Layout, tars: TarFiles = LOCAL_TARS) -> Path:
    """Where a tar's scan is kept."""
    what = repr((tars.key(path), layout.image, layout.target)).encode()
    return folder / f"{hashlib.blake2b(what, digest_size=16).hexdigest()}.tar"


def load_scan(file: Path, path: str, tars: TarFiles = LOCAL_TARS) -> TarScan | None:
    """What is known of a tar; None if nothing is, or of another state of it.

    Raises:
        OSError: the tar can't be read.
    """
    stamp = tars.stamp(path)
    scan = load_arrays(file, MAGIC, _parse)
    if scan is None or scan.stamp != stamp:
        return None
    scan.reasons.update(look_again(path, scan.images, tars))
    return scan if all(scan.reasons.values()) else None  # one could only not be read when it was scanned


def save_scan(file: Path, scan: TarScan) -> None:
    """Keep a scan.

    Raises:
        OSError: the folder can't be written.
    """
    arrays = {"stamp": np.array(scan.stamp, np.int64)}
    for name, table in (("images", scan.images), ("sidecars", scan.sidecars)):
        arrays |= _flat(name, table.names) | {f"{name}.{column}": array for column, array in table.columns.items()}
    save_arrays(file, MAGIC, arrays | _flat("passed", scan.passed))


def remember_verdicts(file: Path, stamp: Stamp, rows: np.ndarray, verdicts: np.ndarray) -> None:
    """Add what was learnt of a tar's images to what is kept of it, if that is still about the same tar.

    Args:
        file: from `cache_file`.
        stamp: of the tar that it was learnt of.
        rows: (n,) int64, of images.
        verdicts: (n,) uint8, a `Verdict` of each; BAD and SCAN_FIRST add nothing.

    Raises:
        OSError: the folder can't be written.
    """
    scan = load_arrays(file, MAGIC, _parse)
    if scan is None or scan.stamp != stamp:
        return
    learnt = (verdicts != Verdict.BAD) & (verdicts != Verdict.SCAN_FIRST)  # others may have learnt more of these
    rows, verdicts, known = rows[learnt], verdicts[learnt], scan.images.columns["verdict"]
    if (known[rows] != verdicts).any():
        known[rows] = verdicts
        save_scan(file, scan)


def _flat(name: str, names: PathList) -> dict[str, np.ndarray]:
    return {f"{name}.blob": names.blob, f"{name}.ends": names.ends}


def _names(name: str, arrays: Mapping[str, np.ndarray]) -> PathList:
    return PathList.from_arrays(arrays[f"{name}.blob"], arrays[f"{name}.ends"])


def _table(name: str, arrays: Mapping[str, np.ndarray], dtypes: Mapping[str, type]) -> Table:
    names = _names(name, arrays)
    columns = {column: arrays[f"{name}.{column}"].astype(dtype, casting="safe") for column, dtype in dtypes.items()}
    if any(column.shape != (len(names),) for column in columns.values()):
        raise ValueError("columns of different lengths")
    return Table(names=names, columns=columns)


def _parse(arrays: Mapping[str, np.ndarray]) -> TarScan:
    size, mtime_ns = arrays["stamp"].tolist()
    return TarScan(
        stamp=(size, mtime_ns),
        images=_table("images", arrays, COLUMNS),
        sidecars=_table("sidecars", arrays, SIDECARS),
        passed=_names("passed", arrays),
        reasons={},
    )
