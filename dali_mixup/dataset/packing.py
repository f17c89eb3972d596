"""From any data set to a pack, shard by shard; what an interruption leaves is gone on with."""

import fcntl
import functools
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.bars import progress_bar
from dali_mixup.dataset.dataset import EncodedDataset, ImageDataset, check_dataset
from dali_mixup.dataset.pack_index import ABOUT, VERSION, read_about, save_index
from dali_mixup.dataset.pack_shards import COLUMNS, ShardWriter, load_pieces, target_member
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.pillow import UndecodableError
from dali_mixup.dataset.repack import (
    JPEGTRAN,
    Packed,
    Shrink,
    decode,
    encode_pixels,
    repack,
    shrink_pixels,
    store_pixels,
)
from dali_mixup.dataset.verdict import Verdict, most_bytes, why_unreadable
from dali_mixup.errors import BadSample, BadSampleError, DatasetError, check_bool, check_int, must_be

Repacked = tuple[int, int, Packed | str]  # number, length before, and what is stored, or the reason why it is bad
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
    dataset: ImageDataset,
    out: str | os.PathLike[str],
    *,
    shrink: Shrink | None = None,
    pixels: bool = False,
    shard_mb: int = 512,
    skip_bad: bool = False,
    num_threads: int | None = None,
    progress: bool = True,
) -> PackReport:
    """Write a data set as tar shards with an index, see `PackedDataset`.

    The pack is made in `OUT.partial` and renamed at the end. What was interrupted goes on after its last whole shard;
    what is already there is left as it is.

    Args:
        dataset: what to pack. JPEGs get restart markers, other encoded images stay as they are, and arrays become PNGs.
        out: the folder to write.
        shrink: makes images smaller, which changes them; None keeps each pixel as it is.
        pixels: write uint8 levels, H x W x 3 bytes for each image, which are never decoded again: for small images.
        shard_mb: megabytes (10**6 bytes) after which a new shard begins.
        skip_bad: leave out what can't be read as an image; otherwise that is an error.
        num_threads: None takes one for each core that this process may use.
        progress: show a bar on stderr.

    Raises:
        DatasetError: `out` is something else, or jpegtran is missing.
        BadSampleError: images that can't be read, without `skip_bad`.
        TypeError, ValueError: an argument out of range.
        OSError: the disk is full, for example; once there is room, pack again.
    """
    check_dataset(dataset)
    check_int("shard_mb", shard_mb, at_least=1)
    if num_threads is not None:
        check_int("num_threads", num_threads, at_least=1)
    check_bool("pixels", pixels)
    check_bool("skip_bad", skip_bad)
    shrink = Shrink() if shrink is None else shrink
    if not isinstance(shrink, Shrink):
        raise TypeError(must_be("shrink", "a Shrink or None", shrink))
    if not pixels and isinstance(dataset, EncodedDataset) and shutil.which(JPEGTRAN) is None:
        raise DatasetError(f"JPEGs get their restart markers from {JPEGTRAN}, which isn't there; {INSTALL}")
    out = Path(out)
    settings = {
        "version": VERSION,
        "fingerprint": dataset.fingerprint(),
        "samples": len(dataset),
        "shrink": asdict(shrink),
        "pixels": pixels,
        "shard_mb": shard_mb,
        "skip_bad": skip_bad,
    }
    if out.exists():
        return _report_of(out, settings)
    if dataset.bad_files and not skip_bad:
        raise BadSampleError(_known_bad(dataset), UNREADABLE.format(len(dataset.bad_files), dataset.leave_out))
    with _claimed(out, settings) as partial:
        if not (partial / ABOUT).exists():
            pieces = load_pieces(partial)
            first = int(pieces[-1]["stop"]) if pieces else 0
            repack_one = functools.partial(_repack, dataset, shrink, pixels)
            threads = num_threads or len(os.sched_getaffinity(0))
            images = _repacked(len(dataset), first, repack_one, threads)
            done = _write_shards(dataset, partial, len(pieces), images, shard_mb * MB, skip_bad=skip_bad)
            options = {"desc": "packing", "unit": " images", "delay": 0.5, "leave": False, "disable": not progress}
            for _ in progress_bar(iterable=done, total=len(dataset), initial=first, **options):
                pass
            _write_index(dataset, partial, settings)
        for path in [*partial.glob("shard-*.npz"), partial / SETTINGS]:
            path.unlink(missing_ok=True)
        os.replace(partial, out)
    return _report_of(out, settings)


