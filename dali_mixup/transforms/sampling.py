"""Pixels between pixels, with Pillow's arithmetic: what stands at any place of an image.

Places are columns and rows, in pixels from the image's corner; the first pixel's centre is at (0.5, 0.5).
"""

from typing import Literal

import torch

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Found = tuple[torch.Tensor, torch.Tensor]


def grid(images: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of rows, (H, 1), and of columns, (W,)."""
    height, width = images.shape[2:]
    rows = torch.arange(height, dtype=dtype, device=images.device).view(-1, 1)
    return rows, torch.arange(width, dtype=dtype, device=images.device)


def sample(
    images: torch.Tensor, places: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """Images (n, 3, H, W) uint8 at `places` (n, 2, H, W) float64, which are written to; outside is `fill`."""
    found, inside = SAMPLERS[interpolation](images, places)
    return filled(found, inside, fill)


def filled(found: torch.Tensor, inside: torch.Tensor, fill: tuple[int, int, int]) -> torch.Tensor:
    """`found` (n, 3, H, W) uint8 where `inside` (n, H, W), elsewhere `fill`."""
    # filled on the device: a tensor made of `fill` would be copied there
    levels = fill[:1] if len(set(fill)) == 1 else fill
    outside = [torch.full((1, 1), level, dtype=torch.uint8, device=found.device) for level in levels]
    return torch.where(inside[:, None], found, torch.stack(outside))


def gather(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Pixels (n, 3, ...) at places (n, ...) in flattened images."""
    found = images.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, 3, -1))
    return found.view(len(images), 3, *places.shape[1:])


def _nearest(images: torch.Tensor, places: torch.Tensor) -> Found:
    height, width = images.shape[2:]
    x, y = places.unbind(1)
    inside = _is_inside(images, x, y)
    column, row = x.long().clamp_(0, width - 1), y.long().clamp_(0, height - 1)
    return gather(images, row * width + column), inside


def _bilinear(images: torch.Tensor, places: torch.Tensor) -> Found:
    inside, across, down, columns, rows = _around(images, places, (0, 1))

    def between(row: torch.Tensor) -> torch.Tensor:
        first, second = gather(images, row[:, None] + columns).double().unbind(2)
        return second.sub_(first).mul_(across).add_(first)

    upper, lower = (between(row) for row in rows.unbind(1))
    return lower.sub_(upper).mul_(down).add_(upper).clamp_(0, 255).to(torch.uint8), inside


def _bicubic(images: torch.Tensor, places: torch.Tensor) -> Found:
    inside, across, down, columns, rows = _around(images, places, (-1, 0, 1, 2))
    along = [_cubic(gather(images, row[:, None] + columns).double().unbind(2), across) for row in rows.unbind(1)]
    return _cubic(along, down).clamp_(0, 255).to(torch.uint8), inside


SAMPLERS = {"nearest": _nearest, "bilinear": _bilinear, "bicubic": _bicubic}


def _is_inside(images: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[2:]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _around(images: torch.Tensor, places: torch.Tensor, steps: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    """Whether places are inside, how far they are from a pixel, and where that pixel's neighbours at `steps` lie.

    Returns:
        inside (n, H, W); across and down, (n, 1, H, W), from 0 to 1; columns and rows (n, steps, H, W), which add up to
        places in flattened images.
    """
    height, width = images.shape[2:]
    inside = _is_inside(images, *places.unbind(1))
    corners = places.sub_(0.5).floor()
    across, down = places.sub_(corners)[:, :, None].unbind(1)
    left, top = corners.long().unbind(1)
    columns = torch.stack([left + step for step in steps], 1).clamp_(0, width - 1)
    rows = torch.stack([top + step for step in steps], 1).clamp_(0, height - 1).mul_(width)
    return inside, across, down, columns, rows


def _cubic(values: "list[torch.Tensor] | tuple[torch.Tensor, ...]", part: torch.Tensor) -> torch.Tensor:
    """Between the second and the third of four values, by a cubic through them; in the order of Pillow's sums."""
    first, second, third, fourth = values
    cubed = second - first - third + fourth
    squared = (first - second).mul_(2).add_(third).sub_(fourth)
    return cubed.mul_(part).add_(squared).mul_(part).add_(third - first).mul_(part).add_(second)
