"""The batch stage on the CPU: resize, flip, mixup or CutMix, normalization, cast and layout, image by image, in cache.

Whole-batch torch expressions do the same arithmetic in ten to thirty times the time, because each of them walks through
tens of megabytes of fresh memory. Here each image passes through a scratch area that stays in the core's cache, several
threads share a batch, and the result goes straight to memory that an earlier batch has left.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

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
from dali_mixup.stage.resampling import BILINEAR, cut, resize
from dali_mixup.threads import single_threaded_pool
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
            self.parts: Sequence[Plane | Rows] = split_image(pipeline, planar=self.planar)
            # an image in memory: planes, or rows of pixels
            channels = self.channels
            self.shape: tuple[int, ...] = (channels, height * width) if self.planar else (1, height, width * channels)
            self.small: SmallImages = SmallImages(pipeline, planar=self.planar)
            self.levels = torch.empty(0, dtype=torch.uint8)
            self.scratch: list[Scratch] = [Scratch(self.shape, self.size) for _ in range(num_threads)]

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
            self._in_threads(lambda run, _: self.small.finish_run(levels, out, batch.draw, run), list(range(count)))
            return self._as_images(out)
        partner = list(range(count)) if batch.draw is None else batch.draw.partner.tolist()
        if isinstance(batch.draw, MixUpDraw):
            lam = batch.draw.lam.tolist()
            self._in_threads(lambda run, scratch: self._mix_run(levels, out, partner, lam, run, scratch), walk(partner))
        else:
            boxes = batch.draw.boxes.tolist() if isinstance(batch.draw, CutMixDraw) else None
            self._in_threads(
                lambda run, scratch: self._normalize_run(levels, out, partner, boxes, run, scratch), walk(partner)
            )
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
            self._in_threads(
                lambda run, scratch: self._resize_run(images, batch, run, scratch.pixels), list(range(len(images)))
            )
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

    def _in_threads(self, work: "Callable[[list[int], Scratch], None]", order: list[int]) -> None:
        """Give each thread a run of the images, and a scratch area."""
        bounds = [len(order) * k // self.num_threads for k in range(self.num_threads + 1)]
        runs = [order[start:end] for start, end in pairwise(bounds)]
        futures = [self.pool.submit(work, run, scratch) for run, scratch in zip(runs, self.scratch, strict=True) if run]
        for future in futures:
            future.result()

    def _resize_run(self, windows: list[torch.Tensor], batch: BatchPlan, run: list[int], pixels: torch.Tensor) -> None:
        """Decoded windows to levels."""
        planned, flips = batch.windows, batch.flips.tolist()
        resized, offset = planned.resized.tolist(), planned.offset.tolist()
        codes = [BILINEAR] * len(windows) if planned.interpolation is None else planned.interpolation.tolist()
        canvases = planned.canvases()
        size = list(self.size)
        levels = self._as_images(self.levels)
        into_level = self._is_kept(batch)
        for i in run:
            image, level = windows[i].contiguous()[None].permute(0, 3, 1, 2), levels[i : i + 1]
            if i in canvases:
                top, left, height, width = canvases[i]
                image = cut(image, [top, left], (height, width), self.border)
            if resized[i] == size and offset[i] == [0, 0]:
                found = resize(image, size, codes[i], out=level if into_level else pixels, fast=self.fast)
            else:
                found = cut(resize(image, resized[i], codes[i], fast=self.fast), offset[i], self.size, self.border)
            if batch.operations is not None:
                todo = [FLIP, *batch.operations[i]] if flips[i] else batch.operations[i]
                self._keep_levels(apply_one(found.contiguous(), todo), level)
                continue
            if self.channels == 1:
                copy_gray(found, level, flip=flips[i])
            elif self.planar:
                split_planes(found, level, flip=flips[i])
            elif flips[i]:
                level.copy_(found.flip(-1))
            elif found is not level:
                level.copy_(found)

    def _split_run(self, images: torch.Tensor, batch: BatchPlan, run: list[int]) -> None:
        """Cropped and flipped images (B, H, W, 3) to levels."""
        if batch.operations is not None:
            levels = self._as_images(self.levels)
            for i in run:
                image = images[i : i + 1].permute(0, 3, 1, 2).contiguous()
                self._keep_levels(apply_one(image, batch.operations[i]), levels[i : i + 1])
            return
        rows = slice(run[0], run[-1] + 1)
        copy = copy_gray if self.channels == 1 else split_planes
        copy(images[rows].permute(0, 3, 1, 2), self._as_images(self.levels)[rows], flip=False)

    def _keep_levels(self, image: torch.Tensor, level: torch.Tensor) -> None:
        """A finished image (1, 3, H, W) to levels."""
        if self.channels == 1:
            copy_gray(image, level, flip=False)
        else:
            level.copy_(image)

    def _normalize_run(
        self,
        levels: torch.Tensor,
        out: torch.Tensor,
        partner: list[int],
        boxes: list[list[int]] | None,
        run: list[int],
        scratch: "Scratch",
    ) -> None:
        """Normalize images, with CutMix after the partner's box was copied over."""
        own = scratch.levels[0]
        for k, part in enumerate(self.parts):
            sources, targets = levels[:, k].unbind(), out[:, k].unbind()  # once, since each index costs a microsecond
            for i in run:
                own.copy_(sources[i])
                if boxes is not None:
                    part.paste(own, sources[partner[i]], boxes[i])
                result = targets[i] if self.dtype == torch.float32 else own
                part.normalize(own, result)
                if result is own:
                    targets[i].copy_(own)

    def _mix_run(
        self,
        levels: torch.Tensor,
        out: torch.Tensor,
        partner: list[int],
        lam: list[float],
        run: list[int],
        scratch: "Scratch",
    ) -> None:
        """Mix along a walk through the partners.

        The partner of one image is the next image, and is converted once for both.

        One part of all images comes before the next part, so that everything but the batch stays in the core's second
        cache.
        """
        own, other, between = scratch.levels
        for k, part in enumerate(self.parts):
            sources, targets = levels[:, k].unbind(), out[:, k].unbind()
            ready = -1
            for i in run:
                if ready != i:
                    own.copy_(sources[i])
                other.copy_(sources[partner[i]])
                result = targets[i] if self.dtype == torch.float32 else between
                part.mix(own, other, lam[i], between, result)
                if result is between:
                    targets[i].copy_(between)
                own, other, ready = other, own, partner[i]


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


