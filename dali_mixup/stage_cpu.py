"""The batch stage on the CPU: resize, flip, mixup, normalization, cast and layout, image by image, in cache.

Whole-batch torch expressions do the same arithmetic in ten to thirty times the time, because each of them walks through tens of
megabytes of fresh memory. Here each image passes through a scratch area that stays in the core's cache, several threads share a batch,
and the result goes straight to memory that an earlier batch has left.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

from dali_mixup.buffers import BufferPool
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.plan import BatchPlan
from dali_mixup.threads import single_threaded_pool

# The operator behind torch.nn.functional.interpolate(..., mode="bilinear", antialias=True): it takes an `out`, and costs less per call.
_resize = torch.ops.aten._upsample_bilinear2d_aa


class CpuStage:
    """Turns decoded windows or finished uint8 images into batches.

    Args:
        pipeline: output size, mean and std.
        dtype: of the batches; the arithmetic is float32.
        memory_format: torch.contiguous_format or torch.channels_last.
        num_threads: threads that share a batch.
        keep: output buffers to keep for later batches.
    """

    def __init__(self, pipeline: ImagePipeline, *, dtype: torch.dtype, memory_format: torch.memory_format, num_threads: int, keep: int):
        self.size = pipeline.size
        self.dtype = dtype
        self.arithmetic = PlanarArithmetic(pipeline) if memory_format == torch.contiguous_format else InterleavedArithmetic(pipeline)
        self.num_threads = num_threads
        self.pool: ThreadPoolExecutor = single_threaded_pool(num_threads)
        self.buffers = BufferPool(keep)
        self.resizing = 0.0  # seconds so far
        self.scratch = [torch.empty(3, *self.arithmetic.shape) for _ in range(num_threads)]

    def __call__(self, images: torch.Tensor | list[torch.Tensor], batch: BatchPlan) -> torch.Tensor:
        """Finish a batch.

        Args:
            images: (B, H, W, 3) uint8, cropped and flipped; or a list of B decoded windows (h, w, 3) uint8, to be resized and flipped here.
            batch: their plan.

        Returns:
            (B, 3, H, W), in memory that nobody else holds.
        """
        count = len(images)
        out = self.buffers.take((count, *self.arithmetic.shape), self.dtype)
        if isinstance(images, list):
            levels: list[torch.Tensor] = [images[0]] * count
            start = time.perf_counter()
            self._in_threads(lambda run, _: self._resize_run(images, batch, levels, run), list(range(count)))
            self.resizing += time.perf_counter() - start
        else:
            levels = list(images.permute(0, 3, 1, 2).unbind(0))
        if batch.draw is None:
            self._in_threads(lambda run, scratch: self._normalize_run(levels, out, run, scratch), list(range(count)))
        else:
            partner, lam = batch.draw.partner.tolist(), batch.draw.lam.tolist()
            self._in_threads(lambda run, scratch: self._mix_run(levels, out, partner, lam, run, scratch), walk(partner))
        return self.arithmetic.as_images(out)

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()

    def _in_threads(self, work: Callable[[list[int], torch.Tensor], None], order: list[int]) -> None:
        """Give each thread a run of the images, and a scratch area."""
        bounds = [len(order) * k // self.num_threads for k in range(self.num_threads + 1)]
        runs = [order[start:end] for start, end in pairwise(bounds)]
        futures = [self.pool.submit(work, run, scratch) for run, scratch in zip(runs, self.scratch, strict=True) if run]
        for future in futures:
            future.result()

    def _resize_run(self, windows: list[torch.Tensor], batch: BatchPlan, levels: list[torch.Tensor], run: list[int]) -> None:
        """Decoded windows to uint8 levels (3, H, W), in any memory layout."""
        resized, offset, flips = batch.windows.resized.tolist(), batch.windows.offset.tolist(), batch.flips.tolist()
        height, width = self.size
        for i in run:
            level = _resize(windows[i][None].permute(0, 3, 1, 2), resized[i], False, None)[0]
            if (height, width) != tuple(resized[i]):
                top, left = offset[i]
                level = level[:, top : top + height, left : left + width]
            levels[i] = level.flip(-1) if flips[i] else level

    def _normalize_run(self, levels: list[torch.Tensor], out: torch.Tensor, run: list[int], scratch: torch.Tensor) -> None:
        own = scratch[0]
        for i in run:
            self.arithmetic.as_image(own).copy_(levels[i])
            result = out[i] if self.dtype == torch.float32 else own
            self.arithmetic.normalize(own, result)
            if result is own:
                out[i].copy_(own)

    def _mix_run(
        self, levels: list[torch.Tensor], out: torch.Tensor, partner: list[int], lam: list[float], run: list[int], scratch: torch.Tensor
    ) -> None:
        """Mix along a walk through the partners: the partner of one image is the next image, and is converted once for both."""
        own, other, part = scratch
        ready = -1
        for i in run:
            if ready != i:
                self.arithmetic.as_image(own).copy_(levels[i])
            self.arithmetic.as_image(other).copy_(levels[partner[i]])
            result = out[i] if self.dtype == torch.float32 else part
            self.arithmetic.mix(own, other, lam[i], part, result)
            if result is part:
                out[i].copy_(part)
            own, other, ready = other, own, partner[i]


class PlanarArithmetic:
    """One image of float32 levels as three planes (3, H * W)."""

    def __init__(self, pipeline: ImagePipeline):
        self.size = pipeline.size
        self.shape = (3, self.size[0] * self.size[1])
        self.scale = [1 / (255 * std) for std in pipeline.std]
        self.shift = [-mean / std for mean, std in zip(pipeline.mean, pipeline.std, strict=True)]

    def as_image(self, planes: torch.Tensor) -> torch.Tensor:
        """(3, H, W)."""
        return planes.view(3, *self.size)

    def as_images(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W)."""
        return batch.view(-1, 3, *self.size)

    def normalize(self, own: torch.Tensor, out: torch.Tensor) -> None:
        """Levels to normalized values."""
        for plane, target, scale, shift in zip(own, out, self.scale, self.shift, strict=True):
            torch.add(shift, plane, alpha=scale, out=target)

    def mix(self, own: torch.Tensor, other: torch.Tensor, lam: float, part: torch.Tensor, out: torch.Tensor) -> None:
        """Levels of an image and its partner to normalized mixed values; `part` is scratch."""
        for mine, theirs, between, target, scale, shift in zip(own, other, part, out, self.scale, self.shift, strict=True):
            torch.add(shift, theirs, alpha=(1 - lam) * scale, out=between)
            torch.add(between, mine, alpha=lam * scale, out=target)


