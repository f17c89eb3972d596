"""One image resized and cut on the CPU: bilinear in torch, within one level of Pillow.

To the bit for the other interpolations, but for bicubic where speed is asked for.
"""

import numpy as np
import torch
from PIL import Image

from dali_mixup.geometry.geometry import INTERPOLATIONS, Border, inside

NEAREST, BILINEAR = INTERPOLATIONS.index("nearest"), INTERPOLATIONS.index("bilinear")
BICUBIC = INTERPOLATIONS.index("bicubic")
PILLOWS = {BICUBIC: Image.Resampling.BICUBIC, INTERPOLATIONS.index("lanczos"): Image.Resampling.LANCZOS}


def resize(
    image: torch.Tensor,
    size: list[int],
    code: int = BILINEAR,
    *,
    fast: bool = False,
) -> torch.Tensor:
    """Resize as Pillow does.

    Args:
        image: (1, 3, H, W) uint8, channels last.
        size: height and width.
        code: place of the interpolation in `INTERPOLATIONS`.
        fast: bicubic in a sixth of Pillow's time; of the values of photos one in 300 is a level off, and one in a
            million two.

    Returns:
        (1, 3, *size); new memory, or the image itself if it has that size.
    """
    (height, width), (new_height, new_width) = image.shape[2:], size
    if [height, width] == size:
        return image
    if code == NEAREST:
        rows, columns = _nearest(height, new_height), _nearest(width, new_width)
        return image[:, :, rows[:, None], columns]
    if code in PILLOWS and not (fast and code == BICUBIC):
        with Image.fromarray(image[0].permute(1, 2, 0).numpy()) as whole:
            resized = whole.resize((new_width, new_height), PILLOWS[code])
        return torch.from_numpy(np.array(resized))[None].permute(0, 3, 1, 2)
    out = torch.empty(1, new_height, new_width, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    resize_into(image, out, code == BICUBIC)
    return out


def resize_into(image: torch.Tensor, out: torch.Tensor, bicubic: bool) -> None:
    """Resize by torch's operators, bilinearly or as `resize` does fast.

    Args:
        image: (1, 3, H, W) uint8, channels last.
        out: where to write, (1, 3, h, w) uint8, channels last.
        bicubic: not bilinearly.
    """
    height, width, new_height, new_width = image.size(2), image.size(3), out.size(2), out.size(3)
    if height == new_height and width == new_width:
        out.copy_(image)
        return
    # Pillow rounds between its two passes. Since version 13 the vertical one comes first where the height shrinks by
    # more than twice as many pixels as the width; torch always begins with the horizontal one.
    is_tall = height > new_height and height - new_height > 2 * (width - new_width)
    # the operators behind torch.nn.functional.interpolate(..., antialias=True), which takes no `out`
    if bicubic:
        if is_tall:
            image = torch.ops.aten._upsample_bicubic2d_aa(image, [new_height, width], False)
        torch.ops.aten._upsample_bicubic2d_aa(image, [new_height, new_width], False, out=out)
    else:
        if is_tall:
            image = torch.ops.aten._upsample_bilinear2d_aa(image, [new_height, width], False)
        torch.ops.aten._upsample_bilinear2d_aa(image, [new_height, new_width], False, out=out)


def cut(image: torch.Tensor, offset: list[int], size: tuple[int, int], border: Border | None) -> torch.Tensor:
    """The part of `size` from `offset` (top and left) on of an image (1, 3, H, W); what lies outside is `border`."""
    top, left = offset
    places = [(start, start + length, side) for start, length, side in zip(offset, size, image.shape[2:], strict=True)]
    if all(start >= 0 and end <= side for start, end, side in places):
        return image[..., top : top + size[0], left : left + size[1]]
    border = border or Border()
    if border.mode == "constant":
        out = torch.tensor(border.fill, dtype=torch.uint8).expand(1, *size, 3).contiguous().permute(0, 3, 1, 2)
        (y0, y1, height), (x0, x1, width) = places
        part = image[..., max(y0, 0) : max(min(y1, height), 0), max(x0, 0) : max(min(x1, width), 0)]
        rows, columns = max(-y0, 0), max(-x0, 0)
        out[..., rows : rows + part.shape[2], columns : columns + part.shape[3]] = part
        return out
    rows, columns = (inside(np.arange(start, end), side, border.mode) for start, end, side in places)
    return image[:, :, torch.from_numpy(rows)[:, None], torch.from_numpy(columns)]


def _nearest(old: int, new: int) -> torch.Tensor:
    """Which pixels of `old` stand in `new`; Pillow adds the step up, and so does this."""
    step = old / new
    places = np.cumsum(np.concatenate([[step * 0.5], np.full(new - 1, step)]))
    return torch.from_numpy(places.astype(np.int64).clip(0, old - 1))
