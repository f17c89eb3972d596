"""From any data set to a pack, shard by shard; what an interruption leaves is gone on with."""

import fcntl
import json
import os
import shutil
import tarfile
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dali_mixup.bars import progress_bar
from dali_mixup.dataset.dataset import EncodedDataset
from dali_mixup.dataset.pack_index import ABOUT, read_about, save_index
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.pillow import UndecodableError
from dali_mixup.dataset.repack import JPEGTRAN, Packed, Shrink, repack
from dali_mixup.dataset.verdict import Verdict, most_bytes, why_unreadable
from dali_mixup.errors import BadSample, BadSampleError, DatasetError, check_int, must_be

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
    "segments": np.int64,  # how many entries of `starts`
}
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
MB = 10**6
AHEAD = 4  # images per thread that are being packed or wait to be written
SETTINGS = "settings.json"
UNREADABLE = "{} of the images can't be read; repair them, {}, or pack with skip_bad (--skip-bad):"
INSTALL = "install jpegtran (Debian and Ubuntu: sudo apt-get install libjpeg-turbo-progs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What became of a data set.

    Attributes:
        samples: in the pack.
        cuttable: of which single windows can be read.
        bytes_before: of the images that were packed.
        bytes_after: of the pack, with its index.
        bad: what was left out.
    """

    samples: int
    cuttable: int
    bytes_before: int
    bytes_after: int
    bad: list[BadSample]


def pack(
    dataset: EncodedDataset,
    out: str | os.PathLike[str],
    *,
    shrink: Shrink | None = None,
    shard_mb: int = 512,
    skip_bad: bool = False,
    num_threads: int | None = None,
    progress: bool = True,
) -> PackReport:
    """Write a data set as tar shards with an index, see `PackedDataset`.

    The pack is made in `OUT.partial` and renamed at the end. What was interrupted goes on after its last whole shard;
    what is already there is left as it is.

    Args:
        dataset: what to pack.
        out: the folder to write.
        shrink: makes images smaller, which changes them; None keeps each pixel as it is.
        shard_mb: megabytes (10**6 bytes) after which a new shard begins.
        skip_bad: leave out what can't be read as an image; otherwise that is an error.
        num_threads: None takes one for each core that this process may use.
        progress: show a bar on stderr.

    Raises:
        DatasetError: `out` is something else, or jpegtran is missing.
        BadSampleError: images that can't be read, without `skip_bad`.
        OSError: the disk is full, for example; once there is room, pack again.
    """
    check_int("shard_mb", shard_mb, at_least=1)
    shrink = shrink or Shrink()
    if shutil.which(JPEGTRAN) is None:
        raise DatasetError(f"JPEGs get their restart markers from {JPEGTRAN}, which isn't there; {INSTALL}")
    out = Path(out)
    settings = {
        "fingerprint": dataset.fingerprint(),
        "samples": len(dataset),
        "shrink": asdict(shrink),
        "shard_mb": shard_mb,
        "skip_bad": skip_bad,
    }
    if out.exists():
        return _report_of(out, settings)
    if dataset.bad_files and not skip_bad:
        raise BadSampleError(_known_bad(dataset), UNREADABLE.format(len(dataset.bad_files), dataset.leave_out))
    with _claimed(out, settings) as partial:
        if not (partial / ABOUT).exists():
            pieces = _load_pieces(partial)
            first = int(pieces[-1]["stop"]) if pieces else 0
            images = _repacked(dataset, first, shrink, num_threads or len(os.sched_getaffinity(0)))
            done = _write_shards(dataset, partial, len(pieces), images, shard_mb * MB, skip_bad=skip_bad)
            options = {"desc": "packing", "unit": " images", "delay": 0.5, "leave": False, "disable": not progress}
            for _ in progress_bar(iterable=done, total=len(dataset), initial=first, **options):
                pass
            _write_index(dataset, partial, settings)
        for path in [*partial.glob("shard-*.npz"), partial / SETTINGS]:
            path.unlink(missing_ok=True)
        os.replace(partial, out)
    return _report_of(out, settings)


class _Shard:
    """A tar that is being written, and what the index is to know of it."""

    def __init__(self, folder: Path, number: int):
        self.path = folder / f"shard-{number:06}.tar"
        self.file = open(self._temporary, "wb")  # noqa: SIM115  open until `finish`
        self.rows: list[dict[str, int]] = []
        self.starts: list[np.ndarray] = []
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
                "segments": len(segments.starts) if segments else 0,
            }
        )
        self.starts += [segments.starts] if segments else []

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
                starts=np.concatenate([np.zeros(0, np.uint32), *self.starts]),
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


def _write_shards(
    dataset: EncodedDataset,
    folder: Path,
    number: int,
    images: Iterator[tuple[int, int, Packed | str]],
    most_bytes: int,
    *,
    skip_bad: bool,
) -> Iterator[None]:
    """Write images to shards from `number` on; something comes out after each of them."""
    keys = _keys(dataset)
    shard = None
    sample = -1
    try:
        for sample, before, packed in images:
            shard = shard or _Shard(folder, number)
            if isinstance(packed, str):
                found = BadSample(sample, dataset.name(sample), packed)
                if not skip_bad:
                    raise BadSampleError([found], UNREADABLE.format(1, dataset.leave_out))
                shard.bad.append(found)
            else:
                shard.before += before
                shard.add(sample, keys[sample], packed, _target(dataset.targets[sample]))
            if shard.file.tell() >= most_bytes:
                shard.finish(sample + 1)
                shard, number = None, number + 1
            yield
        if shard is not None:
            shard.finish(sample + 1)
    finally:
        if shard is not None:
            shard.file.close()


def _repacked(
    dataset: EncodedDataset, first: int, shrink: Shrink, num_threads: int
) -> Iterator[tuple[int, int, Packed | str]]:
    """Number, length and what is stored of each sample from `first` on, in order; or the reason why it is bad."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="dali_mixup pack") as pool:
        try:
            for number in range(first, len(dataset)):
                waiting.append(pool.submit(_repack, dataset, number, shrink))
                if len(waiting) > AHEAD * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _repack(dataset: EncodedDataset, number: int, shrink: Shrink) -> tuple[int, int, Packed | str]:
    if number in dataset.bad_files:
        return number, 0, dataset.bad_files[number]
    size = int(dataset.heights[number]), int(dataset.widths[number])
    try:
        with dataset.open(number) as source:
            data = source.read_at(0, most_bytes(*size))
        packed = repack(data, size, Verdict(dataset.sizes.verdict[number]), shrink)
        return number, len(data), packed._replace(orientation=dataset.orientation(number))
    except UndecodableError as error:
        return number, 0, str(error)
    except OSError as error:
        return number, 0, why_unreadable(error)


