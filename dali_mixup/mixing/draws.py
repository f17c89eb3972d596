"""What was drawn for one batch. One draw serves images, labels and whatever else belongs to the samples."""

from dataclasses import dataclass

import torch

from dali_mixup.placement import send


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
        """The same draw on a device; the host doesn't wait for a GPU."""
        device = torch.device(device)
        if device == self.lam.device:
            return self
        return MixUpDraw(lam=send(self.lam, device), partner=send(self.partner, device))


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
        """The same draw on a device; the host doesn't wait for a GPU."""
        device = torch.device(device)
        if device == self.lam.device:
            return self
        lam, partner, boxes = (send(values, device) for values in (self.lam, self.partner, self.boxes))
        return CutMixDraw(lam=lam, partner=partner, boxes=boxes, size=self.size)


Draw = MixUpDraw | CutMixDraw
