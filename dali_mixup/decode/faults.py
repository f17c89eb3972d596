"""Bad files: which ones a Loader met, and what it does about them."""

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dali_mixup.dataset.dataset import Encoded, ImageDataset
from dali_mixup.dataset.files import FileList
from dali_mixup.decode.files_to_decode import files_to_decode
from dali_mixup.decode.inspector import Looks, SizeInspector
from dali_mixup.decode.reasons import are_hopeless, too_many_pixels
from dali_mixup.errors import BadFileWarning, BadSample, BadSampleError
from dali_mixup.plan.plan import BatchPlan, Plan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedBatch:
    """A batch and what DALI doesn't decode of it.

    Attributes:
        plan: of the batch, with replacements where files are bad.
        pixels: by row, windows (h, w, 3) uint8 that DALI isn't to decode.
        encoded: by row, the bytes that DALI decodes, where it doesn't read them itself.
        bad: by row, files that nothing replaces. DALI is not to read any file of the batch.
        news: replaced files of which nobody had warned when the batch was checked.
    """

    plan: BatchPlan
    pixels: dict[int, np.ndarray]
    encoded: dict[int, Encoded]
    bad: dict[int, BadSample]
    news: list[BadSample]


class Faults:
    """The bad files that a Loader met, and what it does about them.

    Whether a sample is replaced, and by which one, depends on the files and on (seed, epoch, position) alone, not on
    what was met before. What is known of a file only saves the way through an error of DALI's.

    Args:
        plan: knows the files and their sizes.
        inspector: looks at files before DALI does.
        device_id: the GPU that decodes; None for the CPU.
        max_bad_fraction: more bad files than this part of the dataset are an error. None replaces nothing.

    Attributes:
        replaced: bad files by their number; at least one window of them gave way to another sample.
    """

    plan: Plan
    inspector: SizeInspector

    def __init__(self, plan: Plan, inspector: SizeInspector, *, device_id: int | None, max_bad_fraction: float | None):
        self.plan, self.inspector = plan, inspector
        self.device_id = device_id
        self.max_bad_fraction = max_bad_fraction
        self.replaced: dict[int, BadSample] = {}
        self._suspects: set[int] = set()  # DALI refused a window of them, and each further one is tried by itself first
        self._said = set(plan.dataset.bad_files)  # of which a warning has told; the index did of these
        if self.replaces:
            for index in np.flatnonzero(inspector.hopeless).tolist():
                self.warn_of(self._report(index, inspector.why_hopeless(index)))
            self._check_fraction()

    def take_over(self, other: "Faults") -> None:
        """Know what another one has met."""
        self.replaced |= other.replaced
        self._suspects |= other._suspects
        self._said |= other._said

    @property
    def replaces(self) -> bool:
        """Whether bad files give way to others; otherwise they are errors."""
        return self.max_bad_fraction is not None

    def check(self, batch: BatchPlan, order: np.ndarray | None) -> CheckedBatch:
        """Find what DALI is to decode of a batch, with others in the place of bad files where they are replaced.

        It runs ahead, in a thread; so warnings are left to who takes the batch, in whose time the user's filters hold.

        Args:
            batch: as it was planned.
            order: of its epoch.

        Raises:
            BadSampleError: more files are bad than `max_bad_fraction` allows.
        """
        candidates: dict[int, Iterator[int]] = {}
        replaced: dict[int, int] = {}  # by position
        pixels: dict[int, np.ndarray] = {}
        encoded: dict[int, Encoded] = {}
        news: list[BadSample] = []
        rows: Iterable[int] = range(len(batch.indices))
        while True:
            looks = self._look(batch, rows)
            pixels |= looks.pixels
            encoded |= looks.encoded
            if not looks.reasons or not self.replaces:
                bad = self._samples(batch, looks.reasons)
                return CheckedBatch(plan=batch, pixels=pixels, encoded=encoded, bad=bad, news=news)
            indices = batch.indices.tolist()
            for row, reason in looks.reasons.items():
                index, position = indices[row], batch.step.first + row
                news += self._report(index, reason)
                following = candidates.setdefault(position, self.plan.replacements(batch.epoch, position, index))
                replaced[position] = next((i for i in following if i != index), -1)
            try:
                self._check_fraction()
                if -1 in replaced.values():
                    raise BadSampleError(self.replaced.values(), "no file of the data set can be decoded:")
            except BadSampleError:
                self.warn_of(news)
                raise
            batch, rows = self.plan.batch(batch.epoch, order, batch.step, replaced), list(looks.reasons)

    def find_refused(self, batch: CheckedBatch) -> list[int]:
        """The numbers of the files of a failed batch that DALI doesn't decode by themselves, or that have changed."""
        indices, rows = batch.plan.indices.tolist(), _rows_of_dali(batch)
        changed = [row for row in rows if self.inspector.why_bad(indices[row], batch.encoded.get(row))]
        refused = self._find_refused(batch.plan, [row for row in rows if row not in changed], batch.encoded)
        return [indices[row] for row in (*changed, *refused)]

    def name_bad(self, batch: CheckedBatch) -> list[BadSample]:
        """All bad files of a batch, also those that nobody has tried to decode because others are bad."""
        looks = self.inspector.decode(batch.plan, self._find_refused(batch.plan, _rows_of_dali(batch), batch.encoded))
        found = batch.bad | self._samples(batch.plan, looks.reasons)
        return [sample for _, sample in sorted(found.items())]

    def warn_of(self, samples: Iterable[BadSample]) -> None:
        """Warn of replaced files, once of each."""
        for number, path, reason in samples:
            if number not in self._said:
                self._said.add(number)
                warnings.warn(f"sample {number}: {path}: {reason}", BadFileWarning, stacklevel=2)

    def suspect(self, indices: Iterable[int]) -> bool:
        """Have `check` try these files by themselves from now on; whether that is new for one of them."""
        new = set(indices) - self._suspects
        self._suspects |= new
        return bool(new)

    def _samples(self, batch: BatchPlan, reasons: Mapping[int, str]) -> dict[int, BadSample]:
        name, indices = self.plan.dataset.name, batch.indices.tolist()
        return {row: BadSample(indices[row], name(indices[row]), reason) for row, reason in reasons.items()}

    def _look(self, batch: BatchPlan, rows: Iterable[int]) -> Looks:
        """What is known of these rows, after those that DALI has refused before were tried by themselves."""
        looks = self.inspector.look(batch, rows)
        if self._suspects:
            indices = batch.indices.tolist()
            known = looks.reasons.keys() | looks.pixels.keys()
            tried = [row for row in rows if indices[row] in self._suspects and row not in known]
            found = self.inspector.decode(batch, self._find_refused(batch, tried, looks.encoded))
            looks.reasons.update(found.reasons)
            looks.pixels.update(found.pixels)
        return looks

    def _find_refused(self, batch: BatchPlan, rows: list[int], encoded: Mapping[int, Encoded]) -> list[int]:
        """Those of these rows whose windows DALI doesn't decode."""
        if not rows:
            return []
        from dali_mixup.decode.graph import decode_errors  # here, so that importing the package doesn't import DALI

        errors = decode_errors(
            files_to_decode(self.plan.dataset, batch, encoded, rows),
            in_memory=not isinstance(self.plan.dataset, FileList),
            device_id=self.device_id,
        )
        return [row for row, error in zip(rows, errors, strict=True) if error]

    def _report(self, index: int, reason: str) -> list[BadSample]:
        """List a file; what to warn of: it, unless that was done."""
        if index not in self.replaced:
            self.replaced[index] = BadSample(index, self.plan.dataset.name(index), f"{reason}; replaced")
        return [] if index in self._said else [self.replaced[index]]

    def _check_fraction(self) -> None:
        if self.max_bad_fraction is not None:
            _check_fraction(self.replaced.values(), self.plan.dataset, self.max_bad_fraction)


def check_few_are_bad(dataset: ImageDataset, *, max_pixels: int, max_bad_fraction: float) -> None:
    """Raise a BadSampleError if more of a dataset is bad, by what is known of it beforehand, than may be replaced."""
    hopeless = np.flatnonzero(are_hopeless(dataset.heights, dataset.widths, max_pixels)).tolist()
    bad = [
        BadSample(
            index,
            dataset.name(index),
            dataset.bad_files.get(index)
            or too_many_pixels(int(dataset.heights[index]), int(dataset.widths[index]), max_pixels),
        )
        for index in hopeless
    ]
    _check_fraction(bad, dataset, max_bad_fraction)


def _check_fraction(bad: Collection[BadSample], dataset: ImageDataset, limit: float) -> None:
    total = len(dataset)
    if len(bad) > limit * total:
        raise BadSampleError(
            bad,
            f"{len(bad)} of {total} files can't be decoded, more than max_bad_fraction={limit} allows; "
            f"repair them, {dataset.leave_out}, or allow more:",
        )


def _rows_of_dali(batch: CheckedBatch) -> list[int]:
    return [row for row in range(len(batch.plan.indices)) if row not in batch.pixels and row not in batch.bad]