class InterleavedArithmetic:
    """One image of float32 levels as rows of RGB pixels (H, W * 3)."""

    def __init__(self, pipeline: ImagePipeline):
        self.size = pipeline.size
        self.shape = (self.size[0], self.size[1] * 3)
        self.scale = (1 / (255 * torch.tensor(pipeline.std))).repeat(self.size[1])
        self.shift = (-torch.tensor(pipeline.mean) / torch.tensor(pipeline.std)).repeat(self.size[1])

    def as_image(self, rows: torch.Tensor) -> torch.Tensor:
        """(3, H, W)."""
        return rows.view(*self.size, 3).permute(2, 0, 1)

    def as_images(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W)."""
        return batch.view(-1, *self.size, 3).permute(0, 3, 1, 2)

    def normalize(self, own: torch.Tensor, out: torch.Tensor) -> None:
        """Levels to normalized values."""
        torch.addcmul(self.shift, own, self.scale, out=out)

    def mix(self, own: torch.Tensor, other: torch.Tensor, lam: float, part: torch.Tensor, out: torch.Tensor) -> None:
        """Levels of an image and its partner to normalized mixed values; `part` is scratch."""
        torch.addcmul(self.shift, other, self.scale * (1 - lam), out=part)
        torch.addcmul(part, own, self.scale * lam, out=out)


def walk(partner: list[int]) -> list[int]:
    """All numbers, each followed by its partner where that hasn't come yet.

    >>> walk([2, 0, 1, 3])
    [0, 2, 1, 3]
    """
    order, seen = [], [False] * len(partner)
    for start in range(len(partner)):
        i = start
        while not seen[i]:
            seen[i] = True
            order.append(i)
            i = partner[i]
    return order
