"""A stage that lets the user's functions have the finished float batch before it is mixed."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dali_mixup.buffers import BufferPool
from dali_mixup.mixing.apply import mix_images
from dali_mixup.mixing.draws import CutMixDraw, Draw
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.placement import send
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.stage.cpu import CpuStage
from dali_mixup.stage.whole_batch import WholeBatchStage
from dali_mixup.transforms.after import After, apply_after


class AfterStage:
    """Another stage without its mixing, then `pipeline.after`, mixup or CutMix, cast and layout.

    Mixing and casting pass through the batch once more each, where the other stages do all in one pass.

    Args:
        stage: for float32 batches (B, 3, H, W) with contiguous rows.
        pipeline: what comes after.
        dtype: of the batches.
        memory_format: torch.contiguous_format or torch.channels_last.
        keep: output buffers to keep for later batches.
    """

    stage: CpuStage | WholeBatchStage
    after: tuple[After, ...]
    dtype: torch.dtype
    memory_format: torch.memory_format

    def __init__(
        self,
        stage: CpuStage | WholeBatchStage,
        pipeline: ImagePipeline,
        *,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        keep: int,
    ):
        self.stage, self.after = stage, pipeline.after
        self.dtype, self.memory_format = dtype, memory_format
        self.buffers: BufferPool = BufferPool(keep)

    @property
    def resizing(self) -> float:
        """Seconds so far."""
        return self.stage.resizing

    def __call__(self, images: Any, batch: BatchPlan) -> torch.Tensor:
        """Finish a batch; see `CpuStage`."""
        finished = self.stage(images, replace(batch, draw=None))
        drawn = np.empty((len(finished), 0), np.float32) if batch.after is None else batch.after
        uniform = send(torch.from_numpy(drawn), finished.device)
        with torch.no_grad():
            finished = apply_after(finished, self.after, uniform)
            if batch.draw is not None:
                finished = self._mix(finished, batch.draw)
            return finished.to(self.dtype, memory_format=self.memory_format)

    def _mix(self, images: torch.Tensor, draw: Draw) -> torch.Tensor:
        if images.device.type != "cpu":
            return mix_images(images, draw.to(images.device))
        return mix_one_by_one(images, draw, self.buffers.take(tuple(images.shape), images.dtype))


def mix_one_by_one(images: torch.Tensor, draw: Draw, mixed: torch.Tensor) -> torch.Tensor:
    """`mix_images` on a CPU, into `mixed`: each image passes through the cache once."""
    lam, partner = draw.lam.tolist(), draw.partner.tolist()
    if isinstance(draw, CutMixDraw):
        mixed.copy_(images)
        for own, other, (top, left, bottom, right) in zip(mixed, partner, draw.boxes.tolist(), strict=True):
            own[:, top:bottom, left:right] = images[other, :, top:bottom, left:right]
        return mixed
    for out, own, other, weight in zip(mixed, images, partner, lam, strict=True):
        if weight < 1:
            torch.lerp(images[other], own, weight, out=out)
        else:
            out.copy_(own)
    return mixed