def _write_index(dataset: EncodedDataset, folder: Path, settings: dict[str, Any]) -> None:
    """Put the pieces of all shards together, and remove them."""
    pieces = _load_pieces(folder)
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in COLUMNS}
    numbers, count = columns.pop("number"), columns.pop("segments")
    if not len(numbers):
        raise DatasetError("nothing is left to pack: all images are bad")
    arrays = {
        **columns,
        "shard": np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece["number"]) for piece in pieces]),
        "first": np.cumsum(count) - count,
        "starts": np.concatenate([piece["starts"] for piece in pieces]),
        "targets": dataset.targets[numbers],
    }
    names = PathList(_names(dataset)[number] for number in numbers.tolist())
    arrays |= {"names": names.blob, "name_ends": names.ends}
    about = {
        "classes": dataset.classes,
        "shards": [{"name": f"shard-{i:06}.tar", "bytes": int(piece["bytes"])} for i, piece in enumerate(pieces)],
        "settings": settings,
        "bytes_before": sum(int(piece["before"]) for piece in pieces),
        "bad": [sample for piece in pieces for sample in json.loads(str(piece["bad"]))],
    }
    save_index(folder, about, arrays)


def _load_pieces(folder: Path) -> list[dict[str, np.ndarray]]:
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


@contextmanager
def _claimed(out: Path, settings: dict[str, Any]) -> Iterator[Path]:
    """The folder in which a pack is made, for this process alone."""
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    fd = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"another process is writing {partial}; wait for it") from error
        file = partial / SETTINGS
        begun = any(partial.iterdir())
        if begun and not (partial / ABOUT).exists() and _read_json(file) != settings:
            raise DatasetError(f"{partial} is the beginning of another pack; remove it, or take another OUT")
        if not begun:
            file.with_suffix(".tmp").write_text(json.dumps(settings), "ascii")
            os.replace(file.with_suffix(".tmp"), file)
        yield partial
    finally:
        os.close(fd)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _report_of(out: Path, settings: dict[str, Any]) -> PackReport:
    try:
        about = read_about(out)
    except DatasetError as error:
        raise DatasetError(must_be("OUT", "a folder that isn't there yet", str(out), str(error))) from error
    if about["settings"] != settings:
        raise DatasetError(f"{out} is a pack of other images or with other options; remove it, or take another OUT")
    return PackReport(
        samples=len(np.load(out / "height.npy", mmap_mode="r")),
        cuttable=int(np.count_nonzero(np.load(out / "header.npy", mmap_mode="r"))),
        bytes_before=about["bytes_before"],
        bytes_after=sum(path.stat().st_size for path in out.iterdir()),
        bad=[BadSample(*sample) for sample in about["bad"]],
    )


def _known_bad(dataset: EncodedDataset) -> list[BadSample]:
    return [BadSample(number, dataset.name(number), why) for number, why in sorted(dataset.bad_files.items())]


def _names(dataset: EncodedDataset) -> list[bytes]:
    """The samples' names below the folder of all of them; their numbers, if they have none."""
    if dataset.names is None:
        return [f"{number:09}".encode() for number in range(len(dataset))]
    below = dataset.names.below(dataset.names.common_folder())
    return [below.encoded(number).tobytes() for number in range(len(dataset))]


def _keys(dataset: EncodedDataset) -> list[str]:
    """What WebDataset calls the samples: each another key, without a dot in its last part."""
    keys, taken = [], set()
    for number, name in enumerate(_names(dataset)):
        folder, _, base = os.fsdecode(name).rpartition("/")
        key = f"{folder}/".lstrip("/") + (os.path.splitext(base)[0] or base).replace(".", "_")
        if key in taken:
            key = f"{key}_{number}"
        taken.add(key)
        keys.append(key)
    return keys


def _target(target: np.ndarray) -> tuple[str, bytes]:
    """The extension and the content of a target's member."""
    if target.dtype == np.int64:
        return "cls", str(int(target)).encode()
    return "json", json.dumps(target.tolist()).encode()


def _sync_and_close(file: IO[bytes]) -> None:
    with file:
        file.flush()
        os.fsync(file.fileno())
