"""What `MixUp`, `CutMix` and `RandomChoice` share.

The call on a batch, and the options that a single one of them has.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from types import UnionType
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch

from dali_mixup.errors import check_bool, check_choice, check_int, check_probability, must_be
from dali_mixup.mixing.apply import batch_size_of, mix_images, mix_labels
from dali_mixup.mixing.draws import CutMixDraw, Draw, MixUpDraw
from dali_mixup.mixing.targets import Targets, check_classes, check_labels
from dali_mixup.randomness import Purpose

Drawn = TypeVar("Drawn", MixUpDraw, CutMixDraw)
Rows = Callable[[int, np.random.Generator], np.ndarray]  # so many independent rows


class Mixer(ABC):
    """Draws for a batch, and applies the draw to its images and labels."""

    __slots__ = ()
    draws: ClassVar[type | UnionType]  # the kinds of draw that it applies

    @abstractmethod
    def draw(self, batch_size: int, generator: np.random.Generator, size: tuple[int, int]) -> Draw:
        """Draw for one batch of images of this height and width."""

    @abstractmethod
    def mix_labels(self, labels: torch.Tensor, draw: Draw) -> Targets:
        """Targets of a batch: for class indices those that `targets` asks for, for float labels the mixed ones."""

    @abstractmethod
    def check_labels(self, name: str, labels: torch.Tensor) -> None:
        """Raise a ValueError for class indices that the targets can't hold."""

    @abstractmethod
    def check_images(self, images: torch.Tensor) -> None:
        """Raise a TypeError or ValueError unless a draw for these images can be made."""

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        draw: Draw | None = None,
        generator: np.random.Generator | None = None,
    ) -> tuple[torch.Tensor, Targets]:
        """Mix a batch and its labels into new tensors; the inputs are never written.

        Args:
            images: float, or uint8, which gives float32; (B, ...), and where CutMix takes part (B, ..., H, W).
            labels: (B,) or (B, 1) integer class indices, or floats (B, ...): multi-label, regression, probabilities.
            draw: what to apply; drawn here if None.
            generator: what to draw from; if None, one seeded by torch's global generator, so that `torch.manual_seed`
                rules.

        Returns:
            The mixed images, in the dtype and shape of `images`, and the targets: for integers stacked ones (B, 3)
            float32 `[label, partner label, lam]`, with targets="split" a tuple of labels (B, 2) int64 and lam (B,)
            float32, with targets="dense" (B, C) float32; for floats the mixed labels.

        Raises:
            ValueError: labels or draw of another length than the images, a draw for images of another size, or a class
                index that the targets can't hold.
            TypeError: images or labels that can't be mixed, or a draw of another kind.
        """
        count = batch_size_of("images", images)
        if draw is None:
            self.check_images(images)
            if generator is None:
                generator = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
            draw = self.draw(count, generator, (images.shape[-2:][0], images.shape[-1]))
        elif not isinstance(draw, self.draws):
            raise TypeError(must_be("draw", f"one that {type(self).__name__} draws", draw))
        if batch_size_of("labels", labels) != count:
            raise ValueError(must_be("labels", f"of the images' batch size ({count})", labels))
        return mix_images(images, draw), self.mix_labels(labels, draw)


@dataclass(frozen=True, slots=True)
class PairMixer(Mixer, Generic[Drawn]):
    """The options that MixUp and CutMix share; the two describe them."""

    alpha: float
    _: KW_ONLY
    per_sample: bool = True
    partner: Literal["cycle", "permutation"] = "cycle"
    prob: float = 1.0
    targets: Literal["stacked", "split", "dense"] = "stacked"
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float):
            raise TypeError(must_be("alpha", "a finite number above 0", self.alpha))
        if not 0 < self.alpha < math.inf:
            raise ValueError(
                must_be("alpha", "a finite number above 0", self.alpha, "for no mixup pass mixup=None to the Loader")
            )
        check_bool("per_sample", self.per_sample)
        check_choice("partner", self.partner, ("cycle", "permutation"))
        check_probability("prob", self.prob)
        self._check_targets()

    def _check_targets(self) -> None:
        check_choice("targets", self.targets, ("stacked", "split", "dense"))
        if self.targets == "dense":
            check_int("num_classes", self.num_classes, at_least=1)
        elif self.num_classes is not None:
            remedy = 'targets="dense" gives (B, num_classes) targets'
            raise ValueError(
                must_be(
                    "num_classes",
                    f"None for {self.targets} targets, which know no number of classes",
                    self.num_classes,
                    remedy,
                )
            )

    @property
    @abstractmethod
    def streams(self) -> dict[Purpose, Rows]:
        """What is drawn per sample, or with per_sample=False once, in this order; partners come after it."""

    @abstractmethod
    def combine(self, rows: Sequence[np.ndarray], partner: np.ndarray, size: tuple[int, int] | None) -> Drawn:
        """A draw from its parts: for each of `streams` (B, ...) or (1, ...), `partner` (B,), the images' size."""

    def draw(self, batch_size: int, generator: np.random.Generator, size: tuple[int, int] | None = None) -> Drawn:
        """Draw for one batch.

        Args:
            batch_size: B, from 0; a batch of one is left as it is (lam 1).
            generator: numpy's; the same state gives the same draw.
            size: height and width of the images in pixels; CutMix needs them for its boxes.
        """
        check_draw(batch_size, generator)
        count = batch_size if self.per_sample else 1
        rows = [draw_rows(count, generator) for draw_rows in self.streams.values()]
        return self.combine(rows, self.draw_partner(batch_size, generator), size)

    def draw_lam(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """`count` independent weights, (count,) float64; 1 where `prob` says not to mix."""
        lam = generator.beta(self.alpha, self.alpha, count)
        return lam if self.prob == 1 else np.where(generator.random(count) < self.prob, lam, 1)

    def draw_partner(self, batch_size: int, generator: np.random.Generator) -> np.ndarray:
        """The other sample's index for each sample, (batch_size,) int64."""
        order = generator.permutation(batch_size)
        if self.partner == "permutation":
            return order
        partner = np.empty_like(order)
        partner[order] = np.roll(order, -1)
        return partner

    def mix_labels(self, labels: torch.Tensor, draw: Draw) -> Targets:
        """Targets of a batch: for class indices those that `targets` asks for, for float labels the mixed ones."""
        return mix_labels(labels, draw, self.num_classes, split=self.targets == "split")

    def check_labels(self, name: str, labels: torch.Tensor) -> None:
        """Raise a ValueError for class indices that the targets can't hold."""
        if self.targets == "stacked":
            check_labels(name, labels)
        elif self.num_classes is not None:
            check_classes(name, labels, self.num_classes)


def check_draw(batch_size: int, generator: np.random.Generator) -> None:
    """Raise a TypeError or ValueError for what `draw` can't take."""
    check_int("batch_size", batch_size, at_least=0)
    if not isinstance(generator, np.random.Generator):
        raise TypeError(
            must_be("generator", "a numpy.random.Generator", generator, "numpy.random.default_rng(seed) makes one")
        )
