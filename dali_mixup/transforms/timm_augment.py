"""timm's auto-augmentations: `TimmRandAugment`, `TimmAutoAugment` and `TimmAugMix`."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dali_mixup.errors import check_choice, check_int, must_be
from dali_mixup.geometry.geometry import check_fill, rgb
from dali_mixup.transforms.affine import Interpolation
from dali_mixup.transforms.auto_augment import Fill
from dali_mixup.transforms.gamma import count_uniforms, draw_gamma
from dali_mixup.transforms.mixture import mix_chains, mix_one_by_one
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.timm_steps import DRAWS, Moves, TimmStep, plan_steps
from dali_mixup.transforms.transforms import PlannedInBatches

# fmt: off
INCREASING = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd",
    "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY",
    "TranslateXRel", "TranslateYRel",
)
OF_AUGMIX = (
    "AutoContrast", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "Equalize",
    "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
)
# fmt: on
DEEPEST = 3  # operations of a chain of AugMix, where their number is drawn


@dataclass(frozen=True, slots=True)
class TimmRandAugment(PlannedInBatches):
    """A few operations, each with a probability and a strength of its own: timm's `rand-*`.

    Without options `rand-m9-mstd0.5-inc1`, as DeiT, ConvNeXt and Swin train. `from_torchvision` makes one of what
    `timm.data.create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1")` gives.

    Source: Cubuk et al., RandAugment, 2019, arXiv:1909.13719; timm 1.0's `RandAugment`.

    Args:
        steps: what is chosen from.
        num_ops: how many, one after the other.
        weights: how often each step is chosen, relative to the others, and none of them twice; None chooses evenly, and
            again and again.
        interpolation: of shears, shifts and rotations; "random" is bilinear or bicubic, drawn for each.
        fill: level from 0 to 255, or three, of what they bring in from outside.
        translate_pixels: shift of "TranslateX" and "TranslateY" at level 10.
        translate_share: that of "TranslateXRel" and "TranslateYRel", as a fraction of the image's side.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    steps: tuple[TimmStep, ...] = tuple(map(TimmStep, INCREASING))
    num_ops: int = 2
    weights: tuple[float, ...] | None = None
    interpolation: Literal[Interpolation, "random"] = "random"
    fill: Fill = 128
    translate_pixels: float = 250.0
    translate_share: float = 0.45

    def __post_init__(self) -> None:
        _check_steps("steps", self.steps)
        check_int("num_ops", self.num_ops, at_least=0)
        _check_moves(self)
        if self.weights is None:
            return
        if len(self.weights) != len(self.steps) or min(self.weights) < 0:
            raise ValueError(must_be("weights", f"{len(self.steps)} numbers of at least 0, one per step", self.weights))
        if sum(weight > 0 for weight in self.weights) < self.num_ops:
            raise ValueError(must_be("num_ops", "at most the number of steps with a weight above 0", self.num_ops))

    def __str__(self) -> str:
        return f"TimmRandAugment({self.num_ops} of {len(self.steps)} such as {self.steps[0]})"

    @property
    def uniforms(self) -> int:
        """Which, and its own, for each operation."""
        return (1 + DRAWS) * self.num_ops

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """At most `num_ops`."""
        uniform = uniform.reshape(len(uniform), self.num_ops, 1 + DRAWS)
        planned = plan_steps(
            self.steps, self._choose(uniform[..., 0]).ravel(), uniform[..., 1:].reshape(-1, DRAWS), _moves(self, size)
        )
        return _joined(planned, self.num_ops)

    def _choose(self, uniform: np.ndarray) -> np.ndarray:
        """Places of steps, (n, `num_ops`)."""
        if self.weights is None:
            return (uniform * len(self.steps)).astype(np.int64)
        weights = np.repeat(np.array(self.weights, np.float64)[None], len(uniform), 0)
        chosen = np.zeros(uniform.shape, np.int64)
        for k in range(self.num_ops):
            total = weights.cumsum(1)
            chosen[:, k] = (total <= uniform[:, k, None] * total[:, -1:]).sum(1)
            np.put_along_axis(weights, chosen[:, k, None], 0.0, 1)
        return chosen