class Plane:
    """One channel of an image; (H * W,)."""

    def __init__(self, scale: float, shift: float, width: int):
        self.width = width
        self.scale = scale
        self.shift: torch.Tensor = torch.tensor(
            shift, dtype=torch.float32
        )  # as a number it would be made a tensor in each call, in a microsecond

    def normalize(self, own: torch.Tensor, out: torch.Tensor) -> None:
        """float32 levels to normalized values."""
        torch.add(self.shift, own, alpha=self.scale, out=out)

    def mix(self, own: torch.Tensor, other: torch.Tensor, lam: float, between: torch.Tensor, out: torch.Tensor) -> None:
        """float32 levels of an image and its partner to normalized mixed values.

        `between` is scratch and may be `out`.
        """
        torch.add(self.shift, other, alpha=(1 - lam) * self.scale, out=between)
        torch.add(between, own, alpha=lam * self.scale, out=out)

    def paste(self, own: torch.Tensor, other: torch.Tensor, box: list[int]) -> None:
        """Copy a box [top, left, bottom, right] of other's levels, uint8, over own ones, float32."""
        top, left, bottom, right = box
        if top < bottom and left < right:
            own.view(-1, self.width)[top:bottom, left:right] = other.view(-1, self.width)[top:bottom, left:right]


class Rows:
    """All rows of an image, of pixels with all their channels; (H, W * channels)."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor, width: int):
        self.channels: int = len(scale)
        self.scale, self.shift = scale.repeat(width), shift.repeat(width)

    def normalize(self, own: torch.Tensor, out: torch.Tensor) -> None:
        """float32 levels to normalized values."""
        torch.addcmul(self.shift, own, self.scale, out=out)

    def mix(self, own: torch.Tensor, other: torch.Tensor, lam: float, between: torch.Tensor, out: torch.Tensor) -> None:
        """float32 levels of an image and its partner to normalized mixed values.

        `between` is scratch and may be `out`.
        """
        torch.addcmul(self.shift, other, self.scale * (1 - lam), out=between)
        torch.addcmul(between, own, self.scale * lam, out=out)

    def paste(self, own: torch.Tensor, other: torch.Tensor, box: list[int]) -> None:
        """Copy a box [top, left, bottom, right] of other's levels, uint8, over own ones, float32."""
        top, left, bottom, right = box
        if top < bottom and left < right:
            columns = slice(self.channels * left, self.channels * right)
            own[top:bottom, columns] = other[top:bottom, columns]


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


def split_image(pipeline: ImagePipeline, *, planar: bool) -> Sequence[Plane | Rows]:
    """What an image is made of in memory: its planes, or its rows."""
    width = pipeline.size[1]
    if not planar:
        return [Rows(*pipeline.normalization(torch.float32), width)]
    scale, shift = pipeline.normalization(torch.float64)
    return [Plane(*both, width) for both in zip(scale.tolist(), shift.tolist(), strict=True)]


def split_planes(images: torch.Tensor, planes: torch.Tensor, *, flip: bool) -> None:
    """Copy channels-last (B, 3, H, W) uint8 images to planar ones, mirrored if `flip`.

    Numpy does this faster than torch.
    """
    source = images.numpy()
    np.copyto(planes.numpy(), source[..., ::-1] if flip else source)


def copy_gray(images: torch.Tensor, gray: torch.Tensor, *, flip: bool) -> None:
    """The levels (B, 1, H, W) of (B, 3, H, W) uint8 images, mirrored if `flip`; by Pillow itself, all at once."""
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    count, height, width, _ = pixels.shape
    with Image.fromarray(pixels.reshape(count * height, width, 3)) as image:
        levels = np.asarray(image.convert("L")).reshape(count, 1, height, width)
    np.copyto(gray.numpy(), levels[..., ::-1] if flip else levels)


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
