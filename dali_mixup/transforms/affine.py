"""Shears, shifts and rotations of finished images, with torchvision's matrices and Pillow's arithmetic.

A matrix (a, b, c, d, e, f) says where an output pixel comes from: column a x + b y + c and row d x + e y + f, of pixel
centres. On a CPU Pillow itself does it, in a quarter of the time; the torch code is for GPUs.
"""

import math
from typing import Literal

import numpy as np
import torch
from PIL import Image

Matrix = tuple[float, float, float, float, float, float]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
RESAMPLING = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}

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
    if images.device.type == "cpu":
        return _warp_by_pillow(images, numbers, interpolation, fill)
    return warp_by_torch(images, numbers, interpolation, fill)


def warp_by_torch(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """`warp` on any device."""
    found, inside = SAMPLE[interpolation](images, numbers.view(-1, 2, 3))
    # filled on the device: a tensor made of `fill` would be copied there
    levels = fill[:1] if len(set(fill)) == 1 else fill
    outside = [torch.full((1, 1), level, dtype=torch.uint8, device=images.device) for level in levels]
    return torch.where(inside[:, None], found, torch.stack(outside))


def _warp_by_pillow(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    out = torch.empty(images.shape, dtype=torch.uint8)
    for source, target, matrix in zip(images.numpy(), out.numpy(), numbers.tolist(), strict=True):
        image = Image.fromarray(np.ascontiguousarray(source.transpose(1, 2, 0)))
        image = image.transform(image.size, Image.Transform.AFFINE, matrix, RESAMPLING[interpolation], fillcolor=fill)
        np.copyto(target, np.asarray(image).transpose(2, 0, 1))
    return out


def _nearest(images: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    half = matrix[..., :2] * 0.5
    centres = matrix[..., 2] + half[..., 0] + half[..., 1]
    terms = torch.cat([matrix[..., :2], centres[..., None]], 2).mul_(FIXED).add_(0.5).floor_().long()
    rows, columns = _grid(images, torch.int64)
    x, y = (_places(terms, rows, columns) >> 16).unbind(1)
    height, width = images.shape[2:]
    column, row = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return _gather(images, row * width + column), (x == column) & (y == row)


def _bilinear(images: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (rows, columns), (down, across), inside = _neighbours(images, matrix, (0, 1))

    def between(row: torch.Tensor) -> torch.Tensor:
        first, second = _gather(images, row[:, None] + columns).double().unbind(2)
        return second.sub_(first).mul_(across).add_(first)

    upper, lower = (between(row) for row in rows.unbind(1))
    return lower.sub_(upper).mul_(down).add_(upper).clamp_(0, 255).to(torch.uint8), inside


def _bicubic(images: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (rows, columns), (down, across), inside = _neighbours(images, matrix, (-1, 0, 1, 2))
    lines = [_cubic(*_gather(images, row[:, None] + columns).double().unbind(2), across) for row in rows.unbind(1)]
    return _cubic(*lines, down).clamp_(0, 255).to(torch.uint8), inside


def _cubic(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Between b (0) and c (1), in the order in which Pillow rounds."""
    slope, difference = c - a, a - b
    square = (difference * 2).add_(c).sub_(d)
    cube = difference.neg_().sub_(c).add_(d)
    return cube.mul_(place).add_(square).mul_(place).add_(slope).mul_(place).add_(b)


def _neighbours(
    images: torch.Tensor, matrix: torch.Tensor, steps: tuple[int, ...]
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Of the pixels that each output pixel is made of, `steps` away from the one at its upper left.

    Returns:
        where their rows begin and their columns, (n, steps, H, W) each; how far below and to the right of it the place
        is, (n, 1, H, W) each; whether it is within the image, (n, H, W).
    """
    rows, columns = (steps + 0.5 for steps in _grid(images, torch.float64))
    places = _places(matrix, rows, columns)
    x, y = places.unbind(1)
    height, width = images.shape[2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    corners = places.sub_(0.5).floor()
    across, down = places.sub_(corners)[:, :, None].unbind(1)
    left, top = corners.long().unbind(1)
    columns = torch.stack([left + step for step in steps], 1).clamp_(0, width - 1)
    rows = torch.stack([top + step for step in steps], 1).clamp_(0, height - 1).mul_(width)
    return (rows, columns), (down, across), inside


SAMPLE = {"nearest": _nearest, "bilinear": _bilinear, "bicubic": _bicubic}


def _grid(images: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = images.shape[2:]
    rows = torch.arange(height, dtype=dtype, device=images.device).view(-1, 1)
    return rows, torch.arange(width, dtype=dtype, device=images.device)


def _places(matrix: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Columns and rows that the pixels come from, (n, 2, H, W), by matrices (n, 2, 3)."""
    a, b, c = matrix[..., None, None].unbind(2)
    return (a * columns + b * rows).add_(c)


def _gather(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Pixels (n, 3, ...) at places (n, ...) in flattened images."""
    found = images.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, 3, -1))
    return found.view(len(images), 3, *places.shape[1:])
