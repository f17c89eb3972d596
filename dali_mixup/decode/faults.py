"""Bad files: which ones they are, why, and what a Loader does about them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dali_mixup.dataset.header import probe
from dali_mixup.decode.reasons import in_words, too_many_pixels
from dali_mixup.decode.second_opinion import MemoryFile, decode_otherwise
from dali_mixup.errors import BadFileWarning, BadSample, BadSampleError
from dali_mixup.plan.plan import BatchPlan, Plan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedBatch:
    """A batch and what DALI reads for it.

    Attributes:
        plan: of the batch, with replacements where files are bad.
        paths: B uint8 (length,).
        in_memory: by row, files that DALI refuses and others read.
        bad: by row, files that nothing replaces. DALI is not to read any file of the batch.
    """

    plan: BatchPlan
    paths: list[np.ndarray]
    in_memory: dict[int, MemoryFile]
    bad: dict[int, BadSample]


class Faults:
    """The bad files that a Loader met, and what it does about them.

    Whether a sample is replaced, and by which one, depends on the files and on (seed, epoch, position) alone, not on
    what was met before: of a truncated file, windows above the damage are delivered. What is known of a file only saves
    the way through an error.

    Args:
        plan: knows the files and their sizes.
        device: where files are decoded.
        max_pixels: a larger image is bad.
        max_bad_fraction: more bad files than this part of the dataset are an error. None replaces nothing.

    Attributes:
        replaced: bad files by their number; at least one window of them gave way to another sample.
        rescued: files that DALI refuses and others read.
    """

    def __init__(self, plan: Plan, *, device: torch.device, max_pixels: int, max_bad_fraction: float | None):
        self.plan = plan
        self.device = device
        self.max_pixels = max_pixels
        self.max_bad_fraction = max_bad_fraction
        self.replaced: dict[int, BadSample] = {}
        self.rescued: dict[int, BadSample] = {}
        self._refused = {i: reason for i, reason in plan.dataset.bad_files.items() if plan.dataset.heights[i] > 0}
        # of the others a window failed, and each further one is tried by itself first
        self._suspects = set(self._refused)
        # size and time of files that changed and kept their height and width
        self._touched: dict[int, tuple[int, int]] = {}
        dataset = plan.dataset
        self._hopeless = (dataset.heights == 0) | (dataset.heights.astype(np.int64) * dataset.widths > max_pixels)
        if self.replaces:
            for index in np.flatnonzero(self._hopeless).tolist():
                self._report(self.replaced, index, f"{self._why_hopeless(index)}; replaced")
            self._check_fraction()

    @property
    def replaces(self) -> bool:
        """Whether bad files give way to others; otherwise they are errors."""
        return self.max_bad_fraction is not None

    def check(self, batch: BatchPlan, order: np.ndarray | None) -> CheckedBatch:
        """Find what DALI is to read for a batch, with others in the place of bad files where they are replaced.

        Args:
            batch: as it was planned.
            order: of its epoch.

        Raises:
            BadSampleError: more files are bad than `max_bad_fraction` allows.
        """
        replaced: dict[int, int] = {}
        candidates: dict[int, Iterator[int]] = {}
        messages: dict[tuple[int, int], str] = {}
        while True:
            checked = self._look(batch, messages)
            if not checked.bad or not self.replaces:
                return checked
            for row, (index, _, reason) in checked.bad.items():
                position = batch.step.first + row
                self._report(self.replaced, index, f"{reason}; replaced")
                following = candidates.setdefault(position, self.plan.replacements(batch.epoch, position, index))
                replaced[position] = next((i for i in following if i != index), -1)
            self._check_fraction()
            if -1 in replaced.values():
                raise BadSampleError(self.replaced.values(), "no file of the data set can be decoded:")
            batch = self.plan.batch(batch.epoch, order, batch.step, replaced)

    def examine(self, batch: CheckedBatch) -> list[BadSample]:
        """Look at each file of a failed batch by itself; the ones that don't decode."""
        indices = batch.plan.indices.tolist()
        rows = [row for row in range(len(indices)) if row not in batch.in_memory]
        reasons = {row: self._refused.get(indices[row]) or self._why_bad(indices[row]) for row in rows}
        reasons |= self._decode_alone(batch.plan, [row for row in rows if not reasons[row]])
        found = {indices[row]: reasons[row] for row in rows if reasons[row]}
        return [BadSample(i, self.plan.dataset.paths[i], reason) for i, reason in found.items()]

    def suspect(self, samples: Iterable[BadSample]) -> bool:
        """Have `check` try these files by themselves from now on; whether that is new for one of them."""
        new = {sample.number for sample in samples} - self._suspects
        self._suspects |= new
        return bool(new)

    def _look(self, batch: BatchPlan, messages: dict[tuple[int, int], str]) -> CheckedBatch:
        """What can be known of a batch's files without DALI's graph.

        `messages` remembers what was tried, by row and number.
        """
        dataset, indices = self.plan.dataset, batch.indices.tolist()
        checked = CheckedBatch(plan=batch, paths=[dataset.paths.encoded(i) for i in indices], in_memory={}, bad={})
        sizes = dataset.sizes
        known = zip(sizes.file_size[batch.indices].tolist(), sizes.mtime_ns[batch.indices].tolist(), strict=True)
        reasons = [
            self._why_hopeless(index) if hopeless else self._why_changed(index, path.tobytes(), size_and_time)
            for index, hopeless, path, size_and_time in zip(
                indices, self._hopeless[batch.indices].tolist(), checked.paths, known, strict=True
            )
        ]
        if self._suspects:
            suspects = [row for row, index in enumerate(indices) if index in self._suspects and not reasons[row]]
            messages |= {
                (row, indices[row]): self._refused[indices[row]] for row in suspects if indices[row] in self._refused
            }
            untried = [row for row in suspects if (row, indices[row]) not in messages]
            messages |= {(row, indices[row]): reason for row, reason in self._decode_alone(batch, untried).items()}
            for row in suspects:
                reasons[row] = messages[row, indices[row]]
                if reasons[row] and self.replaces and self._rescue(checked, row, reasons[row]):
                    reasons[row] = ""
        bad = (row for row, reason in enumerate(reasons) if reason)
        checked.bad.update({row: BadSample(indices[row], dataset.paths[indices[row]], reasons[row]) for row in bad})
        return checked

    def _rescue(self, checked: CheckedBatch, row: int, reason: str) -> bool:
        """Let others decode a file for DALI."""
        index = int(checked.plan.indices[row])
        opinion = decode_otherwise(checked.paths[row].tobytes(), self._known_size(index))
        if opinion is None:
            return False
        self._report(self.rescued, index, f"{reason}; decoded by {opinion.decoder}")
        checked.in_memory[row] = MemoryFile(opinion.image)
        checked.paths[row] = np.frombuffer(checked.in_memory[row].path, np.uint8)
        return True

    def _decode_alone(self, batch: BatchPlan, rows: list[int]) -> dict[int, str]:
        """Why DALI doesn't decode the windows of these rows, "" where it does."""
        if not rows:
            return {}
        from dali_mixup.decode.graph import decode_errors  # here, so that importing the package doesn't import DALI

        paths, indices = self.plan.dataset.paths, batch.indices.tolist()
        errors = decode_errors(
            [paths.encoded(indices[row]) for row in rows],
            batch.windows.anchor[rows],
            batch.windows.shape[rows],
            device_id=None if self.device.type == "cpu" else self.device.index,
        )
        return {row: in_words(message, paths[indices[row]]) for row, message in zip(rows, errors, strict=True)}

    def _report(self, kind: dict[int, BadSample], index: int, reason: str) -> None:
        """List a file, and warn the first time unless the index has."""
        known = index in self.replaced or index in self.rescued or index in self.plan.dataset.bad_files
        sample = BadSample(index, self.plan.dataset.paths[index], reason)
        if kind is self.replaced:
            self.rescued.pop(index, None)
        if index not in self.replaced:
            kind[index] = sample
        if not known:
            warnings.warn(f"sample {index}: {sample.path}: {reason}", BadFileWarning, stacklevel=2)

    def _check_fraction(self) -> None:
        limit, total = self.max_bad_fraction or 0.0, len(self.plan.dataset)
        if len(self.replaced) > limit * total:
            raise BadSampleError(
                self.replaced.values(),
                f"{len(self.replaced)} of {total} files can't be decoded, more than max_bad_fraction={limit} allows; "
                "repair them, leave them out with exclude=, or allow more:",
            )

    def _known_size(self, index: int) -> tuple[int, int]:
        return int(self.plan.dataset.heights[index]), int(self.plan.dataset.widths[index])

    def _why_hopeless(self, index: int) -> str:
        """What the index says of a file that it knows to be bad or too large."""
        return self.plan.dataset.bad_files.get(index) or too_many_pixels(*self._known_size(index), self.max_pixels)

    def _why_changed(self, index: int, path: bytes, known: tuple[int, int]) -> str:
        """The reason for a file without the size and time that the index knows.

        "" if it still has the same height and width.
        """
        try:
            status = os.stat(path)
        except OSError:
            return self._why_bad(index)
        now = status.st_size, status.st_mtime_ns
        if now == known or now == self._touched.get(index):
            return ""
        reason = self._why_bad(index)
        if not reason:
            self._touched[index] = now
        return reason

    def _why_bad(self, index: int) -> str:
        """The reason that a file's header gives, against the size that the index knows; "" if none."""
        header, known = probe(self.plan.dataset.paths.encoded(index).tobytes()), self._known_size(index)
        if header.reason:
            return header.reason
        if (header.height, header.width) != known:
            return f"changed since it was indexed: {header.height} x {header.width} pixels, was {known[0]} x {known[1]}"
        return too_many_pixels(*known, self.max_pixels)
