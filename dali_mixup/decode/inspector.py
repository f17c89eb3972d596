"""Samples before DALI reads them: which ones it gets, and the pixels of the others, which Pillow decodes."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from dali_mixup.dataset.dataset import Encoded, EncodedDataset, ImageDataset, PixelDataset, ReadableDataset
from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.header import look
from dali_mixup.dataset.orientation import UPRIGHT, turn
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.pillow import UndecodableError, decode_source, size_changed
from dali_mixup.dataset.scan import scan
from dali_mixup.dataset.source import BytesSource, Source
from dali_mixup.dataset.verdict import Verdict, most_bytes, why_unreadable
from dali_mixup.decode.read_ahead import ReadAhead
from dali_mixup.decode.reasons import are_hopeless, too_many_pixels
from dali_mixup.decode.scaled import ScaledDecoder, scales_of
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.threads import in_runs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """What is known of some rows of a batch.

    Attributes:
        reasons: by row, why nobody decodes its file.
        pixels: by row, windows (h, w, 3) uint8 that DALI isn't to decode. All other rows are DALI's.
        encoded: by row, the bytes that DALI decodes, where it doesn't read them itself.
    """

    reasons: dict[int, str] = field(default_factory=dict)
    pixels: dict[int, np.ndarray] = field(default_factory=dict)
    encoded: dict[int, Encoded] = field(default_factory=dict)


class SizeInspector:
    """Looks at the sizes of samples, which is all that can be wrong with pixels in memory.

    Args:
        dataset: the samples.
        max_pixels: an image with more pixels, also after its resize, is bad.

    Attributes:
        ahead: how many samples to `start` before they are looked at.
    """

    max_pixels: int
    ahead = 0

    def __init__(self, dataset: ImageDataset, *, max_pixels: int):
        self._sized, self.max_pixels = dataset, max_pixels
        self.hopeless: np.ndarray = are_hopeless(dataset.heights, dataset.widths, max_pixels)

    def look(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """Look at the samples of these rows."""
        looks = Looks()
        indices = batch.indices.tolist()
        hopeless = self.hopeless[batch.indices].tolist()
        made, canvas = [("resized to", batch.windows.resized)], batch.windows.canvas
        if canvas is not None:
            made.append(("on a canvas of", canvas[:, 2:]))
        too_large = {}
        for done, sides in made:
            for row in np.flatnonzero(sides.astype(np.int64).prod(1) > self.max_pixels).tolist():
                height, width = sides[row].tolist()
                too_large[row] = too_many_pixels(height, width, self.max_pixels, done)
        for row in rows:
            if hopeless[row]:
                looks.reasons[row] = self.why_hopeless(indices[row])
            elif row in too_large:
                looks.reasons[row] = too_large[row]
        return looks

    def decode(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:  # noqa: ARG002
        """What Pillow makes of these rows: nothing, since nothing is encoded."""
        return Looks()

    def why_hopeless(self, index: int) -> str:
        """What the index says of a sample that it knows to be bad or too large."""
        return self._sized.bad_files.get(index) or too_many_pixels(*self._known_size(index), self.max_pixels)

    def why_bad(self, index: int, encoded: Encoded | None = None) -> str:  # noqa: ARG002
        """The reason for a sample that isn't what the index knows; "" if none."""
        return ""

    def start(self, batch: BatchPlan) -> None:
        """Begin to read a batch that will be looked at."""

    def drop(self) -> None:
        """Forget what was started, since it won't be looked at."""

    def remember(self) -> None:
        """Keep with the data set what was learnt of its samples."""

    def _known_size(self, index: int) -> tuple[int, int]:
        return int(self._sized.heights[index]), int(self._sized.widths[index])


