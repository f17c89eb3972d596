"""The batch stage for whole batches of finished images, and its arithmetic in torch.

Torch's expressions serve a GPU without triton, and the faster stages are compared with them.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch

from dali_mixup.mixing.apply import inside_boxes
from dali_mixup.mixing.draws import Draw, MixUpDraw
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.placement import send
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.transforms.operations import apply_batch
from dali_mixup.transforms.pixels import to_gray


class WholeBatchStage(ABC):
    """Transforms, mixup or CutMix, normalization, cast and layout of finished uint8 images.

    Args:
        pipeline: mean and std.
        dtype: of the batches; the arithmetic is float32.
        memory_format: torch.contiguous_format or torch.channels_last.
        device: of the images.
    """

    dtype: torch.dtype
    memory_format: torch.memory_format
    device: torch.device
    scale: Any
    shift: Any
    resizing: float = 0.0  # seconds so far: DALI resizes

    def __init__(
        self,
        pipeline: ImagePipeline,
        *,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        device: torch.device,
    ):
        self.dtype, self.memory_format, self.device = dtype, memory_format, device
        self.gray: bool = pipeline.channels == 1
        self.scale, self.shift = self.prepare(pipeline)

    def __call__(self, images: torch.Tensor, batch: BatchPlan) -> torch.Tensor:
        """Finish a batch.

        Args:
            images: (B, H, W, 3) uint8, cropped and flipped.
            batch: their plan.

        Returns:
            (B, 3, H, W), or gray (B, 1, H, W), in memory that nobody else holds.
        """
        if batch.operations is not None:
            images = apply_batch(images.permute(0, 3, 1, 2), batch.operations).permute(0, 2, 3, 1).contiguous()
        if self.gray:
            images = to_gray(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.finish(images, None if batch.draw is None else batch.draw.to(self.device))

    @abstractmethod
    def prepare(self, pipeline: ImagePipeline) -> tuple[Any, Any]:
        """Scale and shift per channel, in the form that `finish` needs."""

    @abstractmethod
    def finish(self, images: torch.Tensor, draw: Draw | None) -> torch.Tensor:
        """(lam * x + (1 - lam) * x[partner]) / 255, or x with x[partner] in its box, minus mean, over std.

        Args:
            images: (B, H, W, 3) uint8, or gray (B, H, W, 1).
            draw: on the images' device, or None.

        Returns:
            (B, 3, H, W), or gray (B, 1, H, W), in memory of its own.
        """


class TorchStage(WholeBatchStage):
    """The stage in torch's expressions."""

    def prepare(self, pipeline: ImagePipeline) -> tuple[torch.Tensor, torch.Tensor]:
        """See `WholeBatchStage`."""
        scale, shift = pipeline.normalization(torch.float32)
        return send(scale, self.device), send(shift, self.device)

    def finish(self, images: torch.Tensor, draw: Draw | None) -> torch.Tensor:
        """See `WholeBatchStage`."""
        pixels = images.float()
        if isinstance(draw, MixUpDraw):
            pixels = torch.lerp(pixels[draw.partner], pixels, draw.lam.view(-1, 1, 1, 1))
        elif draw is not None:
            pixels = torch.where(inside_boxes(draw)[..., None], pixels[draw.partner], pixels)
        normalized = torch.addcmul(self.shift, pixels, self.scale).permute(0, 3, 1, 2)
        return normalized.to(self.dtype, memory_format=self.memory_format)
