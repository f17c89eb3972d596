"""The loss of mixed batches: lam * loss(y1) + (1 - lam) * loss(y2), in place of one-hot targets."""

import copy

import torch
from torch import nn

from dali_mixup.errors import must_be
from dali_mixup.targets import is_stacked, unstack_targets


class MixUpLoss(nn.Module):
    """Any classification criterion on stacked targets; on plain labels exactly that criterion.

    With l(y) the criterion's unreduced loss (class weights and label smoothing inside) and m(y) = weight[y] * (y != ignore_index), the
    reductions are

    - "none": lam * l(y1) + (1 - lam) * l(y2) per sample, "sum": its sum,
    - "mean": that sum over the sum of lam * m(y1) + (1 - lam) * m(y2). It equals torch's own mean for lam = 1, for y1 = y2 and for
      one lam per batch. A criterion that has no weighted mean in torch (all but cross-entropy and NLL) has m = 1.

    A label of weight 0 (lam = 1) adds nothing, also where its loss is infinite.

    Args:
        criterion: a module that takes (logits, labels) and has a `reduction` of "none", "mean" or "sum". It is never changed.

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
            raise TypeError(must_be("criterion", "a module with a `reduction`, such as torch.nn.CrossEntropyLoss()", criterion))
        if criterion.reduction not in ("none", "mean", "sum"):
            raise ValueError(must_be("criterion.reduction", '"none", "mean" or "sum"', criterion.reduction))
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
        if targets.dtype == torch.int64 and (targets.ndim == 1 or (targets.ndim == 2 and targets.shape[1] == 1)):
            return self.criterion(logits, targets.flatten())
        if not is_stacked(targets):
            rule = "int64 labels (B,) or float32 stacked targets (B, 3)"
            raise TypeError(must_be("targets", rule, targets, "dense targets (B, C) go to the criterion itself"))
        if len(logits) != len(targets):
            raise ValueError(must_be("logits", f"of the targets' batch size ({len(targets)})", logits))
        labels, partner_labels, lam = unstack_targets(targets)
        # A label of weight 0 is never looked up: the gradient of an infinite loss is NaN even where the loss itself is masked.
        labels, partner_labels = torch.where(lam > 0, labels, partner_labels), torch.where(lam < 1, partner_labels, labels)
        both = torch.stack([labels, partner_labels])
        share = torch.stack([lam, 1 - lam])
        if type(self.criterion) is nn.CrossEntropyLoss:
            losses = _cross_entropy_of_both(self.criterion, logits, both)
        else:
            unreduced = copy.copy(self.criterion)
            unreduced.reduction = "none"  # pyright: ignore[reportArgumentType]
            losses = torch.stack([unreduced(logits, labels), unreduced(logits, partner_labels)])
            if losses.shape != both.shape:
                raise TypeError(must_be("criterion", 'a module that with reduction = "none" gives (B,) losses', self.criterion))
        share = share.to(losses.dtype)
        mixed = torch.where(share > 0, share * losses, 0).sum(0)
        if self.criterion.reduction == "none":
            return mixed
        if self.criterion.reduction == "sum":
            return mixed.sum()
        return mixed.sum() / (share * _mass(self.criterion, both, losses.dtype)).sum()


def _cross_entropy_of_both(criterion: nn.CrossEntropyLoss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Unreduced cross-entropy of logits (B, C) for two rows of labels (2, B), from one log-softmax; (2, B)."""
    # as autocast runs cross_entropy itself; on a CPU it leaves log_softmax in half precision
    wide = logits.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(logits.device.type)
    log_probs = torch.log_softmax(logits, 1, dtype=torch.float32 if wide else None)
    valid = labels != criterion.ignore_index
    index = torch.where(valid, labels, 0)
    losses = -log_probs.gather(1, index.T).T
    if criterion.weight is not None:
        losses = losses * criterion.weight[index]
    if criterion.label_smoothing > 0:
        weighted = log_probs if criterion.weight is None else log_probs * criterion.weight
        smooth = -weighted.sum(1) / logits.shape[1]
        losses = (1 - criterion.label_smoothing) * losses + criterion.label_smoothing * smooth
    return torch.where(valid, losses, 0)


def _mass(criterion: nn.Module, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """m(y) of labels (2, B): what torch's mean divides by."""
    if not isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss):
        return torch.ones_like(labels, dtype=dtype)
    valid = labels != criterion.ignore_index
    if criterion.weight is None:
        return valid.to(dtype)
    return torch.where(valid, criterion.weight[torch.where(valid, labels, 0)], 0).to(dtype)
