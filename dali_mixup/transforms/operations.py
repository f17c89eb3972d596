"""Planned operations carried out on finished images: image by image on a CPU, group by group on a GPU."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
        chains: what the function mixes, as AugMix does: it takes last the images (n, k, 3, H, W) that came of each of
            these k chains of operations.
    """

    function: Callable[..., torch.Tensor]
    numbers: tuple[float, ...] = ()
    fixed: tuple[Any, ...] = ()
    chains: "tuple[tuple[Operation, ...], ...]" = ()


FLIP = Operation(flip_horizontally)


def apply_one(image: torch.Tensor, operations: Sequence[Operation]) -> torch.Tensor:
    """An image (1, 3, H, W) uint8 through its operations."""
    for function, numbers, fixed, chains in operations:
        mixed = [torch.stack([apply_one(image, chain) for chain in chains], 1)] if chains else []
        image = function(image, torch.tensor(numbers, dtype=torch.float64)[None], *fixed, *mixed)
    return image


def apply_batch(images: torch.Tensor, operations: Sequence[Sequence[Operation]]) -> torch.Tensor:
    """Images (B, 3, H, W) uint8 in any layout, each through its own operations; the same tensor if there are none.

    Images with the same one at the same place share the work, and lie beside each other for it.
    """
    rounds = _sort(operations)
    if not rounds:
        return images
    parts = _list_parts(rounds, len(images))
    # one block, so that all of it reaches a device by one copy
    block = send(torch.from_numpy(np.concatenate(parts)), images.device)
    following = iter(block.split_with_sizes([len(part) for part in parts]))
    for groups in rounds:
        counts = [len(group.rows) for group in groups]
        ordered = images.index_select(0, next(following).view(torch.int64))
        *beside, rest = ordered.split_with_sizes([*counts, len(images) - sum(counts)])
        found = [
            group.function(own, next(following).view(len(own), group.width), *group.fixed, *_mixed(own, group))
            for group, own in zip(groups, beside, strict=True)
        ]
        images = torch.cat([*found, rest])
    return images.index_select(0, next(following).view(torch.int64))


class _Group(NamedTuple):
    """Images with the same operation at the same place.

    Attributes:
        function: of the operation.
        fixed: of the operation.
        width: how many numbers an image has.
        rows: of the images in the batch.
        numbers: of all of them, one row after the other.
        chains: likewise; as many of each image.
    """

    function: Callable[..., torch.Tensor]
    fixed: tuple
    width: int
    rows: list[int]
    numbers: list[float]
    chains: list[tuple[Operation, ...]]


def _mixed(images: torch.Tensor, group: _Group) -> list[torch.Tensor]:
    """What comes of the chains of a group that has some, (n, k, 3, H, W)."""
    if not group.chains:
        return []
    count = len(group.chains) // len(images)
    # by rows and not repeated, so that a GPU needn't be waited for
    several = images[:, None].expand(-1, count, -1, -1, -1).reshape(-1, *images.shape[1:])
    return [apply_batch(several, group.chains).view(len(images), count, *images.shape[1:])]


def _sort(operations: Sequence[Sequence[Operation]]) -> list[list[_Group]]:
    """The groups of the first operations, of the second ones, ..."""
    places = range(max(map(len, operations), default=0))
    rounds: list[dict[tuple, tuple[list, list, list]]] = [defaultdict(lambda: ([], [], [])) for _ in places]
    for row, own in enumerate(operations):
        for groups, (function, numbers, fixed, chains) in zip(rounds, own, strict=False):
            rows, all_numbers, all_chains = groups[function, fixed, len(numbers), len(chains)]
            rows.append(row)
            all_numbers.extend(numbers)
            all_chains.extend(chains)
    return [
        [_Group(function, fixed, width, *lists) for (function, fixed, width, _), lists in groups.items()]
        for groups in rounds
    ]


def _list_parts(rounds: list[list[_Group]], count: int) -> list[np.ndarray]:
    """What a device needs to know of `count` images: for each round their order, and the numbers of its groups.

    Returns:
        float64 arrays. An order says for each place where its image lies until then, (count,) int64 as float64; the
        last one is that of the batch.
    """
    parts, at = [], np.arange(count)  # where each image of the batch lies
    for groups in rounds:
        rows = np.concatenate([group.rows for group in groups])
        rest = np.ones(count, bool)
        rest[rows] = False
        rows = np.concatenate([rows, np.flatnonzero(rest)])
        parts += [at[rows].view(np.float64), *(np.array(group.numbers, np.float64) for group in groups)]
        at[rows] = np.arange(count)
    return [*parts, at.view(np.float64)]
