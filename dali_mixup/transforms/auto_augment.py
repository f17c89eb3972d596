"""`RandAugment`, `TrivialAugmentWide`, `AutoAugment` and their operations, with torchvision's strengths."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch

from dali_mixup.errors import check_choice, check_int, check_probability, must_be
from dali_mixup.geometry.geometry import check_fill, rgb
from dali_mixup.transforms import affine, pixels
from dali_mixup.transforms.affine import Interpolation
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.policies import BINS, POLICIES
from dali_mixup.transforms.transforms import PlannedInBatches

Fill = int | tuple[int, int, int]
# In torchvision's order, which a random number counts.
NAMES = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast")
NAMES += ("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize")
ADJUST = {
    "Brightness": pixels.brightness,
    "Color": pixels.saturation,
    "Contrast": pixels.contrast,
    "Sharpness": pixels.sharpness,
}
PLAIN = {"AutoContrast": pixels.autocontrast, "Equalize": pixels.equalize, "Invert": pixels.invert}
MOVE: dict[str, Callable[[float], affine.Matrix]] = {
    "ShearX": affine.shear_x,
    "ShearY": affine.shear_y,
    "TranslateX": affine.translate_x,
    "TranslateY": affine.translate_y,
}


class Strengths(NamedTuple):
    """The strongest of each kind of operation.

    Attributes:
        shear: as a tangent.
        translate: (down, right) in pixels.
        rotate: in degrees.
        factor: of brightness, colour, contrast and sharpness, around 1.
        bits: that "Posterize" takes away.
        kept: of which it takes them.
    """

    shear: float
    translate: tuple[float, float]
    rotate: float
    factor: float
    bits: int
    kept: int = 8

    def of(self, name: str, place: int, bins: int) -> float:
        """The strength at one of `bins` places, from 0 to the strongest."""
        if name == "Posterize":
            return float(self.kept) - round(place / ((bins - 1) / self.bits))
        if name == "Solarize":
            return _linspace(255.0, 0.0, bins)[place]
        down, right = self.translate
        moves = {"ShearX": self.shear, "ShearY": self.shear, "TranslateX": right, "TranslateY": down}
        return _linspace(0.0, (moves | {"Rotate": self.rotate}).get(name, self.factor), bins)[place]


class Choices(NamedTuple):
    """What an auto-augmentation chooses from.

    Attributes:
        steps: names, and places among the strengths.
        strengths: the strongest.
        bins: how many strengths there are of each.
    """

    steps: list[tuple[str, int]]
    strengths: Strengths
    bins: int


def make_operation(
    name: str, strength: float, size: tuple[int, int], *, interpolation: Interpolation = "nearest", fill: Fill = 0
) -> Operation | None:
    """One of torchvision's named operations; None for "Identity".

    Args:
        name: as in torchvision, such as "ShearX".
        strength: signed; a tangent, pixels, degrees, a factor less 1, bits or a threshold.
        size: height and width of the image.
        interpolation: of shears, shifts and rotations.
        fill: level, or R, G and B, of what they bring in from outside.
    """
    if name == "Identity":
        return None
    if name in PLAIN:
        return Operation(PLAIN[name])
    if name in ADJUST:
        return Operation(ADJUST[name], (1.0 + strength,))
    if name in ("Posterize", "Solarize"):
        return Operation(pixels.posterize if name == "Posterize" else pixels.solarize, (strength,))
    matrix = affine.rotate(strength, *size) if name == "Rotate" else MOVE[name](strength)
    return Operation(affine.warp, matrix, (interpolation, rgb(fill)))


@dataclass(frozen=True, slots=True)
class RandAugment(PlannedInBatches):
    """A few operations of equal strength at random: `torchvision.transforms.v2.RandAugment`.

    Source: Cubuk et al., RandAugment, 2019, arXiv:1909.13719.

    Args:
        num_ops: how many, one after the other.
        magnitude: strength, from 0 to `num_magnitude_bins` - 1.
        num_magnitude_bins: into how many steps the strengths are divided.
        interpolation: "nearest" or "bilinear".
        fill: level from 0 to 255, or three, of what shears, shifts and rotations bring in from outside.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    interpolation: Interpolation = "nearest"
    fill: Fill = 0

    def __post_init__(self) -> None:
        check_int("num_ops", self.num_ops, at_least=0)
        check_int("num_magnitude_bins", self.num_magnitude_bins, at_least=2)
        check_int("magnitude", self.magnitude, at_least=0)
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(
                must_be("magnitude", f"below num_magnitude_bins ({self.num_magnitude_bins})", self.magnitude)
            )
        _check_warp(self.interpolation, self.fill)

    @property
    def uniforms(self) -> int:
        """Which and which way, for each operation."""
        return 2 * self.num_ops

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """At most `num_ops`."""
        return choose(self, _floor(uniform[:, ::2] * len(NAMES)), uniform[:, 1::2], size)

    def choices(self, size: tuple[int, int]) -> Choices:
        """Each name with the same strength."""
        return Choices([(name, self.magnitude) for name in NAMES], _strengths(size), self.num_magnitude_bins)


