"""Files before DALI reads them: which ones it gets, and the pixels of the others, which Pillow decodes."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.header import probe
from dali_mixup.dataset.pillow import UndecodableError, decode_with_pillow
from dali_mixup.dataset.scan import scan
from dali_mixup.dataset.sizes import remember_verdicts
from dali_mixup.dataset.verdict import Verdict, most_bytes
from dali_mixup.decode.reasons import are_hopeless, too_many_pixels
from dali_mixup.plan.plan import BatchPlan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """What is known of some rows of a batch.

    Attributes:
        reasons: by row, why nobody decodes its file.
        pixels: by row, windows (h, w, 3) uint8 that Pillow decoded. All other rows are DALI's.
    """

    reasons: dict[int, str] = field(default_factory=dict)
    pixels: dict[int, np.ndarray] = field(default_factory=dict)


class Inspector:
    """Looks at each file before DALI does, and remembers what it saw.

    Args:
        dataset: the files, as they were indexed.
        max_pixels: an image with more pixels, also after its resize, is bad.
        num_threads: that scan files and decode them with Pillow.
    """

    def __init__(self, dataset: FileList, *, max_pixels: int, num_threads: int):
        self.dataset, self.max_pixels, self.num_threads = dataset, max_pixels, num_threads
        self.hopeless = are_hopeless(dataset.heights, dataset.widths, max_pixels)
        self._verdicts = dataset.sizes.verdict.copy()
        self._irregular: dict[int, str] = {}  # what `scan` says of files that are Pillow's because of it
        self._touched: dict[int, tuple[int, int]] = {}  # size and time of files that changed, with as many pixels
        self._learnt = False  # anything that isn't remembered yet
        self._pool: ThreadPoolExecutor | None = None

    def look(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """Look at the files of these rows; scans and Pillow's work are shared out among threads."""
        looks = Looks()
        indices, rows = batch.indices.tolist(), list(rows)
        hopeless, stamps = self.hopeless[batch.indices].tolist(), self._stamps(batch.indices)
        too_large = (batch.windows.resized.astype(np.int64).prod(1) > self.max_pixels).tolist()
        work: dict[int, Future[np.ndarray | str | None]] = {}
        for row in rows:
            index = indices[row]
            reason = self.why_hopeless(index) if hopeless[row] else self._why_changed(index, stamps[row])
            if too_large[row] and not reason:
                height, width = batch.windows.resized[row].tolist()
                reason = too_many_pixels(height, width, self.max_pixels, "resized to")
            if reason:
                looks.reasons[row] = reason
            elif self._verdicts[index] != Verdict.DALI:
                work[row] = self._threads().submit(self._inspect, index, *_window(batch, row))
        self._collect(work, looks)
        return looks

    def decode(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """Have Pillow decode the windows of these rows."""
        looks = Looks()
        indices = batch.indices.tolist()
        work = {row: self._threads().submit(self._decode, indices[row], *_window(batch, row)) for row in rows}
        self._collect(work, looks)
        return looks

    def why_hopeless(self, index: int) -> str:
        """What the index says of a file that it knows to be bad or too large."""
        return self.dataset.bad_files.get(index) or too_many_pixels(*self._known_size(index), self.max_pixels)

    def why_bad(self, index: int) -> str:
        """The reason that a file's header gives, against the size that the index knows; "" if none."""
        header, known = probe(self.dataset.paths.encoded(index).tobytes()), self._known_size(index)
        if header.reason:
            return header.reason
        if (header.height, header.width) != known:
            return f"changed since it was indexed: {header.height} x {header.width} pixels, was {known[0]} x {known[1]}"
        self._verdicts[index] = header.verdict
        return too_many_pixels(*known, self.max_pixels)

    def remember(self) -> None:
        """Keep in the cache of sizes what was learnt of files, so that no later run scans them again."""
        if self._learnt:
            self._learnt = False
            unchanged = self._verdicts.copy()
            unchanged[list(self._touched)] = Verdict.BAD  # the index knows another file
            dataset = self.dataset
            remember_verdicts(dataset.paths, dataset.sizes, unchanged, cache_folder=dataset.cache_folder)

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

    def _inspect(self, index: int, anchor: list[int], shape: list[int]) -> np.ndarray | str | None:
        """Scan a file that wasn't; the window or the reason for one that is Pillow's, None for one that is DALI's."""
        if self._verdicts[index] == Verdict.SCAN_FIRST:
            irregular = scan_file(self.dataset.paths.encoded(index).tobytes(), self._known_size(index))
            if irregular:
                self._irregular[index] = irregular
            self._verdicts[index] = Verdict.PILLOW if irregular else Verdict.DALI
            self._learnt = True
        return None if self._verdicts[index] == Verdict.DALI else self._decode(index, anchor, shape)

    def _decode(self, index: int, anchor: list[int], shape: list[int]) -> np.ndarray | str:
        try:
            image = decode_with_pillow(self.dataset.paths.encoded(index).tobytes(), self._known_size(index))
        except UndecodableError as error:
            return self._irregular.get(index) or str(error)
        (top, left), (height, width) = anchor, shape
        return np.ascontiguousarray(image[top : top + height, left : left + width])

    def _known_size(self, index: int) -> tuple[int, int]:
        return int(self.dataset.heights[index]), int(self.dataset.widths[index])

    def _stamps(self, indices: np.ndarray) -> list[tuple[int, int]]:
        """File sizes and times that the index knows."""
        sizes = self.dataset.sizes
        return list(zip(sizes.file_size[indices].tolist(), sizes.mtime_ns[indices].tolist(), strict=True))

    def _why_changed(self, index: int, known: tuple[int, int]) -> str:
        """The reason for a file that isn't the one that the index knows; "" if it has the same height and width."""
        try:
            status = os.stat(self.dataset.paths.encoded(index).tobytes())
        except OSError:
            return self.why_bad(index)
        now = status.st_size, status.st_mtime_ns
        if now == self._touched.get(index, known):
            return ""
        reason = self.why_bad(index)
        if not reason:
            self._touched[index] = now
        return reason


def _window(batch: BatchPlan, row: int) -> tuple[list[int], list[int]]:
    return batch.windows.anchor[row].tolist(), batch.windows.shape[row].tolist()


def scan_file(path: bytes, size: tuple[int, int]) -> str:
    """What is irregular in a JPEG of this height and width; "" for one that DALI may decode."""
    try:
        with open(path, "rb") as file:
            data = file.read(most_bytes(*size) + 1)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return scan(data)
