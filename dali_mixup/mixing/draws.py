"""What was drawn for one batch. One draw serves images, labels and whatever else belongs to the samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixUpDraw:
    """Sample i becomes lam[i] * sample[i] + (1 - lam[i]) * sample[partner[i]].

    Attributes:
        lam: (B,) float32 in [0, 1].
        partner: (B,) int64 in [0, B).
    """

    lam: torch.Tensor
    partner: torch.Tensor

    def to(self, device: torch.device | str) -> "MixUpDraw":
        """The same draw on a device; to a GPU all of it goes in one copy that nobody waits for."""
        if torch.device(device) == self.lam.device:
            return self
        lam, (partner,) = _move(self.lam, [self.partner], torch.device(device))
        return MixUpDraw(lam=lam, partner=partner)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutMixDraw:
    """Image i gets the pixels of image partner[i] inside of its own box boxes[i].

    Attributes:
        lam: (B,) float32 in [0, 1], the part of the image's area outside of its box.
        partner: (B,) int64 in [0, B).
        boxes: (B, 4) int64, rows [top, left, bottom, right] in pixels; bottom and right are the first ones outside.
        size: height and width of the images that the boxes were drawn for.
    """

    lam: torch.Tensor
    partner: torch.Tensor
    boxes: torch.Tensor
    size: tuple[int, int]

    def to(self, device: torch.device | str) -> "CutMixDraw":
        """The same draw on a device; to a GPU all of it goes in one copy that nobody waits for."""
        if torch.device(device) == self.lam.device:
            return self
        lam, (partner, boxes) = _move(self.lam, [self.partner, self.boxes], torch.device(device))
        return CutMixDraw(lam=lam, partner=partner, boxes=boxes, size=self.size)


Draw = MixUpDraw | CutMixDraw


def _move(
    lam: torch.Tensor, numbers: Sequence[torch.Tensor], device: torch.device
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Move float32 lam and int64 numbers; from the CPU to a GPU through one pinned block."""
    if device.type != "cuda" or lam.device.type != "cpu":
        return lam.to(device), [values.to(device) for values in numbers]
    block, lengths = _pack(lam, numbers, pin_memory=True)
    moved_lam, *moved = block.to(device, non_blocking=True).split(lengths)
    return _as_lam(moved_lam, len(lam)), [part.view(values.shape) for part, values in zip(moved, numbers, strict=True)]


def _pack(lam: torch.Tensor, numbers: Sequence[torch.Tensor], *, pin_memory: bool) -> tuple[torch.Tensor, list[int]]:
    """One int64 block with lam's bits and the numbers, and the lengths of its parts."""
    lengths = [len(lam), *(values.numel() for values in numbers)]
    block = torch.empty(sum(lengths), dtype=torch.int64, pin_memory=pin_memory)
    first, *others = block.split(lengths)
    _as_lam(first, len(lam)).copy_(lam)
    for part, values in zip(others, numbers, strict=True):
        part.copy_(values.flatten())
    return block, lengths


def _as_lam(part: torch.Tensor, count: int) -> torch.Tensor:
    """The float32 numbers in the first half of `count` int64 ones."""
    return part.view(torch.float32)[:count]
