"""The batch stage in whole-batch torch expressions.

On a GPU without triton, and what the faster stages are compared with.
"""

from typing import TYPE_CHECKING

import torch

from dali_mixup.mixing.apply import inside_boxes
from dali_mixup.mixing.draws import Draw, MixUpDraw
from dali_mixup.pipeline import ImagePipeline

if TYPE_CHECKING:
    from dali_mixup.stage.triton_kernel import TritonStage


class TorchStage:
    """Mixup or CutMix, normalization, cast and layout of finished uint8 images.

    Args:
        pipeline: mean and std.
        dtype: of the batches; the arithmetic is float32.
        memory_format: torch.contiguous_format or torch.channels_last.
        device: of the images.
    """

    def __init__(
        self, pipeline: ImagePipeline, *, dtype: torch.dtype, memory_format: torch.memory_format, device: torch.device
    ):
        self.dtype, self.memory_format = dtype, memory_format
        mean, std = torch.tensor(pipeline.mean), torch.tensor(pipeline.std)
        self.scale, self.shift = (1 / (255 * std)).to(device), (-mean / std).to(device)

    def __call__(self, images: torch.Tensor, draw: Draw | None) -> torch.Tensor:
        """(lam * x + (1 - lam) * x[partner]) / 255, or x with x[partner] in its box, minus mean, over std.

        Args:
            images: (B, H, W, 3) uint8.
            draw: on the images' device, or None.

        Returns:
            (B, 3, H, W) in memory of its own.
        """
        pixels = images.float()
        if isinstance(draw, MixUpDraw):
            pixels = torch.lerp(pixels[draw.partner], pixels, draw.lam.view(-1, 1, 1, 1))
        elif draw is not None:
            pixels = torch.where(inside_boxes(draw)[..., None], pixels[draw.partner], pixels)
        return (
            torch.addcmul(self.shift, pixels, self.scale)
            .permute(0, 3, 1, 2)
            .to(self.dtype, memory_format=self.memory_format)
        )


def build_gpu_stage(
    pipeline: ImagePipeline, *, dtype: torch.dtype, memory_format: torch.memory_format, device: torch.device
) -> "TritonStage | TorchStage":
    """Triton comes with torch's GPU builds; without it torch expressions give the same batches."""
    try:
        from dali_mixup.stage.triton_kernel import TritonStage
    except ImportError:
        return TorchStage(pipeline, dtype=dtype, memory_format=memory_format, device=device)
    return TritonStage(pipeline, dtype=dtype, memory_format=memory_format)
