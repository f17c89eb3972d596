"""`RandomChoice`: MixUp for one batch, CutMix for another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import ClassVar

import numpy as np
import torch

from dali_mixup.errors import must_be
from dali_mixup.mixing.cutmix import CutMix
from dali_mixup.mixing.draws import CutMixDraw, Draw, MixUpDraw
from dali_mixup.mixing.mixer import Mixer, check_draw
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.mixing.targets import Targets


@dataclass(frozen=True, slots=True)
class RandomChoice(Mixer):
    """One of several, drawn anew for each batch, as in torchvision and in timm's `switch_prob`.

    `images, targets = choice(images, labels)`.

    Args:
        mixers: MixUp and CutMix, with the same `targets` and `num_classes`.
        p: how often each of them comes, in numbers from 0; divided by their sum. None: equally often.

    Raises:
        ValueError, TypeError: other mixers, mixers that disagree about the targets, or other probabilities.

    >>> import torch, dali_mixup as dm
    >>> choice = dm.RandomChoice([dm.MixUp(alpha=0.8), dm.CutMix(alpha=1.0)], p=[0.3, 0.7])
    >>> images, targets = choice(torch.rand(4, 3, 8, 8), torch.tensor([5, 6, 7, 8]))
    >>> images.shape, targets.shape
    (torch.Size([4, 3, 8, 8]), torch.Size([4, 3]))
    """

    draws: ClassVar[type | UnionType] = MixUpDraw | CutMixDraw
    mixers: Sequence[MixUp | CutMix]
    p: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mixers, list | tuple) or not all(
            isinstance(mixer, MixUp | CutMix) for mixer in self.mixers
        ):
            raise TypeError(must_be("mixers", "a list of MixUp and CutMix", self.mixers))
        if not self.mixers:
            raise ValueError(must_be("mixers", "at least one MixUp or CutMix", self.mixers))
        if len({(mixer.targets, mixer.num_classes) for mixer in self.mixers}) > 1:
            raise ValueError(
                must_be("mixers", "of one kind of targets, with the same targets and num_classes", self.mixers)
            )
        object.__setattr__(self, "mixers", tuple(self.mixers))  # a list could change
        if self.p is not None:
            _check_shares(self.p, len(self.mixers))
            object.__setattr__(self, "p", tuple(self.p))

    def choose(self, generator: np.random.Generator) -> MixUp | CutMix:
        """The mixer of one batch."""
        bounds = np.cumsum(self.p or [1] * len(self.mixers))
        return self.mixers[int(np.searchsorted(bounds / bounds[-1], generator.random(), side="right"))]

    def draw(self, batch_size: int, generator: np.random.Generator, size: tuple[int, int]) -> Draw:
        """Choose a mixer, and draw with it.

        Args:
            batch_size: B, from 0; a batch of one is left as it is (lam 1).
            generator: numpy's; the same state gives the same draw.
            size: height and width of the images, in pixels.
        """
        check_draw(batch_size, generator)
        return self.choose(generator).draw(batch_size, generator, size)

    def mix_labels(self, labels: torch.Tensor, draw: Draw) -> Targets:
        """Targets of a batch, as all the mixers make them."""
        return self.mixers[0].mix_labels(labels, draw)

    def check_labels(self, name: str, labels: torch.Tensor) -> None:
        """Raise a ValueError for class indices that the targets can't hold."""
        self.mixers[0].check_labels(name, labels)

    def check_images(self, images: torch.Tensor) -> None:
        """Raise a TypeError or ValueError for images that one of the mixers can't take, even before its turn."""
        for mixer in self.mixers:
            mixer.check_images(images)


AnyMixer = MixUp | CutMix | RandomChoice


def _check_shares(p: object, count: int) -> None:
    if not isinstance(p, list | tuple) or not all(
        isinstance(share, int | float) and not isinstance(share, bool) for share in p
    ):
        raise TypeError(must_be("p", "a list of numbers, or None", p))
    if len(p) != count or not all(share >= 0 for share in p) or not 0 < sum(p) < math.inf:
        raise ValueError(must_be("p", f"{count} finite numbers from 0, one per mixer and not all 0", p))