@dataclass(frozen=True, slots=True)
class TrivialAugmentWide(PlannedInBatches):
    """One operation of random strength: `torchvision.transforms.v2.TrivialAugmentWide`.

    Source: Müller and Hutter, TrivialAugment, 2021, arXiv:2103.10158.

    Args:
        num_magnitude_bins: into how many steps the strengths are divided.
        interpolation: "nearest" or "bilinear".
        fill: level from 0 to 255, or three, of what shears, shifts and rotations bring in from outside.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    num_magnitude_bins: int = 31
    interpolation: Interpolation = "nearest"
    fill: Fill = 0
    uniforms = 3

    def __post_init__(self) -> None:
        check_int("num_magnitude_bins", self.num_magnitude_bins, at_least=2)
        _check_warp(self.interpolation, self.fill)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """One or none."""
        bins = self.num_magnitude_bins
        chosen = _floor(uniform[:, :1] * len(NAMES)) * bins + _floor(uniform[:, 1:2] * bins)
        return choose(self, chosen, uniform[:, 2:], size)

    def choices(self, size: tuple[int, int]) -> Choices:  # noqa: ARG002
        """Each name with each strength."""
        bins = self.num_magnitude_bins
        return Choices([(name, place) for name in NAMES for place in range(bins)], WIDE, bins)


@dataclass(frozen=True, slots=True)
class AutoAugment(PlannedInBatches):
    """Two operations from a learned list: `torchvision.transforms.v2.AutoAugment`.

    Source: Cubuk et al., AutoAugment, 2018, arXiv:1805.09501, appendix.

    Args:
        policy: the data set that the list was learned on.
        interpolation: "nearest" or "bilinear".
        fill: level from 0 to 255, or three, of what shears, shifts and rotations bring in from outside.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    interpolation: Interpolation = "nearest"
    fill: Fill = 0
    uniforms = 5

    def __post_init__(self) -> None:
        check_choice("policy", self.policy, tuple(POLICIES))
        _check_warp(self.interpolation, self.fill)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """At most two."""
        p = np.array([[step[1] for step in pair] for pair in POLICIES[self.policy]])
        pair = _floor(uniform[:, 0] * len(p))
        chosen = np.where(uniform[:, 1:3] < p[pair], 2 * pair[:, None] + (0, 1), -1)
        return choose(self, chosen, uniform[:, 3:], size)

    def choices(self, size: tuple[int, int]) -> Choices:
        """All steps of the list."""
        steps = [(name, place) for pair in POLICIES[self.policy] for name, _, place in pair]
        return Choices(steps, _strengths(size), BINS)


@dataclass(frozen=True, slots=True)
class RandomOperation:
    """One named operation with probability `p`, such as torchvision's `RandomSolarize` or `RandomAdjustSharpness`.

    Args:
        name: "Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize" or
            "Invert".
        strength: a factor less 1 for the first four, bits that stay for "Posterize", a threshold for "Solarize".
        p: probability.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    name: str
    strength: float = 0.0
    p: float = 0.5
    uniforms = 1

    def __post_init__(self) -> None:
        named = (*ADJUST, "Posterize", "Solarize", *PLAIN)
        if self.name not in named:
            raise ValueError(must_be("name", f"one of {', '.join(named)}", self.name))
        low, high = {"Posterize": (1, 8), "Solarize": (0, 256)}.get(self.name, (-1, math.inf))
        if not isinstance(self.strength, int | float) or not low <= self.strength <= high:
            raise ValueError(must_be("strength", f"from {low} to {high} for {self.name}", self.strength))
        check_probability("p", self.p)

    def operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[Operation]:
        """One or none."""
        operation = make_operation(self.name, self.strength, size)
        return [operation] if operation and uniform[0] < self.p else []


WIDE = Strengths(shear=0.99, translate=(32.0, 32.0), rotate=135.0, factor=0.99, bits=6)


def _strengths(size: tuple[int, int]) -> Strengths:
    """Those of RandAugment and AutoAugment for an image of height and width `size`."""
    height, width = size
    return Strengths(
        shear=0.3, translate=(150.0 / 331.0 * height, 150.0 / 331.0 * width), rotate=30.0, factor=0.9, bits=4
    )


def _floor(numbers: np.ndarray) -> np.ndarray:
    """Not negative ones."""
    return numbers.astype(np.int64)


class Chooses(Protocol):
    """What `choose` is told of an auto-augmentation, which can be hashed."""

    @property
    def interpolation(self) -> Interpolation:
        """Of shears, shifts and rotations."""
        ...

    @property
    def fill(self) -> Fill:
        """Of what they bring in from outside."""
        ...

    def choices(self, size: tuple[int, int]) -> Choices:
        """What it chooses from for images of height and width `size`."""
        ...


def choose(augment: Chooses, chosen: np.ndarray, way: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
    """The operations of n images.

    Args:
        augment: whose `choices`.
        chosen: (n, k), numbers of its steps; -1 for nothing.
        way: (n, k) in [0, 1); below 0.5 a step goes the other way.
        size: height and width of the images.
    """
    table = _tabulate(augment, size)
    places = np.where(chosen < 0, -1, 2 * chosen + (way < 0.5)).tolist()
    return [[operation for place in row for operation in table[place]] for row in places]


@lru_cache(maxsize=64)
def _tabulate(augment: Chooses, size: tuple[int, int]) -> tuple[tuple[Operation, ...], ...]:
    """For each step of its `choices` the operation, if it is one, and then the other way; at the end nothing."""
    steps, strengths, bins = augment.choices(size)
    table: list[tuple[Operation, ...]] = []
    for name, place in steps:
        strength = strengths.of(name, place, bins)
        for way in (strength, -strength if name in MOVE or name in ADJUST or name == "Rotate" else strength):
            made = make_operation(name, way, size, interpolation=augment.interpolation, fill=augment.fill)
            table.append((made,) if made else ())
    return (*table, ())


@cache
def _linspace(start: float, end: float, bins: int) -> tuple[float, ...]:
    """Torchvision's strengths, to the last bit of float32."""
    return tuple(torch.linspace(start, end, bins, dtype=torch.float32).tolist())


def _check_warp(interpolation: object, fill: object) -> None:
    check_choice("interpolation", interpolation, ("nearest", "bilinear"))
    check_fill(fill)
