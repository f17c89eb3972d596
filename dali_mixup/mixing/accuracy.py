"""Accuracy on mixed batches."""

from typing import NamedTuple, cast

import torch

from dali_mixup.errors import check_int, must_be
from dali_mixup.mixing.targets import Targets, is_labels, unstack_pairs
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
    """Accuracy over batches with mixed targets or plain labels; on plain labels both figures are plain accuracy.

    A batch costs no synchronization: the sums stay on the device until someone reads them.

    Args:
        topk: a label counts as predicted if it is among the `topk` largest logits.
        ignore_index: a label that counts for nothing, as in torch's CrossEntropyLoss.

    Attributes:
        sums: (4,) float64: predicted dominant labels and their number, predicted weight and all weight. Over several
            ranks: `torch.distributed.all_reduce(accuracy.sums)`, then `compute`.

    >>> import torch
    >>> accuracy = MixUpAccuracy()
    >>> accuracy.update(torch.eye(3), torch.tensor([[0.0, 2.0, 0.75], [1.0, 0.0, 1.0], [0.0, 2.0, 0.75]]))
    >>> accuracy.compute()
    Accuracy(dominant=tensor(0.6667), weighted=tensor(0.6667))
    """

    topk: int
    ignore_index: int
    sums: torch.Tensor

    def __init__(self, topk: int = 1, ignore_index: int = -100):
        check_int("topk", topk, at_least=1)
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
            raise TypeError(must_be("ignore_index", "an int", ignore_index))
        self.topk, self.ignore_index = topk, ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.sums = torch.zeros(4, dtype=torch.float64)

    def update(self, logits: torch.Tensor, targets: Targets) -> None:
        """Count one batch.

        Args:
            logits: (B, C).
            targets: (B, 3) float32 stacked, split, or (B,) or (B, 1) int64 labels.

        Raises:
            TypeError: other targets.
            ValueError: logits of another batch size, or fewer classes than `topk`.
        """
        labels, share = _as_mixed(targets)
        if logits.ndim != 2 or len(logits) != len(labels) or logits.shape[1] < self.topk:
            raise ValueError(
                must_be("logits", f"of shape ({len(labels)}, C) with at least {self.topk} classes", logits)
            )
        predicted = logits.detach().topk(self.topk, dim=1).indices
        hits = (predicted[:, None] == labels[:, :, None]).any(2)
        counted = labels != self.ignore_index
        dominant = torch.where(share[:, :1] >= 0.5, 0, 1)
        share = share.double() * counted
        dominant_counted = counted.gather(1, dominant)
        sums = [hits.gather(1, dominant) & dominant_counted, dominant_counted, hits * share, share]
        self.sums = send(self.sums, logits.device) + torch.stack([each.sum(dtype=torch.float64) for each in sums])

    def compute(self) -> Accuracy:
        """Accuracy over all batches since the last `reset`."""
        dominant, count, weighted, mass = self.sums
        return Accuracy((dominant / count).float(), (weighted / mass).float())


def _as_mixed(targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
    """Both labels and their weights, (B, 2) each."""
    if not is_labels(targets):
        return unstack_pairs(targets)
    labels = cast(torch.Tensor, targets).reshape(-1, 1).expand(-1, 2)
    return labels, torch.tensor([1.0, 0.0], dtype=torch.float32, device=labels.device).expand(labels.shape)
