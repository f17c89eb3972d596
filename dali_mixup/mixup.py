"""Mixup in the batch: every image is mixed with another of the same batch (Zhang et al., mixup, 2018, arXiv:1710.09412).

`draw_*` is random, `mix` is pure: one draw serves images, labels and whatever else belongs to the samples.
"""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from dali_mixup.errors import check_int, check_probability, must_be
from dali_mixup.randomness import Purpose, check_seed, keyed_generator
from dali_mixup.targets import stack_targets

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixUpDraw:
    """What was drawn for one batch: sample i becomes lam[i] * sample[i] + (1 - lam[i]) * sample[partner[i]].

    Attributes:
        lam: (B,) float32 in [0, 1].
        partner: (B,) int64 in [0, B).
    """

    lam: torch.Tensor
    partner: torch.Tensor

    def to(self, device: torch.device | str) -> "MixUpDraw":
        """The same draw on a device; to a GPU lam and partner go in one copy that nobody waits for."""
        if torch.device(device) == self.lam.device:
            return self
        if torch.device(device).type != "cuda" or self.lam.device.type != "cpu":
            return MixUpDraw(lam=self.lam.to(device), partner=self.partner.to(device))
        count = len(self.lam)
        both = torch.empty(2 * count, dtype=torch.int64, pin_memory=True)
        both[:count] = self.partner
        both[count:].view(torch.float32)[:count] = self.lam
        both = both.to(device, non_blocking=True)
        return MixUpDraw(lam=both[count:].view(torch.float32)[:count], partner=both[:count])


