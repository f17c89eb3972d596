"""Planned batches through the DALI graph, in order, prepared ahead."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from dali_mixup.ahead import run_ahead
from dali_mixup.dataset.files import FileList
from dali_mixup.decode.faults import CheckedBatch, Faults
from dali_mixup.decode.files_to_decode import files_to_decode, name_of_view
from dali_mixup.decode.gpu_decode import GpuDecode, largest_size
from dali_mixup.decode.output import GpuOutput
from dali_mixup.decode.turns import Decoded, Images, Turn, check_batches, cut_views, stands_at, turns_from
from dali_mixup.errors import BadSampleError
from dali_mixup.plan.plan import Plan
from dali_mixup.plan.state import Cursor
from dali_mixup.randomness import Purpose, keyed_generator

if TYPE_CHECKING:
    from nvidia.dali.pipeline import Pipeline


Inputs = dict[str, Any]  # of DALI's graph, by name: arrays with a row per image, or lists
NO_PIXELS = np.empty((0, 0, 3), np.uint8)
MAX_STUCK = 3  # a file that decodes by itself and not in its batch would fail for ever


class Fed(NamedTuple):
    """What DALI is given at a time.

    Attributes:
        batch: the images belong to it.
        inputs: of the graph.
        warms_up: what comes of it is thrown away.
    """

    batch: CheckedBatch
    inputs: Inputs
    warms_up: bool = False


class Decoder:
    """Delivers batch by batch from any place in any epoch.

    Without random operators in the graph it runs on into the next epoch, so that an epoch's first batch is ready when
    the last one ends. Behind a user's sampler, whose next order nobody knows before the epoch begins, the graph waits
    for it. With `augment` it is built anew for each epoch: its random numbers then depend on (seed, epoch) alone.

    Args:
        plan: what comes when.
        faults: what to do about bad files.
        device: where images are decoded.
        num_threads: DALI's threads.
        prefetch: batches that DALI prepares ahead.
        gpu_decode: how it decodes on a GPU.
    """

    takes_cores = True  # from the stage

    def __init__(
        self,
        plan: Plan,
        faults: Faults,
        *,
        device: torch.device,
        num_threads: int,
        prefetch: int,
        gpu_decode: GpuDecode,
    ):
        if sys.flags.optimize > 1:
            raise RuntimeError(
                "a Loader can't run under python -OO, which strips docstrings that DALI needs; use python -O"
            )
        self.plan = plan
        self.faults = faults
        self.device = device
        self.num_threads = num_threads
        self.prefetch = prefetch
        self.gpu_decode = gpu_decode
        self._output = None if device.type == "cpu" else GpuOutput(device)
        self._graph: Pipeline | None = None
        self._turns: Iterator[Turn] = iter(())
        self._taken: deque[Turn] = deque()  # turns that weren't delivered yet, planned and checked in a thread
        self._ready: Generator[Fed, None, None] = run_ahead(iter(()), ahead=0)
        self._in_flight: deque[Fed] = deque()  # what DALI works on
        self._failure: Exception | None = None  # of the batch after those in flight
        self._checkpoint: bytes | None = None
        self._largest = plan.batch_size
        # DALI's state with `augment` fits one graph only; otherwise it begins with the faster one
        self._takes_pixels = plan.augments
        self._stuck = 0  # failures in a row that taught nothing new

    def seek(self, cursor: Cursor) -> None:
        """Make the batch at a cursor the next one."""
        if self._graph is not None and self._in_flight and stands_at(self._taken, self.plan, cursor):
            return
        largest = self.plan.largest_batch(cursor.sampled)
        graph = self._graph if self._has_ended and largest == self._largest else None
        self.close()
        self._turns, self._largest = turns_from(self.plan, cursor), largest
        self._checkpoint = cursor.checkpoint if self.plan.augments else None  # it may be of another pipeline
        if graph is not None:
            graph.reset()
            self._graph = graph
            self._begin(warm_up=False)

    @property
    def windows_only(self) -> bool:
        """Whether `next` gives windows for the stage to resize: DALI's resize costs ten times as much on the CPU."""
        if self.device.type != "cpu" or self.plan.augments:
            return False
        return bool(self.plan.others) or self.plan.pipeline.geometry.interpolation is not None

    @property
    def _splits_batches(self) -> bool:
        """Whether the JPEG engine of a GPU takes a part of each batch.

        How many images that is, DALI's decoder settles with the first batch of a graph, and engine and cores differ by
        a level. So that no pixel depends on where a run began, a graph first gets a full batch that nobody sees. Not
        with `augment`, whose random numbers it would use up: there the first batch of the epoch decides.
        """
        return self._output is not None and not self.plan.augments and self.gpu_decode.hw_decoder_load > 0

    @property
    def _has_ended(self) -> bool:
        """Whether the graph has delivered all that it was fed, and may be fed again."""
        return self._graph is not None and not self.plan.augments and not self._in_flight and self._graph.empty()

    def next(self) -> Decoded:
        """The next batch.

        Raises:
            BadSampleError: files that can't be decoded, and aren't to be replaced. `seek` goes on from any place
                afterwards.
        """
        if self._output is not None:
            self._output.drop_read()
        images = None
        while images is None:
            try:
                self._graph = self._graph or self._build()
                images = self._run(self._graph)
                if self._in_flight[0].warms_up:
                    self._in_flight.popleft()
                    images = None
            except (RuntimeError, StopIteration) as error:
                self._recover(error)
            except BaseException:  # Ctrl-C, while a later batch was prepared: that one would be lost
                self.close()
                raise
        plan = self._in_flight.popleft().batch.plan
        if isinstance(images, list) and plan.views:
            images = cut_views(images, plan)
        self._taken.popleft()
        self._stuck = 0
        if self.plan.augments:
            assert self._graph is not None  # noqa: S101  it has just run
            self._checkpoint = self._graph.checkpoint()
        return Decoded(plan, images, self._checkpoint)

    def release(self) -> None:
        """Whatever reads the last batch was launched: its memory on a GPU may be used again after that."""
        if self._output is not None:
            self._output.release()

    def close(self) -> None:
        """Drop the graph and what it prepared."""
        had_graph, self._graph = self._graph is not None, None
        self.faults.inspector.drop()  # so that the thread doesn't wait for what nobody needs
        self._ready.close()
        self.faults.inspector.drop()
        self.faults.inspector.remember()  # the thread may not have come to it
        self._in_flight.clear()
        self._taken.clear()
        self._failure = None
        if had_graph and self.plan.augments:
            gc.collect()  # DALI's nodes form cycles: megabytes per graph, left for hours

    def _run(self, graph: Pipeline) -> Images | tuple[Images, ...]:
        if self._output is not None:
            outputs = self._output.run(graph)
        elif self.windows_only:
            (images,) = graph.run()
            return [torch.from_numpy(np.asarray(image)) for image in images]
        else:
            outputs = tuple(torch.from_dlpack(images.as_tensor()) for images in graph.run())
        return outputs if self.plan.others else outputs[0]

    def _recover(self, error: Exception) -> None:
        """After an error no graph goes on: raise what is wrong, or go back to the failed batch without bad files."""
        self._ready.close()  # no turn is taken from now on
        turns, failed = list(self._taken), self._in_flight[0].batch if self._in_flight else None
        failure = self._failure or error
        self.close()
        if failed is None:
            raise failure
        if self._is_refused(failed):
            self._takes_pixels, self._turns = True, chain(turns, self._turns)
            return
        if failed.bad:
            raise BadSampleError(self.faults.name_bad(failed), leave_out=self.plan.dataset.leave_out) from error
        refused = self.faults.find_refused(failed)
        if not refused:
            raise error
        if not self.faults.suspect(refused):
            self._stuck += 1
            if self._stuck > MAX_STUCK:
                raise error
        self._turns = chain(turns, self._turns)

    def _is_refused(self, batch: CheckedBatch) -> bool:
        """Whether a graph that takes no pixels has to give way to one that does."""
        return bool(batch.pixels) and not batch.bad and not self._takes_pixels

    def _build(self) -> Pipeline:
        from dali_mixup.decode.graph import build_graph  # here, so that importing the package doesn't import DALI

        first = next(self._turns)
        self._turns = chain([first], self._turns)
        self._begin(warm_up=self._splits_batches)
        dataset, max_pixels = self.plan.dataset, self.faults.inspector.max_pixels
        largest = largest_size(dataset.heights, dataset.widths, max_pixels, self._largest)
        draw = keyed_generator(self.plan.seed, Purpose.GRAPH, first.epoch, first.step.first)
        feed = weakref.WeakMethod(self._feed)  # a cycle would keep DALI's threads until Python looks for cycles
        return build_graph(
            self.plan.pipelines,
            lambda info: cast(Callable, feed())(info),
            windows_only=self.windows_only,
            batch_size=self._largest,
            device_id=None if self.device.type == "cpu" else self.device.index,
            num_threads=self.num_threads,
            prefetch=self.prefetch,
            seed=int(draw.integers(2**31)),
            checkpoint=self._checkpoint,
            in_memory=not isinstance(dataset, FileList),
            takes_pixels=self._takes_pixels,
            gpu_options=self.gpu_decode.options(largest),
        )

    def _begin(self, *, warm_up: bool) -> None:
        """Prepare the turns, behind a batch that nobody sees where the graph is new."""
        batches = check_batches(self._turns, self._taken, self.plan, self.faults)
        count = self._largest if warm_up else 0
        self._ready = run_ahead(_prepare(batches, self.plan, windows_only=self.windows_only, warm_up=count), ahead=0)

    def _feed(self, _info: object) -> Inputs:
        """DALI asks for the next batch's inputs, in order."""
        try:
            fed = next(self._ready, None)
            self.faults.warn_of(fed.batch.news if fed else ())
        except Exception as error:  # DALI delivers the batches before it, and ends
            self._failure = error
            raise StopIteration from error
        if fed is None:
            raise StopIteration  # DALI's epoch ends
        self._in_flight.append(fed)
        # nothing of it is read or allocated; the batches before it are still delivered
        if fed.batch.bad or self._is_refused(fed.batch):
            raise StopIteration
        return fed.inputs


