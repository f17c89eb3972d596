"""The loss of mixed batches: lam * loss(y1) + (1 - lam) * loss(y2), in place of one-hot targets."""

import copy

import torch
from torch import nn

from dali_mixup.errors import check_choice, must_be
from dali_mixup.mixing.targets import is_labels, is_stacked, unstack_pairs

# Below a vector's width torch's CPU kernel over the last dimension takes four times as long as the one over the first.
FEW_CLASSES = 15


class MixUpLoss(nn.Module):
    """Any classification criterion on stacked targets; on plain labels exactly that criterion.

    With l(y) the criterion's unreduced loss (class weights and label smoothing inside) and m(y) = weight[y] * (y !=
    ignore_index), the reductions are

    - "none": lam * l(y1) + (1 - lam) * l(y2) per sample, "sum": its sum,
    - "mean": that sum over the sum of lam * m(y1) + (1 - lam) * m(y2). It equals torch's own mean for lam = 1, for y1 =
      y2 and for one lam per batch. A criterion that has no weighted mean in torch (all but cross-entropy and NLL) has m
      = 1.

    A label of weight 0 (lam = 1) adds nothing, also where its loss is infinite.

    Args:
        criterion: a module that takes (logits, labels) and has a `reduction` of "none", "mean" or "sum". It is never
            changed.

    Raises:
        TypeError, ValueError: another criterion.

    >>> import torch
    >>> criterion = MixUpLoss(torch.nn.CrossEntropyLoss())
    >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
    >>> criterion(logits, torch.tensor([[0.0, 1.0, 0.75]])), criterion(logits, torch.tensor([0]))
    (tensor(0.7395), tensor(0.2395))
    """

    def __init__(self, criterion: nn.Module):
        super().__init__()
        if not isinstance(criterion, nn.Module) or not hasattr(criterion, "reduction"):
            raise TypeError(
                must_be("criterion", "a module with a `reduction`, such as torch.nn.CrossEntropyLoss()", criterion)
            )
        check_choice("criterion.reduction", criterion.reduction, ("none", "mean", "sum"))
        self.criterion = criterion

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logits: (B, C) float, what the criterion takes.
            targets: (B, 3) float32 stacked targets, or (B,) or (B, 1) int64 labels.

        Returns:
            A scalar, or (B,) for the reduction "none".

        Raises:
            TypeError: other targets; dense ones go to the criterion itself.
            ValueError: logits of another batch size.
        """
        if is_labels(targets):
            return self.criterion(logits, targets.flatten())
        if not is_stacked(targets):
            rule = "int64 labels (B,) or float32 stacked targets (B, 3)"
            raise TypeError(must_be("targets", rule, targets, "dense targets (B, C) go to the criterion itself"))
        if len(logits) != len(targets):
            raise ValueError(must_be("logits", f"of the targets' batch size ({len(targets)})", logits))
        labels, share = unstack_pairs(targets)
        if type(self.criterion) is nn.CrossEntropyLoss:
            return _mixed_cross_entropy(self.criterion, logits, labels, share)
        return _mixed_criterion(self.criterion, logits, labels, share)


def _mixed_criterion(
    criterion: nn.Module, logits: torch.Tensor, labels: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Any criterion on labels (B, 2) that count by share (B, 2)."""
    unreduced = copy.copy(criterion)
    unreduced.reduction = "none"  # pyright: ignore[reportArgumentType]
    # A label of weight 0 is never looked up: the gradient of an infinite loss is NaN even where the loss itself is
    # masked.
    labels = torch.where(share > 0, labels, labels.flip(1))
    each = [unreduced(logits, labels[:, 0]), unreduced(logits, labels[:, 1])]
    if each[0].shape != labels.shape[:1]:
        raise TypeError(must_be("criterion", 'a module that with reduction = "none" gives (B,) losses', criterion))
    losses = torch.stack(each, 1)
    share = share.to(losses.dtype)
    mixed = torch.where(share > 0, share * losses, 0)
    if criterion.reduction == "none":
        return mixed.sum(1)
    if criterion.reduction == "sum":
        return mixed.sum()
    if isinstance(criterion, nn.NLLLoss | nn.CrossEntropyLoss):
        share = share * _mass(criterion, labels, losses.dtype)
    return mixed.sum() / share.sum()


def _mass(criterion: nn.NLLLoss | nn.CrossEntropyLoss, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """m(y) of labels (B, 2): what torch's mean divides by."""
    valid = (labels != criterion.ignore_index).to(dtype)
    return valid if criterion.weight is None else valid * criterion.weight[torch.where(valid > 0, labels, 0)].to(dtype)


def _mixed_cross_entropy(
    criterion: nn.CrossEntropyLoss, logits: torch.Tensor, labels: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy on labels (B, 2) that count by share (B, 2), from one log-softmax."""
    log_probs = _log_softmax(logits)
    ignored = labels == criterion.ignore_index
    labels, share = labels.masked_fill(ignored, 0), share.to(log_probs.dtype).masked_fill(ignored, 0)
    smoothing, weight = criterion.label_smoothing, criterion.weight
    mass = share if weight is None else share * weight[labels]
    # few operators: for ten classes their number decides
    likelihood = torch.where(mass > 0, log_probs.gather(1, labels) * mass, 0)  # of weight 0 it may be infinite
    if smoothing > 0:
        spread = log_probs.sum(1) if weight is None else log_probs @ weight.to(log_probs.dtype)
        even = torch.where(share > 0, share * spread[:, None], 0)
        likelihood = (1 - smoothing) * likelihood + smoothing / logits.shape[1] * even
    if criterion.reduction == "none":
        return -likelihood.sum(1)
    return -likelihood.sum() if criterion.reduction == "sum" else likelihood.sum() / -mass.sum()


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, C)."""
    # As autocast runs cross_entropy itself; on a CPU it leaves log_softmax in half precision.
    wide = logits.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(logits.device.type)
    dtype = torch.float32 if wide else None
    if logits.device.type == "cpu" and logits.shape[1] <= FEW_CLASSES:
        return torch.log_softmax(logits.t(), 0, dtype=dtype).t()
    return torch.log_softmax(logits, 1, dtype=dtype)
