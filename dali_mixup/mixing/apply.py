"""Carrying out a draw: `mix` and `paste` on whatever belongs to the samples, `mix_labels` on their labels.

Nothing random here.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from dali_mixup.errors import must_be
from dali_mixup.mixing.draws import CutMixDraw, Draw, MixUpDraw
from dali_mixup.mixing.targets import Targets, densify_targets, split_targets, stack_targets

T = TypeVar("T")


def mix(values: T, draw: Draw) -> T:
    """Weighted means along the first dimension: lam * values + (1 - lam) * values[partner].

    Works on any float tensor (B, ...), such as images, embeddings or the continuous columns of a table, and on tuples,
    lists and dicts of them, with the same draw. Differentiable. float16 and bfloat16 are computed in float32; uint8
    gives float32. A sample with lam = 1 comes back exactly. With a CutMix draw this is right for targets; images get
    `paste`.

    Raises:
        TypeError: integers, bools and other things that have no weighted mean.
        ValueError: another batch size than the draw's.

    >>> import torch
    >>> draw = MixUpDraw(lam=torch.tensor([0.75, 1.0]), partner=torch.tensor([1, 0]))
    >>> mix({"columns": torch.tensor([[0.0], [4.0]])}, draw)
    {'columns': tensor([[1.],
            [4.]])}
    """
    return _in_containers(values, lambda one, name: _mix_tensor(one, draw, name), "values", "a float or uint8 tensor")


def paste(values: T, draw: CutMixDraw) -> T:
    """Each image with the pixels of its partner inside of its box, and nothing computed.

    Every bit comes from one of the two.

    Works on tensors (B, ..., H, W) of any dtype, such as images and segmentation masks, and on tuples, lists and dicts
    of them, with the same draw. Differentiable. Images with channels last take part as `images.movedim(-1, 1)`.

    Raises:
        TypeError: something else than tensors, or a draw without boxes.
        ValueError: another batch size, height or width than the draw's.

    >>> import torch
    >>> boxes = torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]])
    >>> draw = CutMixDraw(lam=torch.tensor([0.75, 1.0]), partner=torch.tensor([1, 0]), boxes=boxes, size=(2, 2))
    >>> paste(torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), draw)
    tensor([[[1, 6],
             [3, 4]],
    <BLANKLINE>
            [[5, 6],
             [7, 8]]])
    """
    if not isinstance(draw, CutMixDraw):
        raise TypeError(must_be("draw", "a CutMixDraw, which has boxes", draw, "`mix` applies a MixUpDraw"))
    return _in_containers(values, lambda one, name: _paste_tensor(one, draw, name), "values", "a tensor (B, ..., H, W)")


def mix_images(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """The images of a batch by any draw; uint8 gives float32 in both ways."""
    if isinstance(draw, MixUpDraw):
        return _mix_tensor(images, draw, "images")
    pasted = _paste_tensor(images, draw, "images")
    return pasted.float() if pasted.dtype == torch.uint8 else pasted


def mix_labels(labels: torch.Tensor, draw: Draw, num_classes: int | None = None, *, split: bool = False) -> Targets:
    """Targets for class indices (B,) or (B, 1), `mix` for float labels (B, ...).

    Args:
        labels: integers or floats.
        draw: lam and partner.
        num_classes: C for dense targets (B, C); None for stacked ones (B, 3) or split ones.
        split: whether these are split.
    """
    if labels.is_floating_point():
        return _mix_tensor(labels, draw, "labels")
    labels = _without_column(labels)
    draw = _matching(draw, labels, "labels")
    if num_classes is None:
        return (split_targets if split else stack_targets)(labels, labels[draw.partner], draw.lam)
    return densify_targets(labels, labels[draw.partner], draw.lam, num_classes)


def plain_labels(labels: torch.Tensor) -> torch.Tensor:
    """Unmixed targets: integer class indices (B,) or (B, 1) as (B,) int64; float labels as they are."""
    return labels if labels.is_floating_point() else _without_column(labels).long()


def _without_column(labels: torch.Tensor) -> torch.Tensor:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _in_containers(values: Any, change: Callable[[torch.Tensor, str], torch.Tensor], name: str, rule: str) -> Any:
    if isinstance(values, torch.Tensor):
        return change(values, name)
    if isinstance(values, dict):
        return {key: _in_containers(value, change, f"{name}[{key!r}]", rule) for key, value in values.items()}
    if isinstance(values, list | tuple):
        changed = [_in_containers(value, change, f"{name}[{i}]", rule) for i, value in enumerate(values)]
        return type(values)(*changed) if hasattr(values, "_fields") else type(values)(changed)
    raise TypeError(must_be(name, f"{rule}, or a tuple, list or dict of them", values))


def _mix_tensor(values: torch.Tensor, draw: Draw, name: str) -> torch.Tensor:
    if not (values.is_floating_point() or values.dtype == torch.uint8):
        raise TypeError(must_be(name, "a float or uint8 tensor", values, "indices have no mean: mix their embeddings"))
    draw = _matching(draw, values, name)
    exact = torch.float64 if values.dtype == torch.float64 else torch.float32
    lam = draw.lam.to(exact).reshape(-1, *[1] * (values.ndim - 1))
    own = values.to(exact)
    # lerp at 1 loses -0 and lets a partner's NaN in
    mixed = torch.where(lam < 1, own[draw.partner].lerp_(own, lam), own)
    return mixed if values.dtype == torch.uint8 else mixed.to(values.dtype)


def _paste_tensor(values: torch.Tensor, draw: CutMixDraw, name: str) -> torch.Tensor:
    if values.ndim < 3 or tuple(values.shape[-2:]) != draw.size:
        raise ValueError(must_be(name, f"of shape (B, ..., H, W) with the draw's height and width {draw.size}", values))
    draw = _matching(draw, values, name)
    inside = inside_boxes(draw).reshape(len(values), *[1] * (values.ndim - 3), *draw.size)
    return torch.where(inside, values[draw.partner], values)


def inside_boxes(draw: CutMixDraw) -> torch.Tensor:
    """Which pixels come from the partner: (B, H, W) bool on the draw's device."""
    top, left, bottom, right = draw.boxes[:, :, None, None].unbind(1)
    height, width = draw.size
    row = torch.arange(height, device=draw.boxes.device)[:, None]
    column = torch.arange(width, device=draw.boxes.device)
    return (row >= top) & (row < bottom) & (column >= left) & (column < right)


def batch_size_of(name: str, values: torch.Tensor) -> int:
    """B; raises a TypeError for what isn't a tensor (B, ...)."""
    if not isinstance(values, torch.Tensor) or values.ndim == 0:
        remedy = "" if isinstance(values, torch.Tensor) else "torch.as_tensor makes one of numbers"
        raise TypeError(must_be(name, "a tensor (B, ...)", values, remedy))
    return len(values)


def _matching(draw: Draw, values: torch.Tensor, name: str) -> Any:
    """The draw on the values' device, after a check of its length."""
    if batch_size_of(name, values) != len(draw.lam):
        raise ValueError(must_be(name, f"of the draw's batch size ({len(draw.lam)})", values))
    return draw.to(values.device)
