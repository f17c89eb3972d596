"""CutMix in the batch: every image gets a box of another one (Yun et al., CutMix, 2019, arXiv:1905.04899)."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import ClassVar

import numpy as np
import torch

from dali_mixup.errors import check_int, must_be
from dali_mixup.mixing.draws import CutMixDraw
from dali_mixup.mixing.mixer import PairMixer, Rows
from dali_mixup.randomness import Purpose


@dataclass(frozen=True, slots=True)
class CutMix(PairMixer[CutMixDraw]):
    """In-batch CutMix, for any loader: `images, targets = cutmix(images, labels)`.

    A box has its centre anywhere in the image, and sides of sqrt(1 - lam) times the image's; what lies outside of the
    image is cut off. The lam of the targets is the part of the area that the image keeps of itself then, exactly. It
    may be anything from 0 to 1, so there
    is no `fold`: that would move boxes.

    Args:
        alpha: lam ~ Beta(alpha, alpha); drawn by numpy.
        per_sample: a box per sample; False draws one per batch, as torchvision and timm do.
        partner: "cycle" walks one cycle through the batch, so that no sample gets a box of itself; "permutation" is the
            plain shuffle.
        prob: probability that a sample (or, with per_sample=False, a batch) gets a box at all.
        targets: of class indices; "stacked" for `MixUpLoss`; "split", the same as a tuple of labels (B, 2) int64 and
            weights (B,) float32, for trainers that cast floats to halves; or "dense": (B, num_classes) float32
            probabilities for a loss that takes them, such as torch's CrossEntropyLoss. (`MixUpLoss` refuses those; of
            three classes only on a CPU.)
        num_classes: of dense targets; None for stacked ones.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import numpy as np, torch, dali_mixup as dm
    >>> cutmix = dm.CutMix(targets="dense", num_classes=10)
    >>> draw = cutmix.draw(4, np.random.default_rng(0), (8, 8))
    >>> images, targets = cutmix(torch.rand(4, 3, 8, 8), torch.tensor([5, 6, 7, 8]), draw=draw)
    >>> images.shape, targets.shape
    (torch.Size([4, 3, 8, 8]), torch.Size([4, 10]))
    """

    draws: ClassVar[type | UnionType] = CutMixDraw
    alpha: float = 1.0

    @property
    def streams(self) -> dict[Purpose, Rows]:
        """Weights, and the boxes' centres."""
        return {Purpose.LAM: self.draw_lam, Purpose.BOX: draw_centre}

    def combine(self, rows: Sequence[np.ndarray], partner: np.ndarray, size: tuple[int, int] | None) -> CutMixDraw:
        """A draw from weights (B,) and centres (B, 2), or for one box per batch (1,) and (1, 2), and `partner` (B,)."""
        lam, centre = rows
        size = _as_size(size)
        if len(partner) < 2:
            lam, centre = np.ones(len(partner)), centre[: len(partner)]
        boxes = boxes_around(lam, centre, size)
        top, left, bottom, right = boxes.T
        area = size[0] * size[1]
        kept = ((area - (bottom - top) * (right - left)) / area).astype(np.float32)
        return CutMixDraw(
            lam=torch.from_numpy(np.broadcast_to(kept, len(partner)).copy()),
            partner=torch.from_numpy(partner),
            boxes=torch.from_numpy(np.broadcast_to(boxes, (len(partner), 4)).copy()),
            size=size,
        )

    def check_images(self, images: torch.Tensor) -> None:
        """Raise a TypeError without height and width, a ValueError where the channels lie in their place."""
        if images.ndim < 3:
            raise TypeError(must_be("images", "a tensor (B, ..., H, W)", images))
        if images.ndim == 4 and images.shape[3] <= 4 < min(images.shape[1:3]):
            remedy = 'pass `images.movedim(-1, 1)`, or layout="NHWC" to a MixUpIterator'
            raise ValueError(must_be("images", "of shape (B, ..., H, W), without channels at the end", images, remedy))


def draw_centre(count: int, generator: np.random.Generator) -> np.ndarray:
    """Where boxes have their centres: (count, 2) in [0, 1), of the height and the width."""
    return generator.random((count, 2))


def boxes_around(lam: np.ndarray, centre: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes with sides of about sqrt(1 - lam), cut off at the image's edges; their integers are torchvision's.

    Args:
        lam: (N,) in [0, 1].
        centre: (N, 2) in [0, 1), of the height and the width.
        size: height and width.

    Returns:
        (N, 4) int64, rows [top, left, bottom, right].
    """
    middle = (centre * size).astype(np.int64)
    half = (0.5 * np.sqrt(1 - lam)[:, None] * size).astype(np.int64)
    return np.concatenate([np.maximum(middle - half, 0), np.minimum(middle + half, size)], 1)


def _as_size(size: object) -> tuple[int, int]:
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise TypeError(must_be("size", "a pair (height, width)", size))
    for name, side in zip(("height", "width"), size, strict=True):
        check_int(f"the {name} of size", side, at_least=1)
    return int(size[0]), int(size[1])
