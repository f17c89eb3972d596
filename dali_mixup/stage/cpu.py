"""The batch stage on the CPU: resize, flip, mixup or CutMix, normalization, cast and layout, image by image, in cache.

Whole-batch torch expressions do the same arithmetic in ten to thirty times the time, because each of them walks through
tens of megabytes of fresh memory. Here each image passes through a scratch area that stays in the core's cache, several
threads share a batch, and the result goes straight to memory that an earlier batch has left.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from dali_mixup.buffers import BufferPool
from dali_mixup.geometry.geometry import Border
from dali_mixup.geometry.pad import Pad
from dali_mixup.geometry.resized_crop import RandomResizedCrop
from dali_mixup.geometry.zoom_out import RandomZoomOut
from dali_mixup.mixing.draws import CutMixDraw, MixUpDraw
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.stage.cpu_small import SmallImages
from dali_mixup.stage.loops import Part, mix_levels, normalize_levels, resize_windows
from dali_mixup.stage.resampling import BICUBIC, BILINEAR, cut, resize
from dali_mixup.threads import single_threaded_pool, without_lock
from dali_mixup.transforms.operations import FLIP, apply_one


class CpuStage:
    """Turns decoded windows or finished uint8 images into batches.

    Args:
        pipeline: output size, mean and std.
        dtype: of the batches; the arithmetic is float32.
        memory_format: torch.contiguous_format or torch.channels_last.
        num_threads: threads that share a batch.
        keep: output buffers to keep for later batches.
    """

    size: tuple[int, int]
    dtype: torch.dtype
    levels: torch.Tensor
    resizing: float

    def __init__(
        self,
        pipeline: ImagePipeline,
        *,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        num_threads: int,
        keep: int,
    ):
        self.size = height, width = pipeline.size
        self.dtype, self.channels = dtype, pipeline.channels
        self.planar: bool = memory_format == torch.contiguous_format
        self.num_threads = num_threads
        self.pool: ThreadPoolExecutor = single_threaded_pool(num_threads, "stage")
        self.buffers: BufferPool = BufferPool(keep)
        self.resizing = 0.0  # seconds so far
        self.border: Border | None = pipeline.geometry.border
        self.fast: bool = resizes_fast(pipeline)
        with torch.inference_mode(False):  # what is allocated here is written in threads, which are never in that mode
            self.parts: list[Part] = split_image(pipeline, planar=self.planar)
            # an image in memory: planes, or rows of pixels
            channels = self.channels
            self.shape: tuple[int, ...] = (channels, height * width) if self.planar else (1, height, width * channels)
            self.small: SmallImages = SmallImages(pipeline, planar=self.planar)
            self.levels = torch.empty(0, dtype=torch.uint8)
            self.scratch: list[Scratch] = [Scratch(self.shape, self.size) for _ in range(num_threads)]
        self._resize, self._normalize, self._mix = map(without_lock, (resize_windows, normalize_levels, mix_levels))

    def __call__(self, images: torch.Tensor | list[torch.Tensor], batch: BatchPlan) -> torch.Tensor:
        """Finish a batch.

        Args:
            images: (B, H, W, 3) uint8, cropped and flipped; or a list of B decoded windows (h, w, 3) uint8, to be
                resized and flipped here.
            batch: their plan.

        Returns:
            (B, 3, H, W), or gray (B, 1, H, W), in memory that nobody else holds.
        """
        count = len(images)
        out = self.buffers.take((count, *self.shape), self.dtype)
        levels = self._as_levels(images, batch)
        if self.small.serve:
            numbers, group = list(range(count)), self.small.group
            self._in_threads(lambda run, _: self.small.finish_run(levels, out, batch.draw, run), numbers, group)
            return self._as_images(out)
        partner = list(range(count)) if batch.draw is None else batch.draw.partner.tolist()
        given = levels, out, self.parts, partner
        if isinstance(batch.draw, MixUpDraw):
            lam = batch.draw.lam.tolist()
            self._in_threads(lambda run, scratch: self._mix(*given, lam, run, scratch.levels), walk(partner))
        else:
            boxes = batch.draw.boxes.tolist() if isinstance(batch.draw, CutMixDraw) else []
            self._in_threads(lambda run, scratch: self._normalize(*given, boxes, run, scratch.levels), walk(partner))
        return self._as_images(out)

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()

    def _as_levels(self, images: torch.Tensor | list[torch.Tensor], batch: BatchPlan) -> torch.Tensor:
        """uint8 (B, *shape): images of the output size, in the output's layout."""
        if isinstance(images, torch.Tensor) and self._is_kept(batch):
            return images.reshape(len(images), *self.shape)
        if len(self.levels) < len(images):
            with torch.inference_mode(False):
                self.levels = torch.empty(len(images), *self.shape, dtype=torch.uint8)
        start = time.perf_counter()
        if isinstance(images, torch.Tensor):
            self._in_threads(lambda run, _: self._split_run(images, batch, run), list(range(len(images))))
        else:
            self._resize_windows(images, batch)
            self.resizing += time.perf_counter() - start
        return self.levels

    def _as_images(self, batch: torch.Tensor) -> torch.Tensor:
        """A view (B, 3, H, W), or gray (B, 1, H, W)."""
        if self.planar:
            return batch.view(-1, self.channels, *self.size)
        return batch.view(-1, *self.size, self.channels).permute(0, 3, 1, 2)

    def _is_kept(self, batch: BatchPlan) -> bool:
        """Whether pixels stay in the order of decoded images: RGB, and nothing is done to them."""
        return not self.planar and self.channels == 3 and batch.operations is None

    def _in_threads(self, work: "Callable[[list[int], Scratch], None]", order: list[int], at_least: int = 1) -> None:
        """Have threads work on runs of the images, each in a scratch area of its own."""
        runs = iter(share_out(order, self.num_threads, at_least))

        def work_on(scratch: "Scratch") -> None:
            for run in runs:
                work(run, scratch)

        for future in [self.pool.submit(work_on, scratch) for scratch in self.scratch]:
            future.result()

    def _resize_windows(self, windows: list[torch.Tensor], batch: BatchPlan) -> None:
        """Decoded windows to levels, by `resize_windows` where it can."""
        planned, count = batch.windows, len(windows)
        size = np.array(self.size)
        codes = np.full(count, BILINEAR) if planned.interpolation is None else planned.interpolation
        inside = ((planned.offset >= 0) & (planned.offset + size <= planned.resized)).all(1)
        plain = inside & ((codes == BILINEAR) | ((codes == BICUBIC) & self.fast))
        plain[list(planned.canvases())] = False
        plain &= self.channels == 3 and batch.operations is None
        levels = self._as_images(self.levels)
        told = (codes == BICUBIC), planned.resized, planned.offset, batch.flips

        def resize_run(run: list[int], scratch: "Scratch") -> None:
            if looped := [i for i in run if plain[i]]:
                own = [windows[i] for i in looped]
                self._resize(own, levels, scratch.pixels, *(values[looped].tolist() for values in told), looped)
            if rest := [i for i in run if not plain[i]]:
                self._resize_run(windows, batch, codes, rest)

        self._in_threads(resize_run, list(range(count)))

    def _resize_run(
        self, windows: list[torch.Tensor], batch: BatchPlan, interpolations: np.ndarray, run: list[int]
    ) -> None:
        """Decoded windows to levels, one by one."""
        planned = batch.windows.rows(run)
        canvases, levels = planned.canvases(), self._as_images(self.levels)
        told = (planned.resized, planned.offset, interpolations[run], batch.flips[run])
        for k, (i, resized, offset, code, flip) in enumerate(
            zip(run, *(values.tolist() for values in told), strict=True)
        ):
            image, level = windows[i].contiguous()[None].permute(0, 3, 1, 2), levels[i : i + 1]
            if k in canvases:
                top, left, height, width = canvases[k]
                image = cut(image, [top, left], (height, width), self.border)
            found = cut(resize(image, resized, code, fast=self.fast), offset, self.size, self.border)
            if batch.operations is not None:
                todo = [FLIP, *batch.operations[i]] if flip else batch.operations[i]
                self._keep_levels(apply_one(found.contiguous(), todo), level)
            else:
                self._keep_levels(found.flip(-1) if flip else found, level)

    def _split_run(self, images: torch.Tensor, batch: BatchPlan, run: list[int]) -> None:
        """Cropped and flipped images (B, H, W, 3) to levels."""
        if batch.operations is not None:
            levels = self._as_images(self.levels)
            for i in run:
                image = images[i : i + 1].permute(0, 3, 1, 2).contiguous()
                self._keep_levels(apply_one(image, batch.operations[i]), levels[i : i + 1])
            return
        rows = slice(run[0], run[-1] + 1)
        self._keep_levels(images[rows].permute(0, 3, 1, 2), self._as_images(self.levels)[rows])

    def _keep_levels(self, images: torch.Tensor, levels: torch.Tensor) -> None:
        """Finished images (B, 3, H, W) to levels."""
        if self.channels == 1:
            copy_gray(images, levels)
        else:
            levels.copy_(images)


