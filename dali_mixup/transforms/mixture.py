"""Images mixed with what came of chains of operations on them, rounded where timm rounds."""

import torch

from dali_mixup.transforms.pixels import blend


def mix_chains(images: torch.Tensor, numbers: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """`numbers`: a weight per chain of their sum, and the weight of that; `mixed` (n, k, 3, H, W) uint8."""
    *weights, share = numbers.float()[..., None, None, None].unbind(1)
    total = mixed[:, 0].float().mul_(weights[0])
    for k, weight in enumerate(weights[1:], 1):
        total.add_(mixed[:, k].float().mul_(weight))
    return blend(images.float(), total.clamp_(0, 255).to(torch.uint8), share)


def mix_one_by_one(images: torch.Tensor, numbers: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """`numbers`: the weight of each chain beside what the ones before have made; `mixed` (n, k, 3, H, W) uint8."""
    for k, weight in enumerate(numbers.float()[..., None, None, None].unbind(1)):
        images = blend(images.float(), mixed[:, k], weight)
    return images
