"""Crops, borders and flips of many small images at once, without a resize: all of it is where each pixel comes from."""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from dali_mixup.dataset.dataset import PixelDataset
from dali_mixup.geometry.geometry import Border, Windows, inside
from dali_mixup.placement import send

PIXEL = np.dtype("V3")  # of three bytes, which numpy moves at once
GROUP = 2**17  # pixels of the images that are cut at once; between two calls a thread waits for Python's lock


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
        dataset: with images of `one_size`.
        numbers: (B,) int64, of its images.
        windows: of each.
        flips: (B,) bool, which ones are mirrored.
        border: what stands outside of the windows; black without.
        out: where to write them, (B, h, w, 3) uint8.
    """
    size, border = out.shape[1:3], border or Border()
    group = max(1, GROUP // (size[0] * size[1]))
    for start in range(0, len(numbers), group):
        part = slice(start, min(start + group, len(numbers)))
        images, planned = dataset.whole(numbers[part]), windows.rows(range(part.start, part.stop))
        if planned.anchor.any() or (planned.shape != images.shape[1:3]).any():  # crops of parts, by a user's geometry
            stack, each = torch.from_numpy(images), np.arange(len(images))
            out[part] = gather_on_device(stack, each, planned, flips[part], size=size, border=border).numpy()
            continue
        out[part] = _crops(images, planned.offset, size, border)
        mirrored = start + np.flatnonzero(flips[part])
        crops = torch.from_numpy(out[mirrored]).permute(0, 3, 1, 2)
        out[mirrored] = crops.flip(-1).permute(0, 2, 3, 1).numpy()  # torch is quick with pixels of three bytes


def _crops(images: np.ndarray, offset: np.ndarray, size: tuple[int, int], border: Border) -> np.ndarray:
    """Those (n, *size, 3) of images (n, H, W, 3) from the places `offset` (n, 2) on, which may lie outside.

    All are copied in one call, out of images that have margins.
    """
    low = np.minimum(offset.min(0), 0)
    high = np.maximum(offset.max(0) + size, images.shape[1:3])
    height, width = (high - low).tolist()
    framed = np.empty((len(images), height, width, 3), np.uint8)
    own = tuple(slice(-start, side - start) for start, side in zip(low.tolist(), images.shape[1:3], strict=True))
    if border.mode == "constant":
        framed[:] = np.full((height, width, 3), border.fill, np.uint8)
    framed[:, *own] = images
    if border.mode != "constant":
        by_axis = framed.swapaxes(0, 1), framed.view(PIXEL).reshape(-1, width).T  # of one line per row, and per column
        for lines, start, end, side in zip(by_axis, low.tolist(), high.tolist(), images.shape[1:3], strict=True):
            outside = [*range(start, 0), *range(side, end)]
            for place, source in zip(outside, inside(np.array(outside), side, border.mode).tolist(), strict=True):
                lines[place - start] = lines[source - start]
    starts = sliding_window_view(framed, size, (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return starts[np.arange(len(images)), *(offset - low).T]


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
