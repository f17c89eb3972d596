"""`RandomErasing`, planned from uniform random numbers: torchvision's and timm's."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dali_mixup.errors import check_choice, check_int, check_probability, must_be
from dali_mixup.geometry.geometry import check_range
from dali_mixup.transforms import pixels
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.transforms import PlannedInBatches, Range

TRIES = 10  # rectangles that torchvision draws before it leaves an image alone


@dataclass(frozen=True, slots=True)
class RandomErasing(PlannedInBatches):
    """A random rectangle overwritten.

    Source: Zhong et al., Random Erasing Data Augmentation, 2017.

    Args:
        p: probability.
        scale: range of the rectangle's area as a fraction of the image's.
        ratio: range of its height / width; the logarithm is uniform.
        fill: R, G and B, levels from 0 to 255. To erase to 0 after normalization, give 255 times the mean.
        noise: normal noise of `std` on top of `fill`: "pixel" for each pixel, "color" one colour per rectangle. What
            leaves 0 to 255 is clipped.
        std: of the noise for R, G and B, in levels.
        count: (least, most) rectangles; each of n has 1 / n of the area.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    p: float = 0.5
    scale: Range = (0.02, 0.33)
    ratio: Range = (0.3, 3.3)
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise: Literal["pixel", "color"] | None = None
    std: tuple[float, float, float] = (0.0, 0.0, 0.0)
    count: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        check_probability("p", self.p)
        check_range("scale", self.scale, high=1.0)
        check_range("ratio", self.ratio, high=math.inf)
        for name, levels in (("fill", self.fill), ("std", self.std)):
            if not isinstance(levels, tuple) or len(levels) != 3 or not all(isinstance(v, int | float) for v in levels):
                raise TypeError(must_be(name, "three levels, for R, G and B", levels))
        check_choice("noise", self.noise, ("pixel", "color", None))
        for number in self.count:
            check_int("count", number, at_least=1)
        if len(self.count) != 2 or self.count[0] > self.count[1]:
            raise ValueError(must_be("count", "(least, most)", self.count))

    @property
    def uniforms(self) -> int:
        """Whether, how many, and for each rectangle its tries, its corner and the seed of its noise."""
        return 2 + self.count[1] * (2 * TRIES + 3)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """One for each rectangle."""
        found: list[list[Operation]] = [[] for _ in uniform]
        for row in np.flatnonzero(uniform[:, 0] < self.p).tolist():
            found[row] = self._erase(uniform[row].tolist(), size)
        return found

    def _erase(self, uniform: list[float], size: tuple[int, int]) -> list[Operation]:
        least, most = self.count
        count, step = least + int(uniform[1] * (most - least + 1)), 2 * TRIES + 3
        each = [uniform[start : start + step] for start in range(2, 2 + count * step, step)]
        boxes = ((numbers, self._box(numbers, size, count)) for numbers in each)
        return [self._operation(box, int(numbers[-1] * 2**31), size) for numbers, box in boxes if box and all(box[2:])]

    def _box(self, uniform: list[float], size: tuple[int, int], count: int) -> tuple[int, int, int, int] | None:
        """Top, left, height and width; None where no try fits."""
        low, high = (math.log(side) for side in self.ratio)
        for k in range(TRIES):
            area = size[0] * size[1] * (self.scale[0] + (self.scale[1] - self.scale[0]) * uniform[k]) / count
            aspect = math.exp(low + (high - low) * uniform[TRIES + k])
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < size[0] and width < size[1]:
                down, right = uniform[2 * TRIES], uniform[2 * TRIES + 1]
                return int(down * (size[0] - height + 1)), int(right * (size[1] - width + 1)), height, width
        return None

    def _operation(self, box: tuple[int, int, int, int], seed: int, size: tuple[int, int]) -> Operation:
        if self.noise == "pixel":
            # both sides are rounded
            most = self.scale[1] * math.prod(size) / self.count[0] + sum(size) / 2 + 1
            area = min(int(most), math.prod(size))
            return Operation(pixels.erase_with_noise, (*box, seed, *self.fill, *self.std), (area,))
        levels = np.array(self.fill)
        if self.noise == "color":
            levels = levels + np.array(self.std) * np.random.default_rng(seed).standard_normal(3)
        return Operation(pixels.erase, (*box, *np.rint(levels).clip(0, 255).tolist()))
