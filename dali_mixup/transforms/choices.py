"""`OneOf` and `RandomOrder`: which of several transforms an image goes through, and in which order."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from dali_mixup.errors import must_be
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.transforms import (
    PlannedInBatches,
    Transform,
    check_transforms,
    count_uniforms,
    plan_operations,
)


@dataclass(frozen=True, slots=True)
class OneOf(PlannedInBatches):
    """One of `transforms`, by chance: `torchvision.transforms.v2.RandomChoice`.

    `RandomApply((...), 1.0)` makes several transforms one of the choices, `RandomApply((), 1.0)` none.

    Args:
        transforms: at least one.
        p: a weight of at least 0 for each; None for equal ones.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> OneOf((RandomOrder(()), RandomOrder(())), (3, 1)).shares
    (0.75, 1.0)
    """

    transforms: tuple[Transform, ...]
    p: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_transforms(self.transforms)
        if not self.transforms:
            raise ValueError(must_be("transforms", "at least one transform", self.transforms))
        if self.p is None:
            return
        rule = f"{len(self.transforms)} weights of at least 0, of which one is more, or None"
        if not isinstance(self.p, tuple) or not all(
            isinstance(each, int | float) and not isinstance(each, bool) for each in self.p
        ):
            raise TypeError(must_be("p", rule, self.p))
        if len(self.p) != len(self.transforms) or not min(self.p) >= 0 or not 0 < sum(self.p) < float("inf"):
            raise ValueError(must_be("p", rule, self.p))

    @property
    def uniforms(self) -> int:
        """Which, then those of the one that needs most: the others share them."""
        return 1 + max(transform.uniforms for transform in self.transforms)

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each transform or one before it."""
        weights = self.p or (1,) * len(self.transforms)
        return tuple(part / sum(weights) for part in accumulate(weights))

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """Those of one transform."""
        # the last one that can come, where rounding leaves a number beyond all shares
        last = max(k for k, weight in enumerate(self.p or (1,) * len(self.transforms)) if weight)
        chosen = np.searchsorted(self.shares, uniform[:, 0], side="right").clip(max=last)
        found: list[list[Operation]] = [[] for _ in uniform]
        for k, transform in enumerate(self.transforms):
            rows = np.flatnonzero(chosen == k)
            planned = plan_operations((transform,), uniform[rows, 1:], size)
            for row, own in zip(rows.tolist(), planned, strict=True):
                found[row] = own
        return found


@dataclass(frozen=True, slots=True)
class RandomOrder(PlannedInBatches):
    """All of `transforms`, each image in an order of its own: `torchvision.transforms.v2.RandomOrder`."""

    transforms: tuple[Transform, ...]

    def __post_init__(self) -> None:
        check_transforms(self.transforms)

    @property
    def uniforms(self) -> int:
        """A key of each transform to sort by, then those of the transforms."""
        return len(self.transforms) + count_uniforms(self.transforms)

    def batch_operations(self, uniform: np.ndarray, size: tuple[int, int]) -> list[list[Operation]]:
        """Those of all transforms."""
        start, planned = len(self.transforms), []
        for transform in self.transforms:
            planned.append(plan_operations((transform,), uniform[:, start : start + transform.uniforms], size))
            start += transform.uniforms
        orders = uniform[:, : len(self.transforms)].argsort(1).tolist()
        return [[operation for k in order for operation in planned[k][row]] for row, order in enumerate(orders)]