@dataclass(frozen=True, slots=True)
class MixUp:
    """In-batch mixup, for any loader: `images, targets = mixup(images, labels)`.

    Args:
        alpha: lam ~ Beta(alpha, alpha); drawn by numpy, since torch's Beta collapses to 0.5 for small alpha.
        per_sample: one lam per sample; False draws one per batch.
        fold: lam = max(lam, 1 - lam), so that a sample keeps the larger part of itself and no mixed pair comes twice.
        partner: "cycle" walks one cycle through the batch, so that no sample is mixed with itself and, from three samples on, no pair
            is mixed twice; "permutation" is the plain shuffle.
        prob: probability that a sample (or, with per_sample=False, a batch) is mixed at all.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import numpy as np, torch, dali_mixup as dm
    >>> mixup = dm.MixUp(alpha=0.4)
    >>> draw = mixup.draw(4, np.random.default_rng(0))
    >>> images, targets = mixup(torch.rand(4, 3, 8, 8), torch.tensor([5, 6, 7, 8]), draw=draw)
    >>> images.shape, targets.shape
    (torch.Size([4, 3, 8, 8]), torch.Size([4, 3]))
    """

    alpha: float = 0.4
    _: KW_ONLY
    per_sample: bool = True
    fold: bool = True
    partner: Literal["cycle", "permutation"] = "cycle"
    prob: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float):
            raise TypeError(must_be("alpha", "a finite number above 0", self.alpha))
        if not 0 < self.alpha < math.inf:
            raise ValueError(must_be("alpha", "a finite number above 0", self.alpha, "for no mixup pass mixup=None to the Loader"))
        for name, value in (("per_sample", self.per_sample), ("fold", self.fold)):
            if not isinstance(value, bool):
                raise TypeError(must_be(name, "True or False", value))
        if self.partner not in ("cycle", "permutation"):
            raise ValueError(must_be("partner", '"cycle" or "permutation"', self.partner))
        check_probability("prob", self.prob)

    def draw_lam(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """`count` independent weights, (count,) float32; 1 where `prob` says not to mix."""
        lam = generator.beta(self.alpha, self.alpha, count)
        if self.fold:
            lam = np.maximum(lam, 1 - lam)
        if self.prob < 1:
            lam = np.where(generator.random(count) < self.prob, lam, 1)
        return lam.astype(np.float32)

    def draw_partner(self, batch_size: int, generator: np.random.Generator) -> np.ndarray:
        """The other sample's index for each sample, (batch_size,) int64."""
        order = generator.permutation(batch_size)
        if self.partner == "permutation":
            return order
        partner = np.empty_like(order)
        partner[order] = np.roll(order, -1)
        return partner

    def draw(self, batch_size: int, generator: np.random.Generator) -> MixUpDraw:
        """Draw lam and partner for one batch.

        Args:
            batch_size: B, from 0; a batch of one is left unmixed (lam 1).
            generator: numpy's; the same state gives the same draw.
        """
        check_int("batch_size", batch_size, at_least=0)
        if not isinstance(generator, np.random.Generator):
            raise TypeError(must_be("generator", "a numpy.random.Generator", generator, "numpy.random.default_rng(seed) makes one"))
        lam = self.draw_lam(batch_size if self.per_sample else 1, generator)
        return self.combine(lam, self.draw_partner(batch_size, generator))

    def combine(self, lam: np.ndarray, partner: np.ndarray) -> MixUpDraw:
        """A draw from its two halves: `lam` (B,) or, for one per batch, (1,); `partner` (B,)."""
        if len(partner) < 2:
            lam = np.ones(len(partner), np.float32)
        lam = np.broadcast_to(lam, partner.shape).copy()
        return MixUpDraw(lam=torch.from_numpy(lam), partner=torch.from_numpy(partner))

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        draw: MixUpDraw | None = None,
        generator: np.random.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch and its labels into new tensors; the inputs are never written.

        Args:
            images: (B, ...) float, or uint8, which gives float32.
            labels: (B,) or (B, 1) integer class indices, or floats (B, ...): multi-label, regression, probabilities.
            draw: what to apply; drawn here if None.
            generator: what to draw from; if None, one seeded by torch's global generator, so that `torch.manual_seed` rules.

        Returns:
            The mixed images, in the dtype and shape of `images`, and the targets: for integers stacked ones (B, 3) float32
            `[label, partner label, lam]`, for floats the mixed labels.

        Raises:
            ValueError: labels or draw of another length than the images, or a class index of 2**24 or more.
            TypeError: images or labels that can't be mixed.
        """
        if draw is None:
            if generator is None:
                generator = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
            draw = self.draw(_batch_size("images", images), generator)
        if _batch_size("labels", labels) != _batch_size("images", images):
            raise ValueError(must_be("labels", f"of the images' batch size ({len(images)})", labels))
        return mix(images, draw), mix_labels(labels, draw)


def mix(values: T, draw: MixUpDraw) -> T:
    """Weighted means along the first dimension: lam * values + (1 - lam) * values[partner].

    Works on any float tensor (B, ...), such as images, embeddings or the continuous columns of a table, and on tuples, lists and
    dicts of them, with the same draw. Differentiable. float16 and bfloat16 are computed in float32; uint8 gives float32.
    A sample with lam = 1 comes back exactly.

    Raises:
        TypeError: integers, bools and other things that have no weighted mean.
        ValueError: another batch size than the draw's.

    >>> import torch
    >>> draw = MixUpDraw(lam=torch.tensor([0.75, 1.0]), partner=torch.tensor([1, 0]))
    >>> mix({"columns": torch.tensor([[0.0], [4.0]])}, draw)
    {'columns': tensor([[1.],
            [4.]])}
    """
    return _mix(values, draw, "values")


def mix_labels(labels: torch.Tensor, draw: MixUpDraw) -> torch.Tensor:
    """Stacked targets (B, 3) for class indices (B,) or (B, 1), `mix` for float labels (B, ...)."""
    if labels.is_floating_point():
        return _mix(labels, draw, "labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    draw = _matching(draw, labels, "labels")
    return stack_targets(labels, labels[draw.partner], draw.lam)


def _mix(values: Any, draw: MixUpDraw, name: str) -> Any:
    if isinstance(values, torch.Tensor):
        return _mix_tensor(values, draw, name)
    if isinstance(values, dict):
        return {key: _mix(value, draw, f"{name}[{key!r}]") for key, value in values.items()}
    if isinstance(values, list | tuple):
        mixed = [_mix(value, draw, f"{name}[{i}]") for i, value in enumerate(values)]
        return type(values)(*mixed) if hasattr(values, "_fields") else type(values)(mixed)
    raise TypeError(must_be(name, "a float or uint8 tensor, or a tuple, list or dict of them", values))


def _mix_tensor(values: torch.Tensor, draw: MixUpDraw, name: str) -> torch.Tensor:
    if not (values.is_floating_point() or values.dtype == torch.uint8):
        raise TypeError(must_be(name, "a float or uint8 tensor", values, "indices have no mean: mix their embeddings"))
    draw = _matching(draw, values, name)
    exact = torch.float64 if values.dtype == torch.float64 else torch.float32
    lam = draw.lam.to(exact).reshape(-1, *[1] * (values.ndim - 1))
    own = values.to(exact)
    mixed = torch.where(lam < 1, own[draw.partner].lerp_(own, lam), own)  # lerp at 1 loses -0 and lets a partner's NaN in
    return mixed if values.dtype == torch.uint8 else mixed.to(values.dtype)


def _matching(draw: MixUpDraw, values: torch.Tensor, name: str) -> MixUpDraw:
    """The draw on the values' device, after a check of its length."""
    if _batch_size(name, values) != len(draw.lam):
        raise ValueError(must_be(name, f"of the draw's batch size ({len(draw.lam)})", values))
    return draw.to(values.device)


def _batch_size(name: str, values: torch.Tensor) -> int:
    if not isinstance(values, torch.Tensor) or values.ndim == 0:
        raise TypeError(must_be(name, "a tensor (B, ...)", values))
    return len(values)


class MixUpIterator:
    """Mixup behind an iterator that already yields batches, such as a `DALIClassificationIterator`.

    Each `for` walks the source anew and yields `(images, targets)`.

    Args:
        source: re-iterable; yields (images, labels), a dict, or DALI's list of one dict. Labels (B,) or (B, 1).
        mixup: how to mix.
        seed: the draws of step k of pass n depend on (seed, n, k) only.
        keys: names of the images and the labels where the source yields dicts.

    Raises:
        TypeError: a batch of another form.
    """

    def __init__(self, source: Any, mixup: MixUp, *, seed: int = 0, keys: tuple[str, str] = ("data", "label")):
        check_seed(seed)
        self.source, self.mixup, self.seed, self.keys = source, mixup, seed, keys
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for step, batch in enumerate(self.source):
            images, labels = self._unpack(batch)
            yield self.mixup(images, labels, generator=keyed_generator(self.seed, Purpose.ITERATOR, epoch, step))

    def _unpack(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(batch, list) and len(batch) == 1:
            batch = batch[0]  # DALI yields one dict per pipeline
        if isinstance(batch, dict) and all(key in batch for key in self.keys):
            return batch[self.keys[0]], batch[self.keys[1]]
        if isinstance(batch, tuple | list) and len(batch) == 2:
            return batch[0], batch[1]
        raise TypeError(must_be("a batch of source", f"(images, labels) or a dict with {self.keys}", batch))