@dataclass(frozen=True, slots=True)
class TimmAutoAugment(PlannedInBatches):
    """One of several short lists of operations: timm's `original`, `originalr`, `v0`, `v0r` and `3a`.

    Source: Cubuk et al., AutoAugment, 2018, arXiv:1805.09501; Touvron et al., DeiT III, 2022, arXiv:2204.07118, for 3a.

    Args:
        policies: the lists, which are equally likely.
        interpolation: as of `TimmRandAugment`, like the following ones.
        fill: likewise.
        translate_pixels: likewise.
        translate_share: likewise.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> three_augment = TimmAutoAugment((
    ...     (TimmStep("Solarize", 1.0, 5, 0.0),),
    ...     (TimmStep("Desaturate", 1.0, 10, 0.0),),
    ...     (TimmStep("GaussianBlurRand", 1.0, 10, 0.0),),
    ... ))
    """

    policies: tuple[tuple[TimmStep, ...], ...]
    interpolation: Literal[Interpolation, "random"] = "random"
    fill: Fill = 128
    translate_pixels: float = 250.0
    translate_share: float = 0.45

    def __post_init__(self) -> None:
        if not isinstance(self.policies, tuple) or not self.policies:
            raise TypeError(must_be("policies", "a tuple of tuples of TimmStep", self.policies))
        for policy in self.policies:
            _check_steps("policies", policy)
        _check_moves(self)

    def __str__(self) -> str:
        return f"TimmAutoAugment(one of {len(self.policies)} such as {self.policies[0]})"

    @property
    def _longest(self) -> int:
        return max(map(len, self.policies))

    @property
    def uniforms(self) -> int:
        """Which list, and those of its operations."""
        return 1 + DRAWS * self._longest

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """At most as many as the longest list has."""
        steps, places = [], np.full((len(self.policies), self._longest), -1)
        for number, policy in enumerate(self.policies):
            places[number, : len(policy)] = np.arange(len(steps), len(steps) + len(policy))
            steps.extend(policy)
        chosen = places[(uniform[:, 0] * len(places)).astype(np.int64)].ravel()
        planned = plan_steps(steps, chosen, uniform[:, 1:].reshape(-1, DRAWS), _moves(self, size))
        return _joined(planned, self._longest)


