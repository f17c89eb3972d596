"""The file that a cache of sizes is: a digest and plain arrays, checked before anything of it is believed.

It is written to a temporary file and renamed, so that two processes may do so at once. Of a file that is damaged, of
another version, no regular file, or of a stranger's making nothing is read.
"""

import hashlib
import io
import logging
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.verdict import Verdict

MAGIC = b"dali_mixup sizes 2\n"  # the version counts up with each change of the columns or their meaning
DIGEST_BYTES, LENGTH_BYTES = 32, 8
HEAD_BYTES = len(MAGIC) + DIGEST_BYTES + LENGTH_BYTES
COLUMNS = {
    "height": np.int32,
    "width": np.int32,
    "file_size": np.int64,
    "mtime_ns": np.int64,
    "verdict": np.uint8,
}

logger = logging.getLogger(__name__)


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
        if np.array_equal(names.ends, self.names.ends) and np.array_equal(names.blob, self.names.blob):
            return np.arange(len(names))
        row_of = {self.names.encoded(i).tobytes(): i for i in range(len(self.names))}
        return np.array([row_of.get(names.encoded(i).tobytes(), -1) for i in range(len(names))], np.int64)

    def stamp(self, row: int) -> tuple[int, int]:
        """The file size and modification time that a row is about."""
        return int(self.columns["file_size"][row]), int(self.columns["mtime_ns"][row])

    def updated(self, names: PathList, columns: dict[str, np.ndarray]) -> "Cache":
        """What is known of these files, without the bad ones, and beside them what was known of others."""
        good = np.flatnonzero(columns["verdict"] != Verdict.BAD).tolist()
        others = np.flatnonzero(Cache(names=names, columns=columns).find(self.names) < 0).tolist()
        merged = [*(names.encoded(i).tobytes() for i in good), *(self.names.encoded(i).tobytes() for i in others)]
        table = {name: np.concatenate([columns[name][good], self.columns[name][others]]) for name in COLUMNS}
        return Cache(names=PathList(merged), columns=table)


def load_cache(file: Path) -> Cache:
    """What a cache file holds; an empty cache where there is none or where it can't be trusted. Never raises."""
    try:
        return _parse(_read(file))
    except FileNotFoundError:
        return Cache.empty()
    except Exception as error:  # noqa: BLE001  whatever is wrong with it, the files themselves are there to be read
        logger.info("image sizes are read afresh: the cache %s can't be used (%s)", file, error)
        return Cache.empty()


def save_cache(file: Path, cache: Cache) -> None:
    """Write a cache in one atomic step.

    Raises:
        OSError: the folder can't be written.
    """
    payload = io.BytesIO()
    np.savez(payload, allow_pickle=False, blob=cache.names.blob, ends=cache.names.ends, **cache.columns)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as temporary:
        try:
            temporary.write(_head(payload.getbuffer()))
            temporary.write(payload.getbuffer())
            temporary.close()
            os.replace(temporary.name, file)
        except BaseException:
            os.unlink(temporary.name)
            raise


def _read(file: Path) -> bytes:
    """The arrays of a cache file as they were written."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for a writer
    with os.fdopen(fd, "rb") as opened:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        # Who owns the folder decides what lies in it; in one that all may write, others' files count for nothing.
        if status.st_uid not in (os.geteuid(), 0, os.stat(file.parent).st_uid):
            raise ValueError(f"it belongs to user {status.st_uid}")
        head = opened.read(HEAD_BYTES)
        length = int.from_bytes(head[len(MAGIC) + DIGEST_BYTES :])
        payload = opened.read(length) if head.startswith(MAGIC) and HEAD_BYTES + length == status.st_size else b""
    if head != _head(payload):
        raise ValueError("damaged, or of another version")
    return payload


def _parse(payload: bytes) -> Cache:
    with np.load(io.BytesIO(payload), allow_pickle=False) as data:
        names = PathList.from_arrays(data["blob"], data["ends"])
        columns = {name: data[name].astype(dtype, casting="safe") for name, dtype in COLUMNS.items()}
    if any(column.shape != (len(names),) for column in columns.values()):
        raise ValueError("columns of different lengths")
    return Cache(names=names, columns=columns)


def _head(payload: bytes | memoryview) -> bytes:
    """What stands before the arrays: the version, a digest of them and their length."""
    digest = hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()
    return MAGIC + digest + len(payload).to_bytes(LENGTH_BYTES)