class PixelInspector(SizeInspector):
    """Cuts the windows of pixels for DALI, which is to decode none of them.

    Args:
        dataset: the samples.
        max_pixels: an image with more pixels, also after its resize, is bad.
    """

    def __init__(self, dataset: PixelDataset, *, max_pixels: int):
        super().__init__(dataset, max_pixels=max_pixels)
        self.dataset = dataset

    def look(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """See `SizeInspector`."""
        rows = list(rows)
        looks = super().look(batch, rows)
        good = [row for row in rows if row not in looks.reasons]
        windows = self.dataset.cut(batch.indices[good], batch.windows.rows(good))
        looks.pixels.update(zip(good, map(np.ascontiguousarray, windows), strict=True))
        return looks


class Inspector(SizeInspector):
    """Looks at each sample before DALI does, and remembers what it saw.

    Args:
        dataset: the samples, as they were indexed.
        max_pixels: an image with more pixels, also after its resize, is bad.
        num_threads: that read samples, scan them and decode them with Pillow.
        scaled: the output's height and width, to decode large windows at a fraction of their size; what comes has the
            size of `windows.resized`. None for exact pixels.
        turns: (N,) uint8, EXIF orientations by which images are turned before anything else; None turns none. What is
            turned is Pillow's.
    """

    dataset: EncodedDataset
    num_threads: int
    ahead: int

    def __init__(
        self,
        dataset: EncodedDataset,
        *,
        max_pixels: int,
        num_threads: int,
        scaled: tuple[int, int] | None = None,
        turns: np.ndarray | None = None,
    ):
        super().__init__(dataset, max_pixels=max_pixels)
        self.dataset, self.num_threads = dataset, num_threads
        self._verdicts = dataset.sizes.verdict.copy()
        self._irregular: dict[int, str] = {}  # what `scan` says of files that are Pillow's because of it
        self._touched: dict[int, tuple[int, int]] = {}  # size and time of files that changed, with as many pixels
        self._learnt = False  # anything that isn't remembered yet
        self._pool: ThreadPoolExecutor | None = None
        self._scaled = ScaledDecoder(scaled) if scaled else None
        self._turns = np.full(len(dataset), UPRIGHT, np.uint8) if turns is None else turns
        self._ahead = None
        if isinstance(dataset, ReadableDataset) and dataset.ahead:
            self.ahead, self._ahead = dataset.ahead, ReadAhead(dataset, self._turns, num_threads=num_threads)

    def start(self, batch: BatchPlan) -> None:
        """See `SizeInspector`."""
        if self._ahead is not None:
            rows = range(len(batch.indices))
            hopeless = super().look(batch, rows).reasons
            self._ahead.start(batch, [row for row in rows if row not in hopeless])

    def drop(self) -> None:
        """See `SizeInspector`."""
        if self._ahead is not None:
            self._ahead.drop()

    def look(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """Look at the samples of these rows; reading, scans and Pillow's work are shared out among threads."""
        rows = list(rows)
        looks = super().look(batch, rows)
        rows = [row for row in rows if row not in looks.reasons]
        if isinstance(self.dataset, ReadableDataset):
            self._read(self.dataset, batch, rows, looks)
        elif isinstance(self.dataset, FileList):
            self._compare_stamps(self.dataset, batch, rows, looks)
        scales = scales_of(batch.windows) if self._scaled else np.ones(len(batch.indices), np.int64)
        is_dalis = (self._verdicts[batch.indices] == Verdict.DALI) & (self._turns[batch.indices] == UPRIGHT)
        is_others = (~is_dalis | (scales > 1)).tolist()
        work: dict[int, Future[np.ndarray | str | None]] = {}
        for row in rows:
            if is_others[row] and row not in looks.reasons:
                given = batch, row, looks.encoded.get(row), int(scales[row])
                work[row] = self._threads().submit(self._inspect, *given)
        self._collect(work, looks)
        return looks

    def decode(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """Have Pillow decode the windows of these rows."""
        looks = Looks()
        indices = batch.indices.tolist()
        work = {row: self._threads().submit(self._decode, indices[row], None, *_window(batch, row)) for row in rows}
        self._collect(work, looks)
        return looks

    def why_bad(self, index: int, encoded: Encoded | None = None) -> str:
        """The reason that a sample's header gives, against the size that the index knows; "" if none."""
        known = self._known_size(index)
        try:
            with self._open(index, encoded) as source:
                found = look(source)
        except OSError as error:
            return why_unreadable(error)
        if found.reason:
            return found.reason
        if found[:2] != known:
            return size_changed((found.height, found.width), known)
        self._verdicts[index] = found.verdict
        return too_many_pixels(*known, self.max_pixels)

    def remember(self) -> None:
        """Keep with the data set what was learnt of its samples, so that no later run scans them again."""
        if self._learnt:
            self._learnt = False
            unchanged = self._verdicts.copy()
            unchanged[list(self._touched)] = Verdict.BAD  # the index knows another sample
            self.dataset.remember(unchanged)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="dali_mixup inspector")
        return self._pool

    def _collect(self, work: Mapping[int, Future], looks: Looks) -> None:
        for row, future in work.items():
            found = future.result()
            if isinstance(found, str):
                looks.reasons[row] = found
            elif found is not None:
                looks.pixels[row] = found

    def _read(self, dataset: ReadableDataset, batch: BatchPlan, rows: list[int], looks: Looks) -> None:
        """Read the bytes of these rows in threads; none may differ from what the index knows but by its content."""
        if self._ahead is None:
            read = [(rows, self._read_rows(dataset, batch, rows))]
        else:
            taken = self._ahead.take(batch, rows)
            started = [(run, self._threads().submit(reading.result)) for run, reading in taken]
            read = [(run, future.result()) for run, future in started]
        for run, samples in read:
            for row, found in zip(run, samples, strict=True):
                index = int(batch.indices[row])
                if isinstance(found, Encoded):
                    looks.encoded[row] = found
                    found = self._why_changed(index, (len(found.data), 0), found) if found.whole else ""
                if found:
                    looks.reasons[row] = found

    def _read_rows(self, dataset: ReadableDataset, batch: BatchPlan, rows: list[int]) -> list[Encoded | str]:
        """What holds the windows of these rows; the whole, where a window is one of an image that is turned."""
        indices = batch.indices[rows]
        turned = (self._turns[indices] != UPRIGHT).tolist()
        upright = [row for row, is_turned in zip(rows, turned, strict=True) if not is_turned]
        found = dataset.read(batch.indices[upright].tolist(), batch.windows.rows(upright), self._share)
        if not any(turned):
            return found
        upright_ones, whole = iter(found), iter(dataset.read(indices[turned].tolist(), None, self._share))
        return [next(whole if is_turned else upright_ones) for is_turned in turned]

    def _share(self, work: Callable[[Sequence[int]], list[Any]], count: int) -> list[Any]:
        """`work` on the numbers below `count`, in threads."""
        return list(chain.from_iterable(in_runs(self._threads(), self.num_threads, work, count)))

    def _compare_stamps(self, dataset: FileList, batch: BatchPlan, rows: list[int], looks: Looks) -> None:
        """Find changed files; threads ask, since a folder on a network may take a millisecond for each."""
        indices = batch.indices[rows]
        numbers = indices.tolist()
        stamps = self._share(lambda run: [_stamp(dataset.paths, numbers[i]) for i in run], len(numbers))
        now = np.array(stamps, np.int64).reshape(-1, 2)
        known = np.stack([dataset.sizes.file_size[indices], dataset.sizes.mtime_ns[indices]], 1)
        for i in np.flatnonzero((now != known).any(1)).tolist():
            size, mtime_ns = now[i].tolist()
            if reason := self._why_changed(int(indices[i]), (size, mtime_ns)):
                looks.reasons[rows[i]] = reason

    def _why_changed(self, index: int, now: tuple[int, int], encoded: Encoded | None = None) -> str:
        """The reason for a sample that isn't the one that the index knows; "" if it has the same height and width."""
        sizes = self.dataset.sizes
        if now == self._touched.get(index, (int(sizes.file_size[index]), int(sizes.mtime_ns[index]))):
            return ""
        reason = self.why_bad(index, encoded)
        if not reason:
            self._touched[index] = now
        return reason

    def _inspect(self, batch: BatchPlan, row: int, encoded: Encoded | None, scale: int) -> np.ndarray | str | None:
        """Scan a sample that wasn't; the window or the reason for one that is Pillow's, None for one that is DALI's."""
        index = int(batch.indices[row])
        if self._turns[index] != UPRIGHT:
            return self._decode(index, encoded, *_window(batch, row))
        if self._verdicts[index] == Verdict.SCAN_FIRST:
            irregular = self._scan(index, encoded)
            if irregular:
                self._irregular[index] = irregular
            self._verdicts[index] = Verdict.PILLOW if irregular else Verdict.DALI
            self._learnt = True
        if self._verdicts[index] != Verdict.DALI:
            return self._decode(index, encoded, *_window(batch, row))
        return self._decode_scaled(batch, row, encoded, scale) if scale > 1 else None

    def _decode_scaled(self, batch: BatchPlan, row: int, encoded: Encoded | None, scale: int) -> np.ndarray | None:
        """A large window in its final size; None for one that DALI is to decode."""
        index = int(batch.indices[row])
        try:
            with self._open(index, encoded) as source:
                data = source.read_at(0, most_bytes(*self._known_size(index)))
        except OSError:
            return None
        corner = (0, 0) if encoded is None else (encoded.top, encoded.left)
        assert self._scaled is not None  # noqa: S101  only then a scale is above 1
        return self._scaled.decode(data, corner, batch.windows, row, scale)

    def _scan(self, index: int, encoded: Encoded | None) -> str:
        """What is irregular in a JPEG; "" for one that DALI may decode."""
        try:
            with self._open(index, encoded) as source:
                data = source.read_at(0, most_bytes(*self._known_size(index)) + 1)
        except OSError as error:
            return why_unreadable(error)
        return scan(data)

    def _decode(self, index: int, encoded: Encoded | None, anchor: list[int], shape: list[int]) -> np.ndarray | str:
        try:
            with self._open(index, encoded) as source:
                image = decode_source(source, self._known_size(index))
        except UndecodableError as error:
            return self._irregular.get(index) or str(error)
        except OSError as error:
            return self._irregular.get(index) or why_unreadable(error)
        image = turn(image, int(self._turns[index]))
        (top, left), (height, width) = anchor, shape
        return np.ascontiguousarray(image[top : top + height, left : left + width])

    def _open(self, index: int, encoded: Encoded | None) -> AbstractContextManager[Source]:
        """A sample, as it was read or as it is now."""
        return self.dataset.open(index) if encoded is None else nullcontext(BytesSource(bytes(encoded.data)))


def _stamp(paths: PathList, index: int) -> tuple[int, int]:
    """Size and time of a file as it is now; (-1, -1) for one that is missing."""
    try:
        status = os.stat(paths.encoded(index).tobytes())
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _window(batch: BatchPlan, row: int) -> tuple[list[int], list[int]]:
    return batch.windows.anchor[row].tolist(), batch.windows.shape[row].tolist()
