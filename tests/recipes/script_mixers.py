"""Mixers with the arguments and rules of those in torchvision's references/classification, in words of our own."""

import torch
from torch import nn


class _Rolled(nn.Module):
    """Mixes a batch, with probability p, with the one that is moved on by a place; targets are dense."""

    def __init__(self, num_classes, p=0.5, alpha=1.0):
        super().__init__()
        self.num_classes, self.p, self.alpha = num_classes, p, alpha

    def forward(self, images, labels):
        targets = nn.functional.one_hot(labels, self.num_classes).to(images.dtype)
        if torch.rand(1).item() >= self.p:
            return images, targets
        lam = self.mix(images, images.roll(1, 0), self.draw_lam())
        return images, targets.roll(1, 0).mul_(1 - lam).add_(targets * lam)

    def draw_lam(self):
        return float(torch._sample_dirichlet(torch.tensor([self.alpha, self.alpha]))[0])


class RandomMixUp(_Rolled):
    """A weighted mean."""

    def mix(self, images, others, lam):
        images.mul_(lam).add_(others.mul_(1 - lam))
        return lam


class RandomCutMix(_Rolled):
    """A box of the other one."""

    def mix(self, images, others, lam):
        left, top, right, bottom = self.draw_box(*images.shape[-2:], lam)
        images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return 1 - (right - left) * (bottom - top) / (images.shape[-1] * images.shape[-2])

    def draw_box(self, height, width, lam):
        x, y = torch.randint(width, (1,)), torch.randint(height, (1,))
        half = 0.5 * (1 - lam) ** 0.5
        across, down = int(half * width), int(half * height)
        return [
            int(side.clamp(0, limit))
            for side, limit in ((x - across, width), (y - down, height), (x + across, width), (y + down, height))
        ]
