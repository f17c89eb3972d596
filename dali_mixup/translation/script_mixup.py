"""The RandomMixUp and RandomCutMix that training scripts hold copies of, from torchvision's references/classification.

Which of the two an object is, is believed after trying: it must do what these rules do with the same random numbers.
"""

from collections.abc import Callable
from typing import Any

import torch

from dali_mixup.mixing.cutmix import CutMix
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.translation.trying import seeded

SEEDS = range(32)
CLASSES = 3  # at most; labels of the batches that are tried


def read_script_mixer(value: Any) -> MixUp | CutMix | None:
    """The mixer that stands for one of these classes, with dense targets; None if it does anything else.

    Args:
        value: called on a few drawn batches.
    """
    if not _looks_like_one(value) or not value.alpha > 0 or not 0 < value.p <= 1 or value.num_classes < 1:
        return None
    options: dict[str, Any] = {"per_sample": False, "prob": float(value.p), "targets": "dense"}
    options |= {"num_classes": int(value.num_classes)}
    if _does(value, _mix):
        return MixUp(float(value.alpha), fold=False, **options)
    return CutMix(float(value.alpha), **options) if _does(value, _paste) else None


def _looks_like_one(value: Any) -> bool:
    """Whether it has the options of these classes."""
    if isinstance(value, type) or not callable(value):
        return False
    numbers = (getattr(value, name, None) for name in ("alpha", "p", "num_classes"))
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)


def _does(value: Any, rule: Callable[[torch.Tensor, torch.Tensor, float], None]) -> bool:
    """Whether an object mixes batches as `rule` does."""
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(5, 3, 16, 12, generator=generator)
        labels = torch.randint(min(CLASSES, value.num_classes), (5,), generator=generator)
        with seeded(seed):
            expected = _follow(rule, images.clone(), labels, value)
        with seeded(seed):
            try:
                found = value(images.clone(), labels)
            except Exception:  # noqa: BLE001  it is made for something else
                return False
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return False
        both = zip(found, expected, strict=True)
        if not all(isinstance(one, torch.Tensor) and _are_close(one, other) for one, other in both):
            return False
    return True


def _are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.allclose(one, other, atol=1e-5)


def _follow(
    rule: Callable[[torch.Tensor, torch.Tensor, float], None], images: torch.Tensor, labels: torch.Tensor, value: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch with probability p as `rule` mixes it with the one that is moved on by a place."""
    targets = torch.nn.functional.one_hot(labels, int(value.num_classes)).to(images.dtype)
    if torch.rand(1).item() < value.p:
        alpha = torch.tensor([float(value.alpha)] * 2)
        lam = torch._sample_dirichlet(alpha)[0]  # pyright: ignore[reportPrivateImportUsage]  as the scripts draw it
        rule(images, targets, float(lam))
    return images, targets


def _mix(images: torch.Tensor, targets: torch.Tensor, lam: float) -> None:
    for values in (images, targets):
        values.copy_(lam * values + (1 - lam) * values.roll(1, 0))


def _paste(images: torch.Tensor, targets: torch.Tensor, lam: float) -> None:
    height, width = images.shape[-2:]
    column, row = (int(torch.randint(side, (1,))) for side in (width, height))
    half = 0.5 * (1 - lam) ** 0.5
    across, down = int(half * width), int(half * height)
    left, right = max(column - across, 0), min(column + across, width)
    top, bottom = max(row - down, 0), min(row + down, height)
    images[..., top:bottom, left:right] = images.roll(1, 0)[..., top:bottom, left:right]
    kept = 1 - (right - left) * (bottom - top) / (width * height)
    targets.copy_(kept * targets + (1 - kept) * targets.roll(1, 0))
