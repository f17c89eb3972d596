"""A file of arrays in a cache folder: a digest and plain arrays, checked before anything of it is believed.

It is written to a temporary file and renamed, so that two processes may do so at once. Of a file that is damaged, of
another version, no regular file, or of a stranger's making nothing is read.
"""

import hashlib
import io
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")
DIGEST_BYTES, LENGTH_BYTES = 32, 8

logger: logging.Logger = logging.getLogger(__name__)


def load_arrays(file: Path, magic: bytes, parse: Callable[[Mapping[str, np.ndarray]], T]) -> T | None:
    """What `parse` makes of the arrays of a file; None where there is none or where it can't be trusted. Never raises.

    Args:
        file: which `save_arrays` wrote.
        magic: what the file has to begin with: what it holds and the version of that.
        parse: makes something of the arrays by name, or raises.
    """
    try:
        with np.load(io.BytesIO(_read(file, magic)), allow_pickle=False) as arrays:
            return parse(arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001  whatever is wrong with it, the images themselves are there to be read
        logger.info("image sizes are read afresh: the cache %s can't be used (%s)", file, error)
        return None


def save_arrays(file: Path, magic: bytes, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays in one atomic step.

    Raises:
        OSError: the folder can't be written.
    """
    payload = io.BytesIO()
    np.savez(payload, allow_pickle=False, **arrays)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as temporary:
        try:
            temporary.write(_head(magic, payload.getbuffer()))
            temporary.write(payload.getbuffer())
            temporary.close()
            os.replace(temporary.name, file)
        except BaseException:
            os.unlink(temporary.name)
            raise


def _read(file: Path, magic: bytes) -> bytes:
    """The arrays of a file as they were written."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for a writer
    with os.fdopen(fd, "rb") as opened:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        # Who owns the folder decides what lies in it; in one that all may write, others' files count for nothing.
        if status.st_uid not in (os.geteuid(), 0, os.stat(file.parent).st_uid):
            raise ValueError(f"it belongs to user {status.st_uid}")
        head = opened.read(len(magic) + DIGEST_BYTES + LENGTH_BYTES)
        length = int.from_bytes(head[len(magic) + DIGEST_BYTES :])
        payload = opened.read(length) if head.startswith(magic) and len(head) + length == status.st_size else b""
    if head != _head(magic, payload):
        raise ValueError("damaged, or of another version")
    return payload


def _head(magic: bytes, payload: bytes | memoryview) -> bytes:
    """What stands before the arrays: the version, a digest of them and their length."""
    digest = hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()
    return magic + digest + len(payload).to_bytes(LENGTH_BYTES)
