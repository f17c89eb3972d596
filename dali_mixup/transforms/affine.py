"""Shears, shifts and rotations of finished images, with torchvision's matrices and Pillow's arithmetic.

A matrix (a, b, c, d, e, f) says where an output pixel comes from: column a x + b y + c and row d x + e y + f, of pixel
centres.
"""

import math

import numpy as np
import torch
from PIL import Image

from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.pillow_warp import is_alone, warp_by_pillow
from dali_mixup.transforms.sampling import Interpolation, filled, gather, grid, sample
from dali_mixup.transforms.slide import slide

Matrix = tuple[float, float, float, float, float, float]

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


def rotate(degrees: float, height: int, width: int, center: tuple[float, float] | None = None) -> Matrix:
    """Turned counter-clockwise around `center`, a column and a row; None is that of the image."""
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), DIGITS), round(math.sin(angle), DIGITS)
    x, y = (width / 2, height / 2) if center is None else center
    return cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y


def move(
    degrees: float,
    shift: tuple[int, int],
    scale: float,
    shear: tuple[float, float],
    center: tuple[float, float],
) -> Matrix:
    """Sheared, scaled and turned clockwise around `center`, then shifted: as torchvision's `affine`.

    Args:
        degrees: of the turn.
        shift: to the right and down, in pixels.
        scale: above 0; 2 makes what is seen twice as large.
        shear: along x and y, in degrees.
        center: column and row.
    """
    turn, shear_x, shear_y = math.radians(degrees), math.radians(shear[0]), math.radians(shear[1])
    tilted, slope, upright = turn - shear_y, math.tan(shear_x), math.cos(shear_y)
    a = (-math.sin(tilted) * slope / upright + math.cos(turn)) / scale
    b = -(-math.cos(tilted) * slope / upright - math.sin(turn)) / scale
    d = -(math.sin(tilted) / upright) / scale
    e = math.cos(tilted) / upright / scale
    (x, y), (right, down) = center, shift
    c = a * (-x - right) + b * (-y - down) + x
    f = d * (-x - right) + e * (-y - down) + y
    return a, b, c, d, e, f


def operation(
    matrix: Matrix, size: tuple[int, int], interpolation: Interpolation, fill: tuple[int, int, int]
) -> Operation:
    """The operation that moves an image of height and width `size` by any matrix."""
    return operations([matrix], size, interpolation, fill)[0]


def operations(
    matrices: list[Matrix], size: tuple[int, int], interpolation: Interpolation, fill: tuple[int, int, int]
) -> list[Operation]:
    """Those that move each of n images of height and width `size` by its own matrix."""
    stepped = [k for k, matrix in enumerate(matrices) if interpolation == "nearest" and _is_stepped(matrix)]
    tables = dict(zip(stepped, _tables(np.array([matrices[k] for k in stepped]), size), strict=True))
    return [
        Operation(pick, tables[k], (fill,)) if k in tables else Operation(warp, matrix, (interpolation, fill))
        for k, matrix in enumerate(matrices)
    ]


def _is_stepped(matrix: Matrix) -> bool:
    """Whether Pillow steps through rows and columns, and in steps that aren't whole pixels."""
    a, b, c, d, e, f = matrix
    return b == d == 0 and not (a.is_integer() and c.is_integer() and e.is_integer() and f.is_integer())


def _tables(matrices: np.ndarray, size: tuple[int, int]) -> list[tuple[float, ...]]:
    """The numbers of `pick` for matrices (n, 6).

    Where each row and column comes from, as a number from 1 in 16 bits, 0 for outside; four make one number. Sides
    below 32752 keep clear of the bits of NaN, which copies may change.
    """
    if not len(matrices):
        return []
    a, _, c, _, e, f = matrices.T
    (height, width), done = size, 0
    places = np.zeros((len(matrices), -(-(height + width) // 4) * 4), np.int16)
    for step, start, side in ((e, f, height), (a, c, width)):
        found = np.repeat(step[:, None], side, 1)
        found[:, 0] = start + step * 0.5
        np.cumsum(found, 1, out=found)  # Pillow adds the step up, and so does this
        outside = (found < 0) | (found >= side)
        found[outside] = -1
        places[:, done : done + side] = found.astype(np.int16) + 1
        done += side
    return list(map(tuple, places.view(np.float64).tolist()))


def warp(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """Images (n, 3, H, W) uint8 through the matrices `numbers` (n, 6) float64; what comes from outside is `fill`."""
    if is_alone(images):
        found = slide(images, numbers, fill) if interpolation == "bicubic" else None
        return warp_by_pillow(images, numbers, Image.Transform.AFFINE, interpolation, fill) if found is None else found
    return warp_by_torch(images, numbers, interpolation, fill)


def warp_by_torch(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """`warp` on any device; nearest neighbours as for `operation`."""
    matrix = numbers.view(-1, 2, 3)
    if interpolation == "nearest":
        return filled(*_nearest(images, matrix), fill)
    rows, columns = (steps + 0.5 for steps in grid(images, torch.float64))
    return sample(images, places(matrix, rows, columns), interpolation, fill)


def pick(images: torch.Tensor, numbers: torch.Tensor, fill: tuple[int, int, int]) -> torch.Tensor:
    """`numbers`: for each row of the output the image's, then for each column, as `_tables` packs them."""
    height, width = images.shape[2:]
    found = numbers.contiguous().view(torch.int16)[:, : height + width].long() - 1
    rows, columns = found.split_with_sizes([height, width], 1)
    inside = (rows >= 0)[:, :, None] & (columns >= 0)[:, None]
    where = (rows.clamp(min=0) * width)[:, :, None] + columns.clamp(min=0)[:, None]
    return filled(gather(images, where), inside, fill)


def _nearest(images: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    half = matrix[..., :2] * 0.5
    centres = matrix[..., 2] + half[..., 0] + half[..., 1]
    terms = torch.cat([matrix[..., :2], centres[..., None]], 2).mul_(FIXED).add_(0.5).floor_().long()
    rows, columns = grid(images, torch.int64)
    x, y = (places(terms, rows, columns) >> 16).unbind(1)
    height, width = images.shape[2:]
    column, row = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return gather(images, row * width + column), (x == column) & (y == row)


def places(matrix: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Columns and rows that the pixels come from, (n, 2, H, W), by matrices (n, 2, 3)."""
    a, b, c = matrix[..., None, None].unbind(2)
    return (a * columns + b * rows).add_(c)
