"""Planned operations carried out on finished images: image by image on a CPU, group by group on a GPU."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from dali_mixup.placement import send
from dali_mixup.transforms.pixels import flip_horizontally


class Operation(NamedTuple):
    """One operation on one image.

    Attributes:
        function: takes images (n, 3, H, W) uint8, numbers (n, k) float64 and `fixed`; gives new images.
        numbers: what may differ between images of a group.
        fixed: what may not.
    """

    function: Callable[..., torch.Tensor]
    numbers: tuple[float, ...] = ()
    fixed: tuple = ()


FLIP = Operation(flip_horizontally)


def apply_one(image: torch.Tensor, operations: Sequence[Operation]) -> torch.Tensor:
    """An image (1, 3, H, W) uint8 through its operations."""
    for function, numbers, fixed in operations:
        image = function(image, torch.tensor(numbers, dtype=torch.float64)[None], *fixed)
    return image


def apply_batch(images: torch.Tensor, operations: Sequence[Sequence[Operation]]) -> torch.Tensor:
    """Images (B, 3, H, W) uint8 in any layout, each through its own operations; the same tensor if there are none.

    Images with the same one at the same place share the work, and lie beside each other for it.
    """
    rounds = _sort(operations)
    if not rounds:
        return images
    block = send(_pack(rounds, len(images)), images.device)
    orders = block[: (len(rounds) + 1) * len(images)].view(torch.int64).split(len(images))
    numbers = block[(len(rounds) + 1) * len(images) :]
    for groups, order in zip(rounds, orders, strict=False):
        found, images, start = [], images.index_select(0, order), 0
        for group in groups:
            end, count = start + len(group.rows), len(group.numbers)
            own, numbers = numbers[:count].view(len(group.rows), -1), numbers[count:]
            found.append(group.function(images[start:end], own, *group.fixed))
            start = end
        images = torch.cat([*found, images[start:]])
    return images.index_select(0, orders[-1])


class _Group(NamedTuple):
    """Images with the same operation at the same place.

    Attributes:
        function: of the operation.
        fixed: of the operation.
        rows: of the images in the batch.
        numbers: of all of them, one row after the other.
    """

    function: Callable[..., torch.Tensor]
    fixed: tuple
    rows: list[int]
    numbers: list[float]


def _sort(operations: Sequence[Sequence[Operation]]) -> list[list[_Group]]:
    """The groups of the first operations, of the second ones, ..."""
    rounds: list[dict[tuple, _Group]] = [{} for _ in range(max(map(len, operations), default=0))]
    for row, own in enumerate(operations):
        for groups, (function, numbers, fixed) in zip(rounds, own, strict=False):
            group = groups.get((function, fixed))
            if group is None:
                group = groups[function, fixed] = _Group(function, fixed, [], [])
            group.rows.append(row)
            group.numbers.extend(numbers)
    return [list(groups.values()) for groups in rounds]


def _pack(rounds: list[list[_Group]], count: int) -> torch.Tensor:
    """All that a device needs to know, in one block: it gets there by one copy.

    Returns:
        (k,) float64. It begins with int64: where each image of a round comes from, `count` for every round and then for
        the batch; after them come the numbers of all groups.
    """
    orders, at = [], np.arange(count)  # where each image of the batch lies
    for groups in rounds:
        rows = np.concatenate([group.rows for group in groups])
        rest = np.ones(count, bool)
        rest[rows] = False
        rows = np.concatenate([rows, np.flatnonzero(rest)])
        orders.append(at[rows])
        at = np.empty_like(rows)
        at[rows] = np.arange(count)
    numbers = [number for groups in rounds for group in groups for number in group.numbers]
    places = np.concatenate([*orders, at]).view(np.float64)
    return torch.from_numpy(np.concatenate([places, np.array(numbers, np.float64)]))
