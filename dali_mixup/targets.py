"""Stacked targets: two labels and a weight per sample, instead of one-hot rows. No other module knows the layout."""

import torch

from dali_mixup.errors import must_be

MAX_CLASSES = 2**24  # float32 holds every integer up to here


def stack_targets(labels: torch.Tensor, partner_labels: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """Rows `[label, partner label, lam]`.

    Args:
        labels: (B,) integers below 2**24; negative ones (an `ignore_index`) are kept.
        partner_labels: (B,) integers, the labels of the other samples.
        lam: (B,) float32, the weight of the sample itself.

    Returns:
        (B, 3) float32, on the labels' device.

    Raises:
        TypeError: labels that aren't integers.
        ValueError: other shapes, or a label that float32 doesn't hold.

    >>> import torch
    >>> stack_targets(torch.tensor([7, 3]), torch.tensor([3, 7]), torch.tensor([0.75, 1.0]))
    tensor([[7.0000, 3.0000, 0.7500],
            [3.0000, 7.0000, 1.0000]])
    """
    for name, values in (("labels", labels), ("partner_labels", partner_labels)):
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise TypeError(must_be(name, "an integer tensor (B,)", values, "float labels are mixed by `mix`, not stacked"))
        if values.shape != lam.shape or values.ndim != 1:
            raise ValueError(must_be(name, f"of lam's shape {tuple(lam.shape)}", values))
        check_labels(name, values)
    return torch.stack([labels.float(), partner_labels.float(), lam.float().to(labels.device)], 1)


def unstack_targets(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The parts of stacked targets: labels (B,) int64, partner labels (B,) int64, lam (B,) float32.

    Raises:
        TypeError: targets that aren't float32 (B, 3).

    >>> import torch
    >>> unstack_targets(torch.tensor([[7.0, 3.0, 0.75]]))
    (tensor([7]), tensor([3]), tensor([0.7500]))
    """
    if not is_stacked(targets):
        raise TypeError(must_be("targets", "float32 (B, 3), rows [label, partner label, lam]", targets))
    return targets[:, 0].long(), targets[:, 1].long(), targets[:, 2]


def unstack_pairs(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both labels of stacked targets, (B, 2) int64, and their weights, (B, 2) float32."""
    lam = targets[:, 2:]
    return targets[:, :2].long(), torch.cat([lam, 1 - lam], 1)


def is_stacked(targets: torch.Tensor) -> bool:
    """Whether the dtype and shape are those of stacked targets."""
    return targets.dtype == torch.float32 and targets.ndim == 2 and targets.shape[1] == 3


def is_labels(targets: torch.Tensor) -> bool:
    """Whether the dtype and shape are those of plain labels, int64 (B,) or (B, 1)."""
    return targets.dtype == torch.int64 and (targets.ndim == 1 or targets.shape[1:] == (1,))


def check_labels(name: str, labels: torch.Tensor) -> None:
    """Raise a ValueError for labels that float32 doesn't hold; on a GPU the check runs there and fails as a device assertion."""
    if not labels.numel() or labels.dtype in (torch.uint8, torch.int8, torch.int16):
        return
    if labels.device.type != "cpu":
        torch._assert_async(  # pyright: ignore[reportPrivateImportUsage]  the only check without a synchronization
            labels.abs().max() < MAX_CLASSES, f"{name} must be below 2**24"
        )
    elif int(labels.max()) >= MAX_CLASSES or int(labels.min()) <= -MAX_CLASSES:
        largest = int(labels.max()) if int(labels.max()) >= MAX_CLASSES else int(labels.min())
        raise ValueError(must_be(name, "below 2**24 (16,777,216), which stacked float32 targets hold exactly", largest))
