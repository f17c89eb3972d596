"""Accuracy on mixed batches."""

from typing import NamedTuple

import torch

from dali_mixup.errors import check_int, must_be
from dali_mixup.mixing.targets import is_labels, is_stacked, unstack_targets
from dali_mixup.placement import send


class Accuracy(NamedTuple):
    """Fractions in [0, 1], scalars on the logits' device; NaN before the first sample.

    Attributes:
        dominant: how often the label with the larger weight is predicted.
        weighted: the mean weight of the labels that are predicted.
    """

    dominant: torch.Tensor
    weighted: torch.Tensor


class MixUpAccuracy:
    """Accuracy over batches with stacked targets or plain labels; on plain labels both figures are plain accuracy.

    A batch costs no synchronization: the counts stay on the device until someone reads them.

    Args:
        topk: a label counts as predicted if it is among the `topk` largest logits.

    >>> import torch
    >>> accuracy = MixUpAccuracy()
    >>> accuracy.update(torch.eye(3), torch.tensor([[0.0, 2.0, 0.75], [1.0, 0.0, 1.0], [0.0, 2.0, 0.75]]))
    >>> accuracy.compute()
    Accuracy(dominant=tensor(0.6667), weighted=tensor(0.6667))
    """

    def __init__(self, topk: int = 1):
        check_int("topk", topk, at_least=1)
        self.topk = topk
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._dominant = self._weighted = torch.zeros((), dtype=torch.float64)
        self._count = 0

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Count one batch.

        Args:
            logits: (B, C).
            targets: (B, 3) float32 stacked, or (B,) or (B, 1) int64 labels.

        Raises:
            TypeError: other targets.
            ValueError: logits of another batch size, or fewer classes than `topk`.
        """
        labels, partner_labels, lam = _as_mixed(targets)
        if logits.ndim != 2 or len(logits) != len(labels) or logits.shape[1] < self.topk:
            raise ValueError(
                must_be("logits", f"of shape ({len(labels)}, C) with at least {self.topk} classes", logits)
            )
        predicted = logits.detach().topk(self.topk, dim=1).indices
        own = (predicted == labels[:, None]).any(1)
        other = (predicted == partner_labels[:, None]).any(1)
        weighted = lam.double() * own + (1 - lam.double()) * other
        self._dominant = send(self._dominant, logits.device) + torch.where(lam >= 0.5, own, other).sum()
        self._weighted = send(self._weighted, logits.device) + weighted.sum()
        self._count += len(labels)

    def compute(self) -> Accuracy:
        """Accuracy over all batches since the last `reset`."""
        count = self._count or float("nan")
        return Accuracy((self._dominant / count).float(), (self._weighted / count).float())


def _as_mixed(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if is_stacked(targets):
        return unstack_targets(targets)
    if is_labels(targets):
        labels = targets.flatten()
        return labels, labels, torch.ones(len(labels), device=labels.device)
    raise TypeError(must_be("targets", "float32 (B, 3) or int64 (B,)", targets))
