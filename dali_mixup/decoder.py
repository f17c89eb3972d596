"""Planned batches through the DALI graph, in order, prepared ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, count
from typing import TYPE_CHECKING

import numpy as np
import torch

from dali_mixup.faults import find_bad_samples
from dali_mixup.geometry import CropPad
from dali_mixup.plan import BatchPlan, Plan
from dali_mixup.randomness import Purpose, keyed_generator

if TYPE_CHECKING:
    from nvidia.dali.pipeline import Pipeline


class Decoder:
    """Delivers `(plan, uint8 images)` batch by batch from any place in any epoch.

    Without random operators in the graph it runs on into the next epoch, so that an epoch's first batch is ready when the last
    one ends. With `augment` the graph is built anew for each epoch: its random numbers then depend on (seed, epoch) alone.

    Args:
        plan: what comes when.
        device: where images are decoded.
        num_threads: DALI's threads.
        prefetch: batches that DALI prepares ahead.
        max_pixels: a larger image is a bad sample.
    """

    def __init__(self, plan: Plan, *, device: torch.device, num_threads: int, prefetch: int, max_pixels: int):
        self.plan = plan
        self.device = device
        self.num_threads = num_threads
        self.prefetch = prefetch
        self.max_pixels = max_pixels
        self._graph: Pipeline | None = None
        self._planned: Iterator[BatchPlan] = iter(())
        self._in_flight: deque[BatchPlan] = deque()

    def seek(self, epoch: int, position: int) -> None:
        """Make the batch at a global position of an epoch the next one."""
        step = next(self.plan.steps(position), None)
        goes_on = self._graph is not None and self.plan.pipeline.augment is None and self._in_flight
        if goes_on and step is not None and (self._in_flight[0].epoch, self._in_flight[0].first) == (epoch, step[0]):
            return
        self.close()
        self._planned = self._plans_from(epoch, position)

    @property
    def windows_only(self) -> bool:
        """Whether `next` gives windows for the stage to resize: DALI's own resize costs ten times as much on the CPU."""
        pipeline = self.plan.pipeline
        return self.device.type == "cpu" and pipeline.augment is None and not isinstance(pipeline.geometry, CropPad)

    def next(self) -> tuple[BatchPlan, torch.Tensor | list[torch.Tensor]]:
        """The next batch: its plan, and its images on the device.

        Returns:
            The plan, and uint8 (B, H, W, 3) images, cropped, resized and flipped; or with `windows_only` a list of B uint8 (h, w, 3).

        Raises:
            BadSampleError: files that can't be decoded. `seek` goes on from any place afterwards.
        """
        if self._graph is None:
            self._graph = self._build()
        try:
            (images,) = self._graph.run()
        except (RuntimeError, StopIteration) as error:
            failed = self._in_flight[0]
            self.close()  # random operators are out of step after an error
            if bad := find_bad_samples(self.plan, failed, device=self.device, max_pixels=self.max_pixels):
                raise bad from error
            raise
        batch = self._in_flight.popleft()
        if self.windows_only:
            return batch, [torch.from_numpy(np.asarray(image)) for image in images]
        return batch, torch.from_dlpack(images.as_tensor())

    def close(self) -> None:
        """Drop the graph and what it prepared."""
        self._graph = None
        self._in_flight.clear()

    def _plans_from(self, epoch: int, position: int) -> Iterator[BatchPlan]:
        for this_epoch in count(epoch):
            order = self.plan.order(this_epoch)
            for step in self.plan.steps(position):
                yield self.plan.batch(this_epoch, order, step)
            if self.plan.pipeline.augment is not None:
                return
            position = 0

    def _build(self) -> Pipeline:
        from dali_mixup.graph import build_graph  # here, so that importing the package doesn't import DALI

        first = next(self._planned)
        self._planned = chain([first], self._planned)
        draw = keyed_generator(self.plan.seed, Purpose.GRAPH, first.epoch, first.first)
        return build_graph(
            self.plan.pipeline,
            self._feed,
            windows_only=self.windows_only,
            batch_size=self.plan.batch_size,
            device_id=None if self.device.type == "cpu" else self.device.index,
            num_threads=self.num_threads,
            prefetch=self.prefetch,
            seed=int(draw.integers(2**31)),
        )

    def _is_hopeless(self, planned: BatchPlan) -> bool:
        """Whether the index knows a file of the batch to be bad or too large."""
        dataset = self.plan.dataset
        pixels = dataset.heights[planned.indices].astype(np.int64) * dataset.widths[planned.indices]
        return bool(((pixels == 0) | (pixels > self.max_pixels)).any())

    def _feed(self, _info: object) -> dict[str, list[np.ndarray] | np.ndarray]:
        """DALI asks for the next batch's inputs, in order."""
        planned = next(self._planned)  # its StopIteration ends DALI's epoch
        self._in_flight.append(planned)
        if self._is_hopeless(planned):  # nothing of it is read or allocated; the batches before it are still delivered
            raise StopIteration
        paths, windows = self.plan.dataset.paths, planned.windows
        return {
            "path": [paths.encoded(i) for i in planned.indices],
            "anchor": windows.anchor,
            "shape": windows.shape,
            "offset": windows.offset,
            "roi": windows.roi(self.plan.pipeline.size),
            "flip": planned.flips.astype(np.int32),
        }