@dataclass(frozen=True, slots=True)
class TimmAugMix(PlannedInBatches):
    """The image mixed with several chains of operations on it: timm's `augmix-*`.

    Source: Hendrycks et al., AugMix, 2020, arXiv:1912.02781; timm 1.0's `AugMixAugment`.

    Args:
        steps: what the chains choose from.
        alpha: of the Dirichlet distribution of the chains' weights, and of the beta distribution of their sum's.
        width: how many chains.
        depth: how many operations each has; None draws from 1 to 3.
        blended: each chain is blended into the image one after the other, rounding in between.
        interpolation: as of `TimmRandAugment`, like the following ones.
        fill: likewise.
        translate_pixels: likewise.
        translate_share: likewise.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    steps: tuple[TimmStep, ...] = tuple(TimmStep(name, 1.0, 3.0, math.inf) for name in OF_AUGMIX)
    alpha: float = 1.0
    width: int = 3
    depth: int | None = None
    blended: bool = False
    interpolation: Literal[Interpolation, "random"] = "random"
    fill: Fill = 128
    translate_pixels: float = 250.0
    translate_share: float = 0.3

    def __post_init__(self) -> None:
        _check_steps("steps", self.steps)
        if not isinstance(self.alpha, int | float) or not 0 < self.alpha < math.inf:
            raise ValueError(must_be("alpha", "a number above 0", self.alpha))
        check_int("width", self.width, at_least=1)
        if self.depth is not None:
            check_int("depth", self.depth, at_least=1)
        _check_moves(self)

    def __str__(self) -> str:
        return f"TimmAugMix({self.width} chains of {len(self.steps)} such as {self.steps[0]})"

    @property
    def uniforms(self) -> int:
        """Those of the weights; how many operations each chain has, which, and their own."""
        weights, deepest = count_uniforms(self.alpha) * (self.width + 2), self.depth or DEEPEST
        return weights + self.width * (1 + deepest * (1 + DRAWS))

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """One, of several chains."""
        weights, share = self._weights(uniform)
        deepest = self.depth or DEEPEST
        chains = uniform[:, -self.width * (1 + deepest * (1 + DRAWS)) :].reshape(len(uniform) * self.width, -1)
        count = np.full(len(chains), deepest) if self.depth else 1 + (chains[:, 0] * DEEPEST).astype(np.int64)
        draws = chains[:, 1:].reshape(len(chains), deepest, 1 + DRAWS)
        chosen = (draws[..., 0] * len(self.steps)).astype(np.int64)
        chosen[np.arange(deepest) >= count[:, None]] = -1
        planned = plan_steps(self.steps, chosen.ravel(), draws[..., 1:].reshape(-1, DRAWS), _moves(self, size))
        joined = [tuple(chain) for chain in _joined(planned, deepest)]
        mix = mix_one_by_one if self.blended else mix_chains
        numbers = _one_by_one(weights, share) if self.blended else np.concatenate([weights, share[:, None]], 1)
        return [
            [Operation(mix, tuple(own), (), tuple(joined[row * self.width : (row + 1) * self.width]))]
            for row, own in enumerate(numbers.tolist())
        ]

    def _weights(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the chains, (n, `width`), and of their sum, (n,); float32."""
        each = count_uniforms(self.alpha)
        drawn = draw_gamma(self.alpha, uniform[:, : each * (self.width + 2)].reshape(len(uniform), -1, each))
        weights, first, second = drawn[:, : self.width], drawn[:, -2], drawn[:, -1]
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32), (first / (first + second)).astype(
            np.float32
        )


TimmAugment = TimmRandAugment | TimmAutoAugment | TimmAugMix


def _moves(augment: TimmAugment, size: tuple[int, int]) -> Moves:
    return Moves(size, augment.interpolation, rgb(augment.fill), augment.translate_pixels, augment.translate_share)


def _joined(planned: list[tuple[Operation, ...]], count: int) -> list[list[Operation]]:
    """Of each image its `count` draws."""
    if count == 1:
        return [list(each) for each in planned]
    return [
        [operation for each in planned[start : start + count] for operation in each]
        for start in range(0, len(planned), count)
    ]


def _one_by_one(weights: np.ndarray, share: np.ndarray) -> np.ndarray:
    """How much of each chain is blended in, so that in the end each has its weight; float32, as timm rounds."""
    weights = weights * share[:, None]
    left, found = np.ones(len(weights), np.float32), np.empty_like(weights)
    for k in reversed(range(weights.shape[1])):
        found[:, k] = weights[:, k] / left
        left = left * (1 - found[:, k])
    return found


def _check_steps(name: str, steps: object) -> None:
    if not isinstance(steps, tuple) or not steps or not all(isinstance(step, TimmStep) for step in steps):
        raise TypeError(must_be(name, 'made of tuples of TimmStep, such as TimmStep("ShearX")', steps))


def _check_moves(augment: TimmAugment) -> None:
    check_choice("interpolation", augment.interpolation, ("nearest", "bilinear", "bicubic", "random"))
    check_fill(augment.fill)
    for name in ("translate_pixels", "translate_share"):
        if not isinstance(getattr(augment, name), int | float):
            raise TypeError(must_be(name, "a number", getattr(augment, name)))