def _write_shards(
    dataset: ImageDataset,
    folder: Path,
    number: int,
    images: Iterator[Repacked],
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
            shard = shard or ShardWriter(folder, number)
            if isinstance(packed, str):
                found = BadSample(sample, dataset.name(sample), packed)
                if not skip_bad:
                    raise BadSampleError([found], UNREADABLE.format(1, dataset.leave_out))
                shard.bad.append(found)
            else:
                shard.before += before
                shard.add(sample, keys[sample], packed, target_member(dataset.targets[sample]))
            if shard.file.tell() >= most_bytes:
                shard.finish(sample + 1)
                shard, number = None, number + 1
            yield
        if shard is not None:
            shard.finish(sample + 1)
    finally:
        if shard is not None:
            shard.file.close()


def _repacked(count: int, first: int, repack_one: Callable[[int], Repacked], num_threads: int) -> Iterator[Repacked]:
    """What is stored of each of `count` samples from `first` on, in order."""
    waiting: deque[Future[Repacked]] = deque()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="dali_mixup pack") as pool:
        try:
            for number in range(first, count):
                waiting.append(pool.submit(repack_one, number))
                if len(waiting) > AHEAD * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _repack(dataset: ImageDataset, shrink: Shrink, pixels: bool, number: int) -> Repacked:
    if number in dataset.bad_files:
        return number, 0, dataset.bad_files[number]
    try:
        if isinstance(dataset, EncodedDataset):
            length, packed = _repack_encoded(dataset, shrink, pixels, number)
        else:
            image = dataset.pixels(number)
            length = image.nbytes
            packed = store_pixels(shrink_pixels(image, shrink)) if pixels else encode_pixels(image, shrink)
        return number, length, packed._replace(orientation=dataset.orientation(number))
    except UndecodableError as error:
        return number, 0, str(error)
    except OSError as error:
        return number, 0, why_unreadable(error)


def _repack_encoded(dataset: EncodedDataset, shrink: Shrink, pixels: bool, number: int) -> tuple[int, Packed]:
    """The length of an encoded image, and what is stored of it."""
    size = int(dataset.heights[number]), int(dataset.widths[number])
    with dataset.open(number) as source:
        data = source.read_at(0, most_bytes(*size))
    if pixels:
        return len(data), store_pixels(decode(data, size, shrink))
    return len(data), repack(data, size, Verdict(dataset.sizes.verdict[number]), shrink)


def _write_index(dataset: ImageDataset, folder: Path, settings: dict[str, Any]) -> None:
    """Put the pieces of all shards together, and remove them."""
    pieces = load_pieces(folder)
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in COLUMNS}
    numbers, rows, marks = (columns.pop(name) for name in ("number", "row_count", "mark_count"))
    if not len(numbers):
        raise DatasetError("nothing is left to pack: all images are bad")
    arrays = {
        **columns,
        "shard": np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece["number"]) for piece in pieces]),
        "first_row": np.cumsum(rows) - rows,
        "first_mark": np.cumsum(marks) - marks,
        **{name: np.concatenate([piece[name] for piece in pieces]) for name in ("rows", "marks")},
        "targets": dataset.targets[numbers],
    }
    known = _names(dataset)
    names = PathList(known[number] for number in numbers.tolist())
    arrays |= {"names": names.blob, "name_ends": names.ends}
    about = {
        "classes": dataset.classes,
        "pixels": settings["pixels"],
        "shards": [{"name": f"shard-{i:06}.tar", "bytes": int(piece["bytes"])} for i, piece in enumerate(pieces)],
        "settings": settings,
        "bytes_before": sum(int(piece["before"]) for piece in pieces),
        "bad": [sample for piece in pieces for sample in json.loads(str(piece["bad"]))],
    }
    save_index(folder, about, arrays)


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
    samples = len(np.load(out / "height.npy", mmap_mode="r"))
    with_segments = int(np.count_nonzero(np.load(out / "header.npy", mmap_mode="r")))
    return PackReport(
        samples=samples,
        cuttable=samples if settings["pixels"] else with_segments,
        bytes_before=about["bytes_before"],
        bytes_after=sum(path.stat().st_size for path in out.iterdir()),
        bad=[BadSample(*sample) for sample in about["bad"]],
    )


def _known_bad(dataset: ImageDataset) -> list[BadSample]:
    return [BadSample(number, dataset.name(number), why) for number, why in sorted(dataset.bad_files.items())]


def _names(dataset: ImageDataset) -> list[bytes]:
    """The samples' names below the folder of all of them; their numbers, if they have none."""
    if dataset.names is None:
        return [f"{number:09}".encode() for number in range(len(dataset))]
    below = dataset.names.below(dataset.names.common_folder())
    return [below.encoded(number).tobytes() for number in range(len(dataset))]


def _keys(dataset: ImageDataset) -> list[str]:
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
