"""Crops, borders and flips of many small images at once, without a resize: all of it is where each pixel comes from."""

import numpy as np
import torch

from dali_mixup.dataset.dataset import PixelDataset
from dali_mixup.geometry.geometry import Border, Windows, inside
from dali_mixup.placement import send

PIXEL = np.dtype("V3")  # of three bytes, which numpy moves at once
GROUP = 2**16  # pixels of the images that are cut at once; their places stay in a core's second cache


def gather_on_host(
    dataset: PixelDataset,
    numbers: np.ndarray,
    windows: Windows,
    flips: np.ndarray,
    *,
    border: Border | None,
    out: np.ndarray,
) -> None:
    """Finished crops of images of one size.

    Args:
        dataset: with a `stack`.
        numbers: (B,) int64, of its images.
        windows: of each.
        flips: (B,) bool, which ones are mirrored.
        border: what stands outside of the windows; black without.
        out: where to write them, (B, h, w, 3) uint8.
    """
    height, width = int(dataset.heights[0]), int(dataset.widths[0])
    size = out.shape[1:3]
    rows, columns = find_places(windows, flips, size=size, border=border, outside=(height, width))
    group = max(1, GROUP // (size[0] * size[1]))
    framed = np.empty((min(group, len(numbers)), height + 1, width + 1, 3), np.uint8)
    framed[:, height] = framed[:, :, width] = (border or Border()).fill  # the last row and column: what is outside
    pixels = framed.reshape(-1, 3).view(PIXEL)[:, 0]
    for start in range(0, len(numbers), group):
        part = slice(start, min(start + group, len(numbers)))
        count = part.stop - start
        framed[:count, :height, :width] = dataset.whole(numbers[part])
        lines = np.arange(count)[:, None] * (height + 1) + rows[part]
        places = lines[:, :, None] * (width + 1) + columns[part, None]
        out[part] = pixels.take(places).view(np.uint8).reshape(count, *size, 3)


def gather_on_device(
    stack: torch.Tensor,
    numbers: np.ndarray,
    windows: Windows,
    flips: np.ndarray,
    *,
    size: tuple[int, int],
    border: Border | None,
) -> torch.Tensor:
    """The same of a tensor (N, H, W, 3) uint8, on its device, for which the host doesn't wait."""
    height, width = stack.shape[1:3]
    places = find_places(windows, flips, size=size, border=border, outside=(height, width))
    rows, columns = (send(torch.from_numpy(each), stack.device) for each in places)
    which = send(torch.from_numpy(numbers), stack.device)
    fill = send(torch.tensor((border or Border()).fill, dtype=torch.uint8), stack.device)
    pixels = stack[
        which[:, None, None], rows.clamp(max=height - 1)[:, :, None], columns.clamp(max=width - 1)[:, None, :]
    ]
    outside = (rows == height)[:, :, None] | (columns == width)[:, None, :]
    return torch.where(outside[..., None], fill, pixels).contiguous()


def find_places(
    windows: Windows,
    flips: np.ndarray,
    *,
    size: tuple[int, int],
    border: Border | None,
    outside: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows (B, size[0]) and columns (B, size[1]) of the images, int64, the crops consist of.

    Args:
        windows: of the images.
        flips: (B,) bool, which ones are mirrored.
        size: height and width of the crops.
        border: what stands outside of the windows.
        outside: what to say of a row and of a column that are filled.
    """
    mode = (border or Border()).mode
    found = []
    for axis, length in enumerate(size):
        sides, starts = windows.shape[:, axis, None], windows.anchor[:, axis, None]
        places = windows.offset[:, axis, None] + np.arange(length)
        if mode == "constant":
            found.append(np.where((places >= 0) & (places < sides), places + starts, outside[axis]))
        else:
            found.append(inside(places, sides, mode) + starts)
    rows, columns = found
    return rows, np.where(flips[:, None], columns[:, ::-1], columns)
