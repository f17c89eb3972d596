"""`AugMix`: an image mixed with what several short chains of operations make of it, with torchvision's draws."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from dali_mixup.errors import check_bool, check_choice, check_int, must_be
from dali_mixup.geometry.geometry import check_fill
from dali_mixup.transforms.affine import Interpolation
from dali_mixup.transforms.auto_augment import ADJUST, NAMES, Choices, Fill, Strengths, choose
from dali_mixup.transforms.gamma import count_uniforms, draw_gamma
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.transforms import PlannedInBatches

BINS = 10  # strengths, of which the weakest `severity` ones are used
DEEPEST = 3  # operations of a chain whose depth is drawn


@dataclass(frozen=True, slots=True)
class AugMix(PlannedInBatches):
    """An image mixed with chains of operations on it: `torchvision.transforms.v2.AugMix`.

    Source: Hendrycks et al., AugMix, 2020, arXiv:1912.02781.

    Args:
        severity: how many of ten strengths are used, the weakest first; from 1 to 10.
        mixture_width: how many chains.
        chain_depth: how many operations each has; -1 draws from 1 to 3.
        alpha: of the Dirichlet distributions of the chains' weights, and of the image's own.
        all_ops: also brightness, colour, contrast and sharpness.
        interpolation: "nearest", "bilinear" or "bicubic", of shears, shifts and rotations.
        fill: level from 0 to 255, or three, of what they bring in from outside.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    severity: int = 3
    mixture_width: int = 3
    chain_depth: int = -1
    alpha: float = 1.0
    all_ops: bool = True
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0

    def __post_init__(self) -> None:
        check_int("severity", self.severity, at_least=1)
        if self.severity > BINS:
            raise ValueError(must_be("severity", f"from 1 to {BINS}", self.severity))
        check_int("mixture_width", self.mixture_width, at_least=1)
        if self.chain_depth != -1:
            check_int("chain_depth", self.chain_depth, at_least=1)
        if not isinstance(self.alpha, int | float) or not 0 < self.alpha < math.inf:
            raise ValueError(must_be("alpha", "a number above 0", self.alpha))
        check_bool("all_ops", self.all_ops)
        check_choice("interpolation", self.interpolation, ("nearest", "bilinear", "bicubic"))
        check_fill(self.fill)

    @property
    def uniforms(self) -> int:
        """Those of the weights; of each chain how long it is, and which and which way for each operation."""
        return count_uniforms(self.alpha) * (self.mixture_width + 2) + self.mixture_width * (1 + 2 * self._deepest)

    @property
    def _deepest(self) -> int:
        return DEEPEST if self.chain_depth == -1 else self.chain_depth

    def choices(self, size: tuple[int, int]) -> Choices:
        """Each name with each of the weakest strengths."""
        height, width = size
        names = [name for name in NAMES if name != "Identity" and (self.all_ops or name not in ADJUST)]
        steps = [(name, place) for name in names for place in range(self.severity)]
        moves = {"shear": 0.3, "translate": (height / 3.0, width / 3.0), "rotate": 30.0}
        return Choices(steps, Strengths(**moves, factor=0.9, bits=4, kept=4), BINS)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """One, which mixes the chains."""
        width, deepest, kinds = self.mixture_width, self._deepest, len(self.choices(size).steps)
        start = count_uniforms(self.alpha) * (width + 2)
        drawn = uniform[:, start:].reshape(len(uniform) * width, 1 + 2 * deepest)
        depth = deepest if self.chain_depth != -1 else 1 + (drawn[:, :1] * DEEPEST).astype(np.int64)
        which, way = drawn[:, 1 : 1 + deepest], drawn[:, 1 + deepest :]
        chosen = np.where(np.arange(deepest) < depth, (which * kinds).astype(np.int64), -1)
        chains = [tuple(chain) for chain in choose(self, chosen, way, size)]
        return [
            [Operation(mix_chains, tuple(own), (), tuple(chains[row * width : (row + 1) * width]))]
            for row, own in enumerate(self._weights(uniform[:, :start]).tolist())
        ]

    def _weights(self, uniform: np.ndarray) -> np.ndarray:
        """Of the image, and of what comes of each chain; (n, 1 + `mixture_width`) float32, which add up to 1."""
        drawn = draw_gamma(self.alpha, uniform.reshape(len(uniform), self.mixture_width + 2, -1))
        own, chains = drawn[:, :2], drawn[:, 2:]
        own, chains = (each / each.sum(1, keepdims=True) for each in (own, chains))
        return np.concatenate([own[:, :1], chains * own[:, 1:]], 1).astype(np.float32)


def mix_chains(images: torch.Tensor, numbers: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """`numbers`: the weights of the image and of each of its chains; `mixed` (n, k, 3, H, W): what came of them."""
    own, *weights = numbers.float()[..., None, None, None].unbind(1)
    total = images.float().mul_(own)
    for k, weight in enumerate(weights):
        total.add_(mixed[:, k].float().mul_(weight))
    return total.to(torch.uint8)
