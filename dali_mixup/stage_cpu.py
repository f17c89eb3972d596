"""The batch stage on the CPU: resize, flip, mixup, normalization, cast and layout, image by image, in cache.

Whole-batch torch expressions do the same arithmetic in ten to thirty times the time, because each of them walks through tens of
megabytes of fresh memory. Here each image passes through a scratch area that stays in the core's cache, several threads share a batch,
and the result goes straight to memory that an earlier batch has left.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

from dali_mixup.buffers import BufferPool
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.plan import BatchPlan
from dali_mixup.threads import single_threaded_pool

# The operator behind torch.nn.functional.interpolate(..., mode="bilinear", antialias=True), which takes no `out`. Given a channels-last
# image and a planar `out` it writes planes directly, four times as fast as a copy into another layout.
_resize = torch.ops.aten._upsample_bilinear2d_aa


class CpuStage:
    """Turns decoded windows or finished uint8 images into batches.

    Args:
        pipeline: size, geometry, mean and std.
        dtype: of the batches; the arithmetic is float32.
        memory_format: torch.contiguous_format or torch.channels_last.
        num_threads: threads that share a batch.
        keep: output buffers to keep for later batches.
    """

    def __init__(self, pipeline: ImagePipeline, *, dtype: torch.dtype, memory_format: torch.memory_format, num_threads: int, keep: int):
        self.pipeline = pipeline
        self.dtype = dtype
        self.planar = memory_format == torch.contiguous_format
        self.height, self.width = pipeline.size
        self.layout = (3, self.height * self.width) if self.planar else (self.height, self.width * 3)
        self.scale = [1 / (255 * std) for std in pipeline.std]
        self.shift = [-mean / std for mean, std in zip(pipeline.mean, pipeline.std, strict=True)]
        self.row_scale = torch.tensor(self.scale).repeat(self.width)
        self.row_shift = torch.tensor(self.shift).repeat(self.width)
        self.pool: ThreadPoolExecutor = single_threaded_pool(num_threads)
        self.num_threads = num_threads
        self.buffers = BufferPool(keep)
        self.levels = torch.empty(0, dtype=torch.uint8)
        self.scratch = [torch.empty(3, *self.layout) for _ in range(num_threads)]

    def __call__(self, images: torch.Tensor | list[torch.Tensor], batch: BatchPlan) -> torch.Tensor:
        """Finish a batch.

        Args:
            images: (B, H, W, 3) uint8, cropped and flipped; or a list of B decoded windows (h, w, 3) uint8, to be resized and flipped here.
            batch: their plan.

        Returns:
            (B, 3, H, W), in memory that nobody else holds.
        """
        count = len(images)
        out = self.buffers.take((count, *self.layout), self.dtype)
        if len(self.levels) < count:
            self.levels = torch.empty(count, *self.layout, dtype=torch.uint8)
        if isinstance(images, list):
            self._in_threads(lambda run, _: self._resize_run(images, batch, run), list(range(count)))
        elif self.planar:
            self._in_threads(lambda run, _: self._planes_run(images, run), list(range(count)))
        levels = self.levels if self.planar or isinstance(images, list) else images.reshape(count, *self.layout)
        if batch.draw is None:
            self._in_threads(lambda run, scratch: self._normalize_run(levels, out, run, scratch), list(range(count)))
        else:
            partner, lam = batch.draw.partner.tolist(), batch.draw.lam.tolist()
            self._in_threads(lambda run, scratch: self._mix_run(levels, out, partner, lam, run, scratch), walk(partner))
        if self.planar:
            return out.view(count, 3, self.height, self.width)
        return out.view(count, self.height, self.width, 3).permute(0, 3, 1, 2)

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

    def _resize_run(self, windows: list[torch.Tensor], batch: BatchPlan, run: list[int]) -> None:
        """Decoded windows to uint8 levels of the output size, in the output's layout."""
        size = self.pipeline.size
        for i in run:
            image = windows[i][None].permute(0, 3, 1, 2)
            level = self._image(self.levels[i])
            resized, flip = tuple(batch.windows.resized[i].tolist()), bool(batch.flips[i])
            if resized == size and not flip:
                _resize.out(image, size, False, None, out=level)
                continue
            top, left = batch.windows.offset[i].tolist()
            image = _resize(image, resized, False, None)[..., top : top + self.height, left : left + self.width]
            level.copy_(image.flip(-1) if flip else image)

    def _image(self, level: torch.Tensor) -> torch.Tensor:
        """A level of either layout as (1, 3, H, W)."""
        if self.planar:
            return level.view(1, 3, self.height, self.width)
        return level.view(1, self.height, self.width, 3).permute(0, 3, 1, 2)

    def _planes_run(self, images: torch.Tensor, run: list[int]) -> None:
        for i in run:
            self._image(self.levels[i]).copy_(images[i][None].permute(0, 3, 1, 2))

    def _normalize(self, level: torch.Tensor, out: torch.Tensor) -> None:
        """uint8 levels to normalized float32."""
        out.copy_(level)
        if self.planar:
            for plane, scale, shift in zip(out, self.scale, self.shift, strict=True):
                torch.add(shift, plane, alpha=scale, out=plane)
        else:
            torch.addcmul(self.row_shift, out, self.row_scale, out=out)

    def _normalize_run(self, levels: torch.Tensor, out: torch.Tensor, run: list[int], scratch: torch.Tensor) -> None:
        for i in run:
            if self.dtype == torch.float32:
                self._normalize(levels[i], out[i])
            else:
                self._normalize(levels[i], scratch[0])
                out[i].copy_(scratch[0])

    def _mix_run(
        self, levels: torch.Tensor, out: torch.Tensor, partner: list[int], lam: list[float], run: list[int], scratch: torch.Tensor
    ) -> None:
        """Mix along a walk through the partners: the partner of one image is the next image, and is normalized once for both."""
        own, other, mixed = scratch
        ready = -1
        for i in run:
            if ready != i:
                self._normalize(levels[i], own)
            self._normalize(levels[partner[i]], other)
            if self.dtype == torch.float32:
                torch.lerp(other, own, lam[i], out=out[i])
            else:
                out[i].copy_(torch.lerp(other, own, lam[i], out=mixed))
            own, other, ready = other, own, partner[i]


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
