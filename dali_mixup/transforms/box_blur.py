"""Pillow's `GaussianBlur`, to the bit: three boxes of fractional width one after the other, along rows, then columns.

Source: Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended Box Filtering, 2011.
"""

import math

import numpy as np
import torch

from dali_mixup.transforms.operations import Operation

PASSES = 3
ONE = 1 << 24  # Pillow's weights are fractions of it


def gaussian_blur(radius: float) -> Operation:
    """A blur with a standard deviation of `radius` pixels; the outermost pixels are repeated outside."""
    reach, edge, inner = _box(np.float32(radius))
    return Operation(box_blur, (radius, inner, edge), (reach,))


def box_blur(images: torch.Tensor, numbers: torch.Tensor, reach: int) -> torch.Tensor:
    """`numbers`: the radius, then what comes of it: the weights of pixels up to `reach` away and one further."""
    _, inner, edge = numbers[..., None, None, None].unbind(1)
    # sums of 32 bits are exact in float64, and faster than in int64
    planes = images.double()
    for dim in (3, 2):
        for _ in range(PASSES):
            planes = _blur_along(planes, dim, inner, edge, reach)
    return planes.to(torch.uint8)


def _blur_along(planes: torch.Tensor, dim: int, inner: torch.Tensor, edge: torch.Tensor, reach: int) -> torch.Tensor:
    """One box, rounded to levels."""
    length = planes.shape[dim]
    far = reach + 1
    sides = (far, far, 0, 0) if dim == 3 else (0, 0, far, far)
    padded = torch.nn.functional.pad(planes, sides, mode="replicate")
    total = padded.narrow(dim, 1, length).clone()
    for step in range(2, 2 * far):
        total.add_(padded.narrow(dim, step, length))
    ends = padded.narrow(dim, 0, length) + padded.narrow(dim, 2 * far, length)
    return total.mul_(inner).add_(ends.mul_(edge)).add_(ONE // 2).mul_(1 / ONE).floor_()


def _box(radius: np.float32) -> tuple[int, int, int]:
    """How many whole pixels it reaches, the weight of the fraction beyond, and that of whole pixels."""
    variance = radius * radius / np.float32(PASSES)
    width = np.float32(math.sqrt(12.0 * float(variance) + 1.0))
    whole = np.float32(math.floor((float(width) - 1.0) / 2.0))
    one = np.float32(1)
    part = np.float32(float(2 * whole + one) * (float(whole * (whole + one)) - 3.0 * float(variance)))
    part = part / (np.float32(6) * (variance - (whole + one) * (whole + one)))
    box = whole + part
    reach = int(box)
    inner = int(np.float32(ONE) / (box * np.float32(2) + one))
    return reach, (ONE - (2 * reach + 1) * inner) // 2, inner
