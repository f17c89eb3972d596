"""The CPU stage's loops over the images of a batch, for TorchScript: its threads don't wait for Python's lock.

Each operator on an image takes microseconds, after which a thread would need the lock again: two threads that loop in
Python are hardly faster than one. See `without_lock`.
"""

from typing import NamedTuple

import torch

from dali_mixup.stage.resampling import resize_into


class Part(NamedTuple):
    """What of an image lies together in memory: the plane of a channel, (H * W,), or all rows, (H, W * channels).

    Attributes:
        scale: of a plane's levels.
        scales: (W * channels,) float32, of rows; None of a plane.
        shift: () or (W * channels,) float32.
        row: values of a row.
        pixel: values of a pixel.
    """

    scale: float
    scales: torch.Tensor | None
    shift: torch.Tensor
    row: int
    pixel: int


def resize_windows(
    windows: list[torch.Tensor],
    levels: torch.Tensor,
    pixels: torch.Tensor,
    bicubic: list[bool],
    resized: list[list[int]],
    offset: list[list[int]],
    flips: list[bool],
    run: list[int],
) -> None:
    """Resize decoded windows, cut the output from them, and mirror it.

    Args:
        windows: n of (h, w, 3) uint8.
        levels: of the batch, (B, 3, H, W) uint8, planar or channels last.
        pixels: scratch, (1, 3, H, W) uint8, channels last.
        bicubic: which windows aren't resized bilinearly.
        resized: to which height and width.
        offset: the output's top and left in what is resized.
        flips: which ones are mirrored.
        run: the n rows of `levels` to write.
    """
    size = [levels.size(2), levels.size(3)]
    in_place = levels.is_contiguous(memory_format=torch.channels_last)
    for k, row in enumerate(run):
        image, level = windows[k].contiguous().unsqueeze(0).permute(0, 3, 1, 2), levels[row : row + 1]
        if resized[k] == size:
            target = level if in_place else pixels
            resize_into(image, target, bicubic[k])
            if not in_place:
                level.copy_(pixels)
        else:
            height, width = resized[k]
            whole = torch.empty([1, height, width, 3], dtype=torch.uint8).permute(0, 3, 1, 2)
            resize_into(image, whole, bicubic[k])
            top, left = offset[k]
            level.copy_(whole[:, :, top : top + size[0], left : left + size[1]])
        if flips[k]:
            level.copy_(level.flip(-1))


def normalize_levels(
    levels: torch.Tensor,
    out: torch.Tensor,
    parts: list[Part],
    partner: list[int],
    boxes: list[list[int]],
    run: list[int],
    scratch: torch.Tensor,
) -> None:
    """Normalize images, with CutMix after the partner's box was copied over.

    Args:
        levels: of the batch, (B, len(parts), ...) uint8.
        out: where to write, of the same shape.
        parts: of an image.
        partner: B numbers.
        boxes: of each [top, left, bottom, right]; none without CutMix.
        run: the numbers of those to work on.
        scratch: three images' parts in float32.
    """
    own, is_cast = scratch[0], out.dtype != torch.float32
    sources, targets, count = levels.flatten(0, 1), out.flatten(0, 1), len(parts)
    for k, part in enumerate(parts):
        for i in run:
            own.copy_(sources[count * i + k])
            target = targets[count * i + k]
            if len(boxes) > 0:
                top, left, bottom, right = boxes[i]
                if top < bottom and left < right:
                    place, other = own.view(-1, part.row), sources[count * partner[i] + k].view(-1, part.row)
                    first, end = part.pixel * left, part.pixel * right
                    place[top:bottom, first:end].copy_(other[top:bottom, first:end])
            result = own if is_cast else target
            scales = part.scales
            if scales is None:
                torch.add(part.shift, own, alpha=part.scale, out=result)
            else:
                torch.addcmul(part.shift, own, scales, out=result)
            if is_cast:
                target.copy_(own)


def mix_levels(
    levels: torch.Tensor,
    out: torch.Tensor,
    parts: list[Part],
    partner: list[int],
    lam: list[float],
    run: list[int],
    scratch: torch.Tensor,
) -> None:
    """Mix and normalize images; the arguments are those of `normalize_levels`, and weights instead of boxes.

    Where the partner of one image is the next image, it is converted once for both. One part of all images comes before
    the next part, so that everything but the batch stays in the core's second cache.
    """
    own, other, between, is_cast = scratch[0], scratch[1], scratch[2], out.dtype != torch.float32
    sources, targets, count = levels.flatten(0, 1), out.flatten(0, 1), len(parts)
    for k, part in enumerate(parts):
        ready = -1
        for i in run:
            if ready != i:
                own.copy_(sources[count * i + k])
            other.copy_(sources[count * partner[i] + k])
            target = targets[count * i + k]
            result = between if is_cast else target
            scales = part.scales
            if scales is None:
                torch.add(part.shift, other, alpha=(1 - lam[i]) * part.scale, out=between)
                torch.add(between, own, alpha=lam[i] * part.scale, out=result)
            else:
                torch.addcmul(part.shift, other, scales * (1 - lam[i]), out=between)
                torch.addcmul(between, own, scales * lam[i], out=result)
            if is_cast:
                target.copy_(between)
            own, other, ready = other, own, partner[i]
