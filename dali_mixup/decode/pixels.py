"""Planned batches of images that need no decoding, in order, prepared ahead."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

import numpy as np
import torch

from dali_mixup.ahead import run_ahead
from dali_mixup.buffers import BufferPool
from dali_mixup.dataset.dataset import PixelDataset
from dali_mixup.decode.faults import CheckedBatch, Faults
from dali_mixup.decode.gather import gather_on_device, gather_on_host
from dali_mixup.decode.turns import Decoded, Images, Turn, check_batches, stands_at, turns_from
from dali_mixup.errors import BadSampleError
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.placement import send
from dali_mixup.plan.plan import BatchPlan, Plan
from dali_mixup.plan.state import Cursor
from dali_mixup.threads import in_runs, single_threaded_pool

SMALL = 2**14  # pixels of an image; to cut a larger one by itself costs less than to find its pixels one by one


def are_gathered(dataset: PixelDataset, pipeline: ImagePipeline, device: torch.device) -> bool:
    """Whether all images of a batch are cut together: no resize, and small ones of one size, or any on the device."""
    if pipeline.geometry.interpolation is not None or not dataset.one_size:
        return False
    return _is_on(dataset, device) or int(dataset.heights[0]) * int(dataset.widths[0]) <= SMALL


def need_dali(dataset: PixelDataset, pipelines: Sequence[ImagePipeline], device: torch.device) -> bool:
    """Whether pixels go through DALI's graph: to `augment`, and to a GPU unless all views `are_gathered`."""
    if any(pipeline.augment is not None for pipeline in pipelines):
        return True
    return device.type != "cpu" and not all(are_gathered(dataset, pipeline, device) for pipeline in pipelines)


class PixelDecoder:
    """Delivers batch by batch from any place in any epoch, as `Decoder` does, with nothing to decode and without DALI.

    Images that `are_gathered` come cropped and flipped. The others come as windows for the stage, on the CPU alone.

    Args:
        plan: what comes when.
        dataset: that of the plan; it doesn't `need_dali`.
        faults: what to do about images that are too large.
        device: where batches are delivered.
        num_threads: that copy windows; half of them gather, since the stage is as busy then.
        prefetch: batches that are prepared ahead.

    Attributes:
        takes_cores: whether it takes cores from the stage.
    """

    plan: Plan
    dataset: PixelDataset
    faults: Faults
    device: torch.device
    prefetch: int

    def __init__(
        self,
        plan: Plan,
        dataset: PixelDataset,
        faults: Faults,
        *,
        device: torch.device,
        num_threads: int,
        prefetch: int,
    ):
        self.plan, self.dataset, self.faults = plan, dataset, faults
        self.device, self.prefetch = device, prefetch
        self.takes_cores: bool = all(are_gathered(dataset, pipeline, device) for pipeline in plan.pipelines)
        if self.takes_cores:
            num_threads = max(1, num_threads // 2)
        pool = single_threaded_pool(num_threads, "pixels")
        cut = partial(_cut_windows, dataset, pool, num_threads)
        self._cuts: list[Callable[[BatchPlan], Images]] = [cut] * len(plan.pipelines)  # one per view
        if self.takes_cores:
            keep = prefetch + 1
            gathers = [partial(_gather, dataset, each, BufferPool(keep), pool, num_threads) for each in plan.pipelines]
            self._cuts = [] if _is_on(dataset, device) else gathers
        self._taken: deque[Turn] = deque()  # turns that weren't delivered yet
        self._batches: Generator[tuple[CheckedBatch, list[Images]], None, None] = run_ahead(iter(()), ahead=0)

    def seek(self, cursor: Cursor) -> None:
        """Make the batch at a cursor the next one."""
        if stands_at(self._taken, self.plan, cursor):
            return
        self.close()
        checked = check_batches(turns_from(self.plan, cursor), self._taken, self.plan, self.faults)
        self._batches = run_ahead(_with_images(checked, self._cuts), ahead=self.prefetch - 1)

    def next(self) -> Decoded:
        """The next batch.

        Raises:
            BadSampleError: images above `max_pixels`, and not to be replaced. `seek` goes on from any place afterwards.
        """
        try:
            batch, images = next(self._batches)
            self.faults.warn_of(batch.news)
            if batch.bad:
                raise BadSampleError(
                    (sample for _, sample in sorted(batch.bad.items())), leave_out=self.dataset.leave_out
                )
        except BaseException:  # what was prepared behind it is lost
            self.close()
            raise
        self._taken.popleft()
        if not images:  # here, since the consumer's stream is this thread's
            plans = zip(self.plan.pipelines, batch.plan.each_view, strict=True)
            images = [_gather_on_device(self.dataset, pipeline, view) for pipeline, view in plans]
        images = tuple(send(each, self.device) if isinstance(each, torch.Tensor) else each for each in images)
        return Decoded(batch.plan, images if batch.plan.views else images[0], None)

    def release(self) -> None:
        """See `Decoder`; nothing is lent here."""

    def close(self) -> None:
        """Drop what was prepared."""
        self._batches.close()
        self._taken.clear()


def _is_on(dataset: PixelDataset, device: torch.device) -> bool:
    return isinstance(dataset.stack, torch.Tensor) and dataset.stack.device == device


def _with_images(
    batches: Iterator[CheckedBatch], cuts: list[Callable[[BatchPlan], Images]]
) -> Iterator[tuple[CheckedBatch, list[Images]]]:
    """With the images of each view; with none where the device gathers them itself."""
    for batch in batches:
        plans = zip(cuts, batch.plan.each_view, strict=False)
        yield batch, [] if batch.bad else [cut(view) for cut, view in plans]


def _cut_windows(dataset: PixelDataset, pool: ThreadPoolExecutor, num_threads: int, batch: BatchPlan) -> Images:
    """The windows as they are, contiguous and, so that torch takes them without a warning, writable."""

    def cut(run: Sequence[int]) -> list[torch.Tensor]:
        rows = list(run)
        windows = dataset.cut(batch.indices[rows], batch.windows.rows(rows))
        return [torch.from_numpy(np.require(window, requirements=("C", "W"))) for window in windows]

    return list(chain.from_iterable(in_runs(pool, num_threads, cut, len(batch.indices))))


def _gather(
    dataset: PixelDataset,
    pipeline: ImagePipeline,
    buffers: BufferPool,
    pool: ThreadPoolExecutor,
    num_threads: int,
    batch: BatchPlan,
) -> Images:
    """The finished crops."""
    images = buffers.take((len(batch.indices), *pipeline.size, 3), torch.uint8)
    out = images.numpy()

    def gather(run: Sequence[int]) -> None:
        rows = list(run)
        numbers, windows, flips = batch.indices[rows], batch.windows.rows(rows), batch.flips[rows]
        part = out[rows[0] : rows[-1] + 1]
        gather_on_host(dataset, numbers, windows, flips, border=pipeline.geometry.border, out=part)

    in_runs(pool, num_threads, gather, len(batch.indices))
    return images


def _gather_on_device(dataset: PixelDataset, pipeline: ImagePipeline, batch: BatchPlan) -> torch.Tensor:
    assert isinstance(dataset.stack, torch.Tensor)  # noqa: S101  it `_is_on` the device
    border = pipeline.geometry.border
    return gather_on_device(dataset.stack, batch.indices, batch.windows, batch.flips, size=pipeline.size, border=border)
