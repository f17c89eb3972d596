"""Shears, shifts and rotations of finished images, with torchvision's matrices and Pillow's arithmetic.

A matrix (a, b, c, d, e, f) says where an output pixel comes from: column a x + b y + c and row d x + e y + f, of pixel
centres.
"""

import math
from typing import Literal

import torch

Matrix = tuple[float, float, float, float, float, float]
Interpolation = Literal["nearest", "bilinear"]

FIXED = 65536  # Pillow's nearest neighbour counts in 16.16 fixed point
DIGITS = 15  # Pillow rounds the sines of a rotation to so many


def shear_x(amount: float) -> Matrix:
    """Each row moved by its number times `amount`, as torchvision's auto-augmentations do."""
    tangent = math.tan(math.radians(math.degrees(math.atan(amount))))
    return 1.0, tangent, 0.0, 0.0, 1.0, 0.0


def shear_y(amount: float) -> Matrix:
    """Each column moved by its number times `amount`."""
    angle = math.radians(math.degrees(math.atan(amount)))
    # torchvision rotates by minus the shear within its product of matrices
    across, along = math.cos(-angle) / math.cos(angle), math.sin(-angle) / math.cos(angle)
    return 1.0, 0.0, 0.0, -along, across, 0.0


def translate_x(pixels: float) -> Matrix:
    """Moved to the right by whole pixels."""
    return 1.0, 0.0, -float(int(pixels)), 0.0, 1.0, 0.0


def translate_y(pixels: float) -> Matrix:
    """Moved down by whole pixels."""
    return 1.0, 0.0, 0.0, 0.0, 1.0, -float(int(pixels))


def rotate(degrees: float, height: int, width: int) -> Matrix:
    """Turned counter-clockwise around the centre."""
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), DIGITS), round(math.sin(angle), DIGITS)
    x, y = width / 2, height / 2
    return cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y


def warp(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """Images (n, 3, H, W) uint8 through the matrices `numbers` (n, 6) float64; what comes from outside is `fill`."""
    sample = _nearest if interpolation == "nearest" else _bilinear
    found, inside = sample(images, numbers)
    # filled on the device: a tensor made of `fill` would be copied there
    outside = torch.stack([torch.full((1, 1), level, dtype=torch.uint8, device=images.device) for level in fill])
    return torch.where(inside[:, None], found, outside)


def _nearest(images: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    a, b, c, d, e, f = numbers.unbind(1)
    terms = torch.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5], 1)
    terms = torch.floor(terms * FIXED + 0.5).long()
    rows, columns = _grid(images, torch.int64)
    a, b, c, d, e, f = (terms[:, k].view(-1, 1, 1) for k in range(6))
    x, y = (a * columns + b * rows + c) >> 16, (d * columns + e * rows + f) >> 16
    height, width = images.shape[2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return _gather(images, y, x), inside


def _bilinear(images: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = (steps + 0.5 for steps in _grid(images, torch.float64))
    a, b, c, d, e, f = (numbers[:, k].view(-1, 1, 1) for k in range(6))
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    height, width = images.shape[2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    across, down = (x - left)[:, None], (y - top)[:, None]
    left, top = left.long(), top.long()

    def between(row: torch.Tensor) -> torch.Tensor:
        first, second = _gather(images, row, left).double(), _gather(images, row, left + 1).double()
        return first + (second - first) * across

    upper, lower = between(top), between(top + 1)
    return (upper + (lower - upper) * down).clamp_(0, 255).to(torch.uint8), inside


def _grid(images: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = images.shape[2:]
    rows = torch.arange(height, dtype=dtype, device=images.device).view(1, -1, 1)
    return rows, torch.arange(width, dtype=dtype, device=images.device).view(1, 1, -1)


def _gather(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Pixels (n, 3, H, W) at places (n, H, W); the nearest ones for places outside."""
    height, width = images.shape[2:]
    places = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1).long()
    return images.flatten(2).gather(2, places[:, None].expand(-1, 3, -1)).view(images.shape)
