"""Bad files: which ones they are, why, and what a Loader does about them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from dali_mixup.errors import BadFileWarning, BadSample, BadSampleError
from dali_mixup.header import probe
from dali_mixup.plan import BatchPlan, Plan
from dali_mixup.second_opinion import MemoryFile, decode_otherwise

MAX_PIXELS = 100_000_000  # a larger image is a bad sample unless the Loader is told otherwise
ERROR_CODES = {"#3": "damaged or truncated image data", "#4": "not an image that DALI decodes"}


@dataclass(frozen=True, slots=True, eq=False)
class OpenFiles:
    """What DALI reads for a batch.

    Attributes:
        paths: B uint8 (length,).
        in_memory: what some of the paths lead to.
    """

    paths: list[np.ndarray]
    in_memory: list[MemoryFile]


class Faults:
    """The bad files that a Loader met.

    Args:
        plan: knows the files and their sizes.
        device: where files are decoded.
        max_pixels: a larger image is bad.
        max_bad_fraction: with more bad files than this part of the dataset, `replace` raises. None replaces nothing.

    Attributes:
        replaced: bad files by their number; the plan gives others in their places.
        rescued: files that DALI refuses and others read.
    """

    def __init__(self, plan: Plan, *, device: torch.device, max_pixels: int, max_bad_fraction: float | None):
        self.plan = plan
        self.device = device
        self.max_pixels = max_pixels
        self.max_bad_fraction = max_bad_fraction
        self.replaced: dict[int, BadSample] = {}
        self.rescued: dict[int, BadSample] = {}
        self._touched: dict[int, tuple[int, int]] = {}  # size and time of files that changed and kept their height and width
        dataset = plan.dataset
        self._hopeless = (dataset.heights == 0) | (dataset.heights.astype(np.int64) * dataset.widths > max_pixels)
        if self.replaces:
            self.replace(BadSample(i, dataset.paths[i], self._why_hopeless(i)) for i in np.flatnonzero(self._hopeless).tolist())

    @property
    def replaces(self) -> bool:
        """Whether bad files give way to others; otherwise they are errors."""
        return self.max_bad_fraction is not None

    def open(self, batch: BatchPlan) -> OpenFiles:
        """What DALI is to read for a batch.

        Raises:
            BadSampleError: files that are bad for sure, so that nothing need be read or allocated for them.
        """
        dataset, indices = self.plan.dataset, batch.indices.tolist()
        opened = OpenFiles([dataset.paths.encoded(i) for i in indices], [])
        bad = []
        hopeless = self._hopeless[batch.indices].tolist()
        for row, index in enumerate(indices):
            path = opened.paths[row].tobytes()
            if reason := self._why_hopeless(index) if hopeless[row] else self._why_changed(index, path):
                bad.append(BadSample(index, dataset.paths[index], reason))
            elif index in self.rescued and not bad:
                if opinion := decode_otherwise(path, self._known_size(index)):
                    opened.in_memory.append(MemoryFile(opinion.image))
                    opened.paths[row] = np.frombuffer(opened.in_memory[-1].path, np.uint8)
                else:
                    bad.append(self.rescued[index])
        if bad:
            raise BadSampleError(bad)
        return opened

    def examine(self, batch: BatchPlan) -> list[BadSample]:
        """Look at each file of a failed batch by itself; the ones that don't decode."""
        from dali_mixup.graph import decode_errors  # here, so that importing the package doesn't import DALI

        dataset, indices = self.plan.dataset, batch.indices.tolist()
        reasons = [
            "decoded otherwise" if i in self.rescued else why_bad(dataset.paths[i], self._known_size(i), self.max_pixels) for i in indices
        ]
        rows = [row for row, reason in enumerate(reasons) if not reason]
        errors = decode_errors(
            [dataset.paths.encoded(indices[row]) for row in rows],
            batch.windows.anchor[rows],
            batch.windows.shape[rows],
            device_id=None if self.device.type == "cpu" else self.device.index,
        )
        for row, message in zip(rows, errors, strict=True):
            reasons[row] = _in_words(message, dataset.paths[indices[row]])
        found = {i: reason for i, reason in zip(indices, reasons, strict=True) if reason and i not in self.rescued}
        return [BadSample(i, dataset.paths[i], reason) for i, reason in found.items()]

    def replace(self, samples: Iterable[BadSample]) -> None:
        """Remember bad files, and warn of each that the index didn't warn of.

        Raises:
            BadSampleError: more files are bad than `max_bad_fraction` allows.
        """
        dataset = self.plan.dataset
        for index, path, reason in samples:
            opinion = (
                None if index in self.rescued or self._hopeless[index] else decode_otherwise(os.fsencode(path), self._known_size(index))
            )
            if opinion:
                self.rescued[index] = BadSample(index, path, f"{reason}; decoded by {opinion.decoder}")
            else:
                self.rescued.pop(index, None)
                self.replaced[index] = BadSample(index, path, f"{reason}; replaced")
            if index not in dataset.bad_files:
                sample = self.rescued.get(index) or self.replaced[index]
                warnings.warn(f"sample {index}: {path}: {sample.reason}", BadFileWarning, stacklevel=2)
        limit = self.max_bad_fraction or 0.0
        if len(self.replaced) > limit * len(dataset):
            raise BadSampleError(
                self.replaced.values(),
                f"{len(self.replaced)} of {len(dataset)} files can't be decoded, more than max_bad_fraction={limit} allows; "
                "repair them, leave them out with exclude=, or allow more:",
            )

    def _known_size(self, index: int) -> tuple[int, int]:
        return int(self.plan.dataset.heights[index]), int(self.plan.dataset.widths[index])

    def _why_hopeless(self, index: int) -> str:
        """What the index says of a file that it knows to be bad or too large."""
        return self.plan.dataset.bad_files.get(index) or too_many_pixels(*self._known_size(index), self.max_pixels)

    def _why_changed(self, index: int, path: bytes) -> str:
        """The reason for a file that isn't the one that was indexed; "" if it is, or has the same height and width."""
        sizes = self.plan.dataset.sizes
        try:
            status = os.stat(path)
        except OSError:
            return why_bad(os.fsdecode(path), self._known_size(index), self.max_pixels)
        now = status.st_size, status.st_mtime_ns
        if now == (sizes.file_size[index], sizes.mtime_ns[index]) or now == self._touched.get(index):
            return ""
        reason = why_bad(os.fsdecode(path), self._known_size(index), self.max_pixels)
        if not reason:
            self._touched[index] = now
        return reason


def why_bad(path: str, known: tuple[int, int], max_pixels: int) -> str:
    """The reason that a file's header gives, against the (height, width) that the index knows; "" if none."""
    header = probe(os.fsencode(path))
    if header.reason:
        return header.reason
    if (header.height, header.width) != known:
        return f"changed since it was indexed: {header.height} x {header.width} pixels, was {known[0]} x {known[1]}"
    return too_many_pixels(header.height, header.width, max_pixels)


def too_many_pixels(height: int, width: int, max_pixels: int) -> str:
    """The reason for an image above the limit; "" below it."""
    return f"too many pixels: {height} x {width} is more than max_pixels={max_pixels}" if height * width > max_pixels else ""


def _in_words(message: str, path: str) -> str:
    """DALI's message for one file as a reason; "" for none."""
    if not message:
        return ""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2))
            ending = file.read()
            file.seek(0)
            if file.read(2) == b"\xff\xd8" and ending != b"\xff\xd9":
                return f"truncated at byte {size}: its end marker is missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    code = re.search(r"'(#\d)'", message)
    return ERROR_CODES.get(code[1], message) if code else message.strip().splitlines()[-1]
