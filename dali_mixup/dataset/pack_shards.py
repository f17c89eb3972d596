"""The tars of a pack: written one after the other, each with what the index is to know of it."""

import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from dali_mixup.dataset.repack import Packed
from dali_mixup.dataset.restarts import Segments
from dali_mixup.errors import BadSample

COLUMNS: dict[str, type[np.integer[Any]]] = {
    "number": np.int64,  # in the data set
    "offset": np.int64,  # of the image in its shard
    "size": np.int64,  # bytes
    "height": np.int32,
    "width": np.int32,
    "verdict": np.uint8,
    "orientation": np.uint8,  # EXIF's
    "header": np.uint16,
    "frame": np.uint16,
    "unit_height": np.uint16,
    "unit_width": np.uint16,
    "row_count": np.int64,  # how many entries of `rows`
    "mark_count": np.int64,  # how many entries of `marks`
}
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


class ShardWriter:
    """A tar that is being written, and what the index is to know of it."""

    def __init__(self, folder: Path, number: int):
        self.path: Path = folder / f"shard-{number:06}.tar"
        self.file: IO[bytes] = open(self._temporary, "wb")  # noqa: SIM115  open until `finish`
        self.rows: list[dict[str, int]] = []
        self.segments: list[Segments] = []
        self.bad: list[BadSample] = []
        self.before = 0

    @property
    def _temporary(self) -> Path:
        return self.path.with_suffix(".tar.tmp")

    def add(self, number: int, key: str, packed: Packed, target: tuple[str, bytes]) -> None:
        """Append an image and its target."""
        offset = self._append(f"{key}.{packed.extension}", packed.data)
        extension, content = target
        self._append(f"{key}.{extension}", content)
        segments = packed.segments
        self.rows.append(
            {
                "number": number,
                "offset": offset,
                "size": len(packed.data),
                "height": packed.height,
                "width": packed.width,
                "verdict": packed.verdict,
                "orientation": packed.orientation,
                "header": segments.header if segments else 0,
                "frame": segments.frame if segments else 0,
                "unit_height": segments.height if segments else 0,
                "unit_width": segments.width if segments else 0,
                "row_count": len(segments.rows) if segments else 0,
                "mark_count": len(segments.marks) if segments else 0,
            }
        )
        self.segments += [segments] if segments else []

    def finish(self, stop: int) -> None:
        """Make the shard one that is never written again; `stop` is the number of the next sample."""
        self.file.write(END)
        _sync_and_close(self.file)
        os.replace(self._temporary, self.path)
        columns = {name: np.array([row[name] for row in self.rows], dtype) for name, dtype in COLUMNS.items()}
        temporary = self.path.with_suffix(".npz.tmp")
        with open(temporary, "wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                stop=stop,
                bytes=self.path.stat().st_size,
                before=self.before,
                bad=json.dumps(self.bad),
                rows=np.concatenate([np.zeros(0, np.uint32), *(each.rows for each in self.segments)]),
                marks=np.concatenate([np.zeros(0, np.uint16), *(each.marks for each in self.segments)]),
                **columns,
            )
            _sync_and_close(file)
        os.replace(temporary, self.path.with_suffix(".npz"))

    def _append(self, name: str, content: bytes) -> int:
        """The position of the content."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        self.file.write(member.tobuf(tarfile.PAX_FORMAT))
        offset = self.file.tell()
        self.file.write(content + bytes(-len(content) % BLOCK))
        return offset


def load_pieces(folder: Path) -> list[dict[str, np.ndarray]]:
    """What is known of the shards that are whole."""
    pieces = []
    while True:
        path = folder / f"shard-{len(pieces):06}.npz"
        try:
            with np.load(path, allow_pickle=False) as data:
                piece = dict(data)
            if path.with_suffix(".tar").stat().st_size != piece["bytes"]:
                return pieces
        except (OSError, ValueError, zipfile.BadZipFile):
            return pieces
        pieces.append(piece)


def target_member(target: np.ndarray) -> tuple[str, bytes]:
    """The extension and the content of a target's member."""
    if target.dtype == np.int64:
        return "cls", str(int(target)).encode()
    return "json", json.dumps(target.tolist()).encode()


def _sync_and_close(file: IO[bytes]) -> None:
    with file:
        file.flush()
        os.fsync(file.fileno())
