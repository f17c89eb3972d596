"""`ElasticTransform`: images whose pixels move as a random smooth field says, with torchvision's arithmetic."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from dali_mixup.errors import check_choice, must_be
from dali_mixup.geometry.geometry import check_fill, rgb
from dali_mixup.transforms.noise import random_words
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.pixels import convolve, gaussian

Pair = tuple[float, float]
BITS = 24  # of a uniform number, as torch's float32 ones have them


@dataclass(frozen=True, slots=True)
class ElasticTransform:
    """Each pixel moved by smoothed noise: `torchvision.transforms.v2.ElasticTransform`.

    Source: Simard, Steinkraus and Platt, Best practices for convolutional neural networks, 2003.

    Args:
        alpha: how far pixels move, or two such numbers for the sides and for up and down. The noise is uniform from
            -`alpha` / 2 to `alpha` / 2 pixels, and much smaller once it is smooth.
        sigma: standard deviation of the smoothing kernel in pixels, or two, for along the rows and along the columns; 0
            doesn't smooth. Images must be higher and wider than 4 sigma.
        interpolation: "nearest" or "bilinear".
        fill: level from 0 to 255, or three for R, G and B, of what comes in from outside.

    Raises:
        ValueError, TypeError: an option out of range, or, in a Loader, images too small for the kernel.
    """

    alpha: float | Pair = 50.0
    sigma: float | Pair = 5.0
    interpolation: Literal["nearest", "bilinear"] = "bilinear"
    fill: int | tuple[int, int, int] = 0
    uniforms = 1

    def __post_init__(self) -> None:
        for name in ("alpha", "sigma"):
            pair = _pair(getattr(self, name))
            rule = "a number of at least 0, or two"
            if len(pair) != 2 or any(isinstance(each, bool) or not isinstance(each, int | float) for each in pair):
                raise TypeError(must_be(name, rule, getattr(self, name)))
            if not all(0 <= each < math.inf for each in pair):
                raise ValueError(must_be(name, rule, getattr(self, name)))
        if (0 in _pair(self.sigma)) != (set(_pair(self.sigma)) == {0}):
            raise ValueError(must_be("sigma", "above 0 in both directions, or 0 in both", self.sigma))
        check_choice("interpolation", self.interpolation, ("nearest", "bilinear"))
        check_fill(self.fill)

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:
        """One."""
        alpha, sigma = _pair(self.alpha), _pair(self.sigma)
        widest = max(map(kernel_size, sigma)) // 2
        if widest >= min(size):
            rule = f"below {min(size) / 4:g} for images of {size[0]} x {size[1]} pixels"
            raise ValueError(must_be("sigma", rule, self.sigma))
        return [Operation(move, (int(uniform[0] * 2**31),), (alpha, sigma, self.interpolation, rgb(self.fill)))]


def _pair(value: float | Pair) -> Pair:
    return value if isinstance(value, tuple) else (value, value)


def kernel_size(sigma: float) -> int:
    """Odd; 1 leaves the noise as it is."""
    size = int(8 * sigma + 1)
    return size + 1 - size % 2


def move(
    images: torch.Tensor,
    numbers: torch.Tensor,
    alpha: Pair,
    sigma: Pair,
    interpolation: Literal["nearest", "bilinear"],
    fill: tuple[int, int, int],
) -> torch.Tensor:
    """`numbers`: the seed of the noise. For the rest see `ElasticTransform`."""
    height, width = images.shape[2:]
    ends = [
        torch.linspace((1 - side) / side, (side - 1) / side, side, device=images.device) for side in (width, height)
    ]
    places = displace(numbers, (height, width), alpha, sigma)
    places[..., 0].add_(ends[0])
    places[..., 1].add_(ends[1][:, None])
    # a fourth channel says how much of a pixel comes from inside
    pixels = torch.cat([images.float(), torch.ones_like(images[:, :1], dtype=torch.float32)], 1)
    found = torch.nn.functional.grid_sample(pixels, places, interpolation, "zeros", align_corners=False)
    inside, found = found[:, 3:], found[:, :3]
    outside = torch.stack([torch.full((1, 1), float(level), device=images.device) for level in fill])
    if interpolation == "nearest":
        return torch.where(inside < 0.5, outside, found).round_().to(torch.uint8)
    return found.sub_(outside).mul_(inside).add_(outside).round_().clamp_(0, 255).to(torch.uint8)


def displace(numbers: torch.Tensor, size: tuple[int, int], alpha: Pair, sigma: Pair) -> torch.Tensor:
    """How far pixels move to the right and down, (n, H, W, 2) float32; 2 is the image's width or height.

    Args:
        numbers: (n, 1) float64, seeds of at most 2**31.
        size: H and W.
        alpha: to the sides, and up and down.
        sigma: of the smoothing along the rows, and along the columns.
    """
    height, width = size
    words = random_words(numbers.long(), torch.arange(height * width, device=numbers.device).expand(len(numbers), -1))
    mask = 2**BITS - 1
    parts = torch.stack([words >> 64 - BITS, words >> 64 - 2 * BITS], 1).bitwise_and_(mask)
    noise = parts.float().mul_(2.0 ** (1 - BITS)).sub_(1).view(-1, 2, height, width)
    moved = []
    for field, kernel, far, side in zip(
        noise.split(1, 1), map(kernel_size, sigma), alpha, (width, height), strict=True
    ):
        if kernel > 1:
            field = _smooth(field, kernel, sigma)
        moved.append(field.mul(far).div_(side))
    return torch.cat(moved, 1).permute(0, 2, 3, 1).contiguous()


def _smooth(field: torch.Tensor, kernel: int, sigma: Pair) -> torch.Tensor:
    """Fields (n, 1, H, W); one kernel size in both directions, as torchvision has it."""
    field = torch.nn.functional.pad(field, (kernel // 2,) * 4, mode="reflect")
    for each, dim in zip(sigma, (3, 2), strict=True):
        widths = torch.full((len(field),), each, dtype=torch.float64, device=field.device)
        field = convolve(field, gaussian(kernel, widths), dim=dim)
    return field
