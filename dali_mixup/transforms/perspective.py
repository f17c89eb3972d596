"""Images seen from a side: torchvision's coefficients and Pillow's arithmetic."""

import numpy as np
import torch
from PIL import Image

from dali_mixup.transforms.affine import places
from dali_mixup.transforms.pillow_warp import is_alone, warp_by_pillow
from dali_mixup.transforms.sampling import Interpolation, grid, sample


def solve(corners: np.ndarray, size: tuple[int, int]) -> list[list[float]]:
    """The eight coefficients of the maps that take the corners of images of height and width `size` to others.

    Args:
        corners: (n, 4, 2) int64, columns and rows that the corners move to: top left, top right, bottom right, bottom
            left.
        size: height and width.

    Returns:
        n times a to h of column (a x + b y + c) / (g x + h y + 1) and row (d x + e y + f) / (g x + h y + 1): where an
        output pixel comes from. In float32, to which torchvision rounds them.
    """
    right, bottom = size[1] - 1, size[0] - 1
    source = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)
    x, y = corners[..., 0].astype(np.float64), corners[..., 1].astype(np.float64)
    system = np.zeros((len(corners), 4, 2, 8))
    system[:, :, 0, 0] = system[:, :, 1, 3] = x
    system[:, :, 0, 1] = system[:, :, 1, 4] = y
    system[:, :, 0, 2] = system[:, :, 1, 5] = 1
    system[..., 6] = -source * x[..., None]
    system[..., 7] = -source * y[..., None]
    wanted = torch.from_numpy(source).view(1, 8, 1).expand(len(corners), 8, 1)
    solved = torch.linalg.lstsq(torch.from_numpy(system).view(-1, 8, 8), wanted, driver="gels").solution
    return solved[..., 0].float().tolist()


def warp(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """Images (n, 3, H, W) uint8 by the coefficients `numbers` (n, 8) float64; what comes from outside is `fill`."""
    if is_alone(images):
        return warp_by_pillow(images, numbers, Image.Transform.PERSPECTIVE, interpolation, fill)
    return warp_by_torch(images, numbers, interpolation, fill)


def warp_by_torch(
    images: torch.Tensor, numbers: torch.Tensor, interpolation: Interpolation, fill: tuple[int, int, int]
) -> torch.Tensor:
    """`warp` on any device."""
    rows, columns = (steps + 0.5 for steps in grid(images, torch.float64))
    above = places(numbers[:, :6].view(-1, 2, 3), rows, columns)
    g, h = numbers[:, 6:, None, None].unbind(1)
    return sample(images, above.div_((g * columns + h * rows).add_(1)[:, None]), interpolation, fill)
