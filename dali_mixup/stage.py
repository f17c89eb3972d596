"""The batch stage: mixup, normalization, cast and layout of a decoded batch."""

import torch

from dali_mixup.mixup import MixUpDraw


def run_stage(
    images: torch.Tensor,
    draw: MixUpDraw | None,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> torch.Tensor:
    """Mix and normalize: (lam * x + (1 - lam) * x[partner]) / 255, minus mean, over std.

    Args:
        images: (B, H, W, 3) uint8.
        draw: lam and partner on the images' device, or None.
        mean: per channel, of values in [0, 1].
        std: per channel, likewise.
        dtype: of the result; the arithmetic is float32.
        memory_format: of the result, `torch.contiguous_format` or `torch.channels_last`.

    Returns:
        (B, 3, H, W) on the images' device, in memory of its own.
    """
    scale = 1 / (255 * torch.tensor(std, device=images.device))
    shift = -torch.tensor(mean, device=images.device) / torch.tensor(std, device=images.device)
    pixels = images.float()
    if draw is not None:
        pixels = torch.lerp(pixels[draw.partner], pixels, draw.lam.view(-1, 1, 1, 1))
    return torch.addcmul(shift, pixels, scale).permute(0, 3, 1, 2).to(dtype, memory_format=memory_format)