class Scratch:
    """What one thread works in.

    Args:
        shape: of an image in memory.
        size: height and width.

    Attributes:
        levels: three images of float32 `shape`.
        pixels: (1, 3, H, W) uint8, channels last.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, int]):
        self.levels: torch.Tensor = torch.empty(3, *shape[1:], dtype=torch.float32)
        self.pixels: torch.Tensor = torch.empty(1, *size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)


def is_busy(pipeline: ImagePipeline) -> bool:
    """Whether the stage on a CPU has more to do than DALI: transforms, or resizing by Pillow."""
    pillow = ("lanczos",) if resizes_fast(pipeline) else ("bicubic", "lanczos", "random")
    return bool(pipeline.transforms) or pipeline.geometry.interpolation in pillow


def resizes_fast(pipeline: ImagePipeline) -> bool:
    """Whether bicubic may be a level off: of windows that are drawn it may, of images to validate on it is Pillow's."""
    geometry = pipeline.geometry
    if isinstance(geometry, Pad):
        geometry = geometry.resize
    elif isinstance(geometry, RandomZoomOut):
        geometry = geometry.geometry
    return isinstance(geometry, RandomResizedCrop)


def split_image(pipeline: ImagePipeline, *, planar: bool) -> list[Part]:
    """What an image is made of in memory: its planes, or its rows."""
    width, channels = pipeline.size[1], pipeline.channels
    if not planar:
        scale, shift = pipeline.normalization(torch.float32)
        return [Part(1.0, scale.repeat(width), shift.repeat(width), width * channels, channels)]
    scale, shift = pipeline.normalization(torch.float64)
    return [
        Part(float(own), None, offset.to(torch.float32), width, 1) for own, offset in zip(scale, shift, strict=True)
    ]


def copy_gray(images: torch.Tensor, gray: torch.Tensor) -> None:
    """The levels (B, 1, H, W) of (B, 3, H, W) uint8 images; by Pillow itself, all at once."""
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    count, height, width, _ = pixels.shape
    with Image.fromarray(pixels.reshape(count * height, width, 3)) as image:
        gray.copy_(torch.from_numpy(np.array(image.convert("L"))).view(count, 1, height, width))


def share_out(order: list[int], num_threads: int, at_least: int = 1) -> list[list[int]]:
    """Runs for threads that take the next one when they are done: shorter and shorter, so that none waits long at last.

    >>> share_out([3, 1, 4, 0, 2, 5, 7, 6], num_threads=2)
    [[3, 1], [4], [0], [2], [5], [7], [6]]
    """
    runs, start = [], 0
    while start < len(order):
        end = start + max(at_least, (len(order) - start) // (2 * num_threads))
        runs.append(order[start:end])
        start = end
    return runs


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
