"""Stacked targets: two labels and a weight per sample, instead of one-hot rows. No other module knows the layout.

Dense targets, which are such rows, are for losses that take probabilities.
"""

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
        _check_indices(name, values, lam, "stacked")
        check_labels(name, values)
    return torch.stack([labels.float(), partner_labels.float(), lam.float().to(labels.device)], 1)


def densify_targets(
    labels: torch.Tensor, partner_labels: torch.Tensor, lam: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Rows of probabilities: lam for the label, 1 - lam for the partner's label, 0 elsewhere.

    Args:
        labels: (B,) integers from 0 to num_classes - 1.
        partner_labels: (B,) integers, likewise, the labels of the other samples.
        lam: (B,) float32, the weight of the sample itself.
        num_classes: C.

    Returns:
        (B, C) float32, on the labels' device; each row sums to 1.

    Raises:
        TypeError: labels that aren't integers.
        ValueError: other shapes, or a label that is no class.

    >>> import torch
    >>> densify_targets(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.tensor([0.75, 0.5]), 3)
    tensor([[0.7500, 0.2500, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    for name, values in (("labels", labels), ("partner_labels", partner_labels)):
        _check_indices(name, values, lam, "made dense")
        check_classes(name, values, num_classes)
    columns = (labels.long(), partner_labels.long(), lam.float().to(labels.device))
    labels, partner_labels, lam = (column[:, None] for column in columns)
    rows = torch.zeros(len(labels), num_classes, device=labels.device).scatter_(1, partner_labels, 1 - lam)
    own = torch.where(labels == partner_labels, 1, lam)
    return rows.scatter_(1, labels, own)  # unlike scatter_add_ the same on every run of a GPU


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
    """Raise a ValueError for labels that float32 doesn't hold.

    On a GPU the check runs there and fails as a device assertion.
    """
    if not labels.numel() or labels.dtype in (torch.uint8, torch.int8, torch.int16):
        return
    if labels.device.type != "cpu":
        torch._assert_async(  # pyright: ignore[reportPrivateImportUsage]  the only check without a synchronization
            labels.abs().max() < MAX_CLASSES, f"{name} must be below 2**24"
        )
    elif int(labels.max()) >= MAX_CLASSES or int(labels.min()) <= -MAX_CLASSES:
        largest = int(labels.max()) if int(labels.max()) >= MAX_CLASSES else int(labels.min())
        raise ValueError(must_be(name, "below 2**24 (16,777,216), which stacked float32 targets hold exactly", largest))


def check_classes(name: str, labels: torch.Tensor, num_classes: int) -> None:
    """Raise a ValueError for labels that are no class.

    On a GPU the check runs there and fails as a device assertion.
    """
    if not labels.numel():
        return
    rule = f"class indices from 0 to {num_classes - 1} (num_classes={num_classes})"
    outside = (labels < 0) | (labels >= num_classes)
    if labels.device.type != "cpu":
        torch._assert_async(~outside.any(), f"{name} must be {rule}")  # pyright: ignore[reportPrivateImportUsage]
    elif outside.any():
        found = labels[outside].unique().tolist()
        remedy = "a label to ignore needs stacked targets" if min(found) < 0 else "num_classes counts all classes"
        raise ValueError(must_be(name, rule, found[0] if len(found) == 1 else found, remedy))


def _check_indices(name: str, labels: torch.Tensor, lam: torch.Tensor, done: str) -> None:
    """Raise a TypeError unless the labels are integers, a ValueError unless they have lam's shape (B,)."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(must_be(name, "an integer tensor (B,)", labels, f"float labels are mixed by `mix`, not {done}"))
    if labels.shape != lam.shape or labels.ndim != 1:
        raise ValueError(must_be(name, f"of lam's shape {tuple(lam.shape)}", labels))
