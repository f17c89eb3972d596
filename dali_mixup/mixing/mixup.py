"""Mixup in the batch: every image is mixed with another one (Zhang et al., mixup, 2018, arXiv:1710.09412)."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from types import UnionType
from typing import ClassVar

import numpy as np
import torch

from dali_mixup.errors import check_bool
from dali_mixup.mixing.draws import MixUpDraw
from dali_mixup.mixing.mixer import PairMixer, Rows
from dali_mixup.randomness import Purpose


@dataclass(frozen=True, slots=True)
class MixUp(PairMixer[MixUpDraw]):
    """In-batch mixup, for any loader: `images, targets = mixup(images, labels)`.

    Args:
        alpha: lam ~ Beta(alpha, alpha); drawn by numpy, since torch's Beta collapses to 0.5 for small alpha.
        per_sample: one lam per sample; False draws one per batch.
        fold: lam = max(lam, 1 - lam), so that a sample keeps the larger part of itself and no mixed pair comes twice.
        partner: "cycle" walks one cycle through the batch, so that no sample is mixed with itself and, from three
            samples on, no pair is mixed twice; "permutation" is the plain shuffle.
        prob: probability that a sample (or, with per_sample=False, a batch) is mixed at all.
        targets: of class indices; "stacked" for `MixUpLoss`; "split", the same as a tuple of labels (B, 2) int64 and
            weights (B,) float32, for trainers that cast floats to halves; or "dense": (B, num_classes) float32
            probabilities for a loss that takes them, such as torch's CrossEntropyLoss. (`MixUpLoss` refuses those; of
            three classes only on a CPU.)
        num_classes: of dense targets; None for stacked ones.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import numpy as np, torch, dali_mixup as dm
    >>> mixup = dm.MixUp(alpha=0.4)
    >>> draw = mixup.draw(4, np.random.default_rng(0))
    >>> images, targets = mixup(torch.rand(4, 3, 8, 8), torch.tensor([5, 6, 7, 8]), draw=draw)
    >>> images.shape, targets.shape
    (torch.Size([4, 3, 8, 8]), torch.Size([4, 3]))
    """

    draws: ClassVar[type | UnionType] = MixUpDraw
    alpha: float = 0.4
    _: KW_ONLY
    fold: bool = True

    def __post_init__(self) -> None:
        PairMixer.__post_init__(self)  # slots leave super() without its class
        check_bool("fold", self.fold)

    def draw_lam(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """`count` independent weights, (count,) float32; 1 where `prob` says not to mix."""
        lam = PairMixer.draw_lam(self, count, generator)
        return (np.maximum(lam, 1 - lam) if self.fold else lam).astype(np.float32)

    @property
    def streams(self) -> dict[Purpose, Rows]:
        """Weights."""
        return {Purpose.LAM: self.draw_lam}

    def combine(
        self,
        rows: Sequence[np.ndarray],
        partner: np.ndarray,
        size: tuple[int, int] | None,  # noqa: ARG002
    ) -> MixUpDraw:
        """A draw from weights (B,), or for one per batch (1,), and `partner` (B,); `size` is of no use here."""
        (lam,) = rows
        if len(partner) < 2:
            lam = np.ones(len(partner), np.float32)
        lam = np.broadcast_to(lam, partner.shape).copy()
        return MixUpDraw(lam=torch.from_numpy(lam), partner=torch.from_numpy(partner))

    def check_images(self, images: torch.Tensor) -> None:
        """Images of any shape will do."""