def _prepare(batches: Iterator[CheckedBatch], plan: Plan, *, windows_only: bool, warm_up: int) -> Iterator[Fed]:
    """Describe batch by batch; before the first one may come a batch of `warm_up` images."""
    for batch in batches:
        inputs = _inputs(plan, batch, windows_only=windows_only)
        if warm_up and not batch.bad and (repeated := _repeat_smallest(plan, batch, inputs, warm_up)):
            yield Fed(batch, repeated, warms_up=True)
        warm_up = 0
        yield Fed(batch, inputs)


def _repeat_smallest(plan: Plan, batch: CheckedBatch, inputs: Inputs, count: int) -> Inputs | None:
    """The smallest image that DALI decodes, `count` times; None if it decodes none of the batch."""
    rows = np.setdiff1d(np.arange(len(batch.plan.indices)), list(batch.pixels))
    if not len(rows):
        return None
    indices = batch.plan.indices[rows]
    row = rows[np.argmin(plan.dataset.heights[indices].astype(np.int64) * plan.dataset.widths[indices])]
    return {name: None if values is None else [values[row]] * count for name, values in inputs.items()}


def _inputs(plan: Plan, batch: CheckedBatch, *, windows_only: bool) -> Inputs:
    """What the graph is given for a batch, see `build_graph`."""
    windows, count = batch.plan.windows, len(batch.plan.indices)
    inputs = files_to_decode(plan.dataset, batch.plan, batch.encoded, range(count)) | {
        "is_decoded": np.isin(np.arange(count), list(batch.pixels)),
        "pixels": np.empty((count, *NO_PIXELS.shape), np.uint8),
    }
    if batch.pixels:  # a list takes DALI ten times as long
        inputs["pixels"] = [batch.pixels.get(row, NO_PIXELS) for row in range(count)]
    if windows_only:
        return inputs
    for number, (view, pipeline) in enumerate(zip(batch.plan.each_view, plan.pipelines, strict=True)):
        own = view.windows
        values = {
            "start": own.anchor - windows.anchor,
            "extent": own.shape,
            "canvas": own.canvas,
            "offset": own.offset,
            "resized": own.resized.astype(np.float32, order="C"),
            "roi": own.roi(pipeline.size),
            "interpolation": own.interpolation,
            "flip": view.flips.astype(np.int32),
        }
        inputs |= {name_of_view(name, number): value for name, value in values.items()}
    return inputs
