"""Samples that are far away, asked for some batches before they are looked at."""

from itertools import chain

import numpy as np

from dali_mixup.dataset.dataset import Encoded, ReadableDataset, Reading
from dali_mixup.dataset.orientation import UPRIGHT
from dali_mixup.plan.plan import BatchPlan

Runs = list[tuple[list[int], Reading]]  # rows of a batch, and what brings them


class ReadAhead:
    """Knows what was begun to be read, by the batch that needs it.

    Args:
        dataset: which can `start` to read.
        turns: (N,) uint8, EXIF orientations by which images are turned; of these the whole is read.
        num_threads: that take what was read, each its own rows.
    """

    dataset: ReadableDataset
    num_threads: int

    def __init__(self, dataset: ReadableDataset, turns: np.ndarray, *, num_threads: int):
        self.dataset, self.num_threads = dataset, num_threads
        self._turns = turns
        self._started: dict[BatchPlan, Runs] = {}
        self._taken: Runs = []

    def start(self, batch: BatchPlan, rows: list[int]) -> None:
        """Begin to read these rows of a batch."""
        self._started[batch] = self._start(batch, rows)

    def take(self, batch: BatchPlan, rows: list[int]) -> Runs:
        """What was begun for a batch; for one that nobody knew of, it begins now."""
        self._taken = self._started.pop(batch, None) or self._start(batch, rows)
        return self._taken

    def drop(self) -> None:
        """Nobody waits for what was begun, whichever thread begins or takes something meanwhile."""
        begun = [self._taken, *(self._started.pop(batch, []) for batch in list(self._started))]
        for _, reading in chain.from_iterable(begun):
            reading.drop()

    def _start(self, batch: BatchPlan, rows: list[int]) -> Runs:
        shares = (rows[k :: self.num_threads] for k in range(self.num_threads))
        return [(run, self._start_run(batch, run)) for run in shares if run]

    def _start_run(self, batch: BatchPlan, run: list[int]) -> Reading:
        turned = (self._turns[batch.indices[run]] != UPRIGHT).tolist()
        upright = [row for row, is_turned in zip(run, turned, strict=True) if not is_turned]
        reading = self.dataset.start(batch.indices[upright].tolist(), batch.windows.rows(upright))
        if not any(turned):
            return reading
        return _Joined(turned, reading, self.dataset.start(batch.indices[run][turned].tolist()))


class _Joined:
    """Windows of upright images and whole images that are turned, in the order of the rows."""

    def __init__(self, turned: list[bool], upright: Reading, whole: Reading):
        self._turned, self._upright, self._whole = turned, upright, whole

    def result(self) -> list[Encoded | str]:
        found, whole = iter(self._upright.result()), iter(self._whole.result())
        return [next(whole if is_turned else found) for is_turned in self._turned]

    def drop(self) -> None:
        self._upright.drop()
        self._whole.drop()
