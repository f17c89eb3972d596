"""Planned operations carried out on finished images: image by image on a CPU, group by group on a GPU."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

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
    """Images (B, 3, H, W) uint8, each through its own operations.

    Images with the same one at the same place share the work.
    """
    images = images.clone()
    for place in range(max(map(len, operations), default=0)):
        groups: dict[tuple, list[int]] = {}
        for row, own in enumerate(operations):
            if place < len(own):
                groups.setdefault((own[place].function, own[place].fixed), []).append(row)
        for (function, fixed), rows in groups.items():
            numbers = send(
                torch.tensor([operations[row][place].numbers for row in rows], dtype=torch.float64), images.device
            )
            where = send(torch.tensor(rows), images.device)
            images[where] = function(images[where], numbers, *fixed)
    return images
