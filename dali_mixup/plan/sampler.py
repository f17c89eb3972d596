"""Orders from a user's sampler, drawn whole at the start of an epoch."""

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dali_mixup.errors import check_int, must_be
from dali_mixup.plan.step import Step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampled:
    """What a sampler gave for one epoch.

    Attributes:
        indices: (N,) int64, the samples in their order; any number of them, any of them more than once.
        ends: (S,) int64, the position after each batch of a batch sampler; None where batches have one size.
    """

    indices: np.ndarray
    ends: np.ndarray | None

    def steps(self, position: int, batch_size: int, *, drop_last: bool) -> Iterator[Step]:
        """Batches from a position on; `batch_size` and `drop_last` count without `ends`."""
        total = len(self.indices)
        if self.ends is not None:
            ends = self.ends[self.ends > position].tolist()
        else:
            ends = [*range(position + batch_size, total + 1, batch_size)]
            if not drop_last and (ends[-1] if ends else position) < total:
                ends.append(total)
        for end in ends:
            yield Step(position, end - position, end)
            position = end


class UserSampler:
    """A user's sampler or batch sampler, whichever there is.

    Args:
        sampler: gives indices; None beside a batch sampler.
        batch_sampler: gives lists of indices; None beside a sampler.
        batch_size: with a sampler, samples per batch.
        drop_last: with a sampler, leave out a last batch that isn't full.

    Raises:
        TypeError: something that can't be walked through in every epoch, or has no length.
    """

    batch_size: int
    drop_last: bool

    def __init__(self, sampler: Any, batch_sampler: Any, *, batch_size: int | None, drop_last: bool):
        self.in_batches: bool = batch_sampler is not None
        self.source: Any = batch_sampler if self.in_batches else sampler
        self.name = "batch_sampler" if self.in_batches else "sampler"
        self.batch_size, self.drop_last = batch_size or 1, drop_last
        if not hasattr(self.source, "__iter__") or not hasattr(self.source, "__len__"):
            rule = "an iterable of indices with a length, such as a torch.utils.data.Sampler"
            raise TypeError(
                must_be(self.name, rule, self.source, "an endless one can be cut into epochs by a class with both")
            )

    def __len__(self) -> int:
        """Batches per epoch."""
        if self.in_batches:
            return len(self.source)
        whole, rest = divmod(len(self.source), self.batch_size)
        return whole if self.drop_last else whole + (rest > 0)

    @property
    def shown(self) -> Any:
        """What a Loader shows as its `sampler`; of a batch sampler the sampler inside, as torch does."""
        return getattr(self.source, "sampler", self.source) if self.in_batches else self.source

    def draw(self, samples: int) -> Sampled:
        """Walk through the sampler once.

        Args:
            samples: N of the dataset.

        Raises:
            TypeError: something else than integers.
            ValueError: an index outside of the dataset, or an empty batch.
        """
        if not self.in_batches:
            return Sampled(indices=self._indices(self.source, samples), ends=None)
        batches = [self._indices(batch, samples) for batch in self.source]
        if not all(map(len, batches)):
            raise ValueError(must_be(self.name, "lists of at least one index", []))
        ends = np.cumsum([len(batch) for batch in batches], dtype=np.int64)
        return Sampled(indices=np.concatenate([np.empty(0, np.int64), *batches]), ends=ends)

    def set_epoch(self, epoch: int) -> None:
        """Tell the sampler, and the one inside of a batch sampler, which epoch comes next."""
        for sampler in {id(sampler): sampler for sampler in (self.source, self.shown)}.values():
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """What the next order depends on, as far as torch's samplers show it.

        The epoch that they were told, their generator's state.
        """
        generator = self._generator()
        return {
            "epoch": getattr(self.shown, "epoch", None),
            "generator": None if generator is None else generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo whatever happened since `state_dict`."""
        generator = self._generator()
        if generator is not None and state["generator"] is not None:
            generator.set_state(state["generator"])
        if state["epoch"] is not None:
            self.set_epoch(state["epoch"])

    def _generator(self) -> torch.Generator | None:
        generator = getattr(self.shown, "generator", None)
        return generator if isinstance(generator, torch.Generator) else None

    def _indices(self, values: Iterable[int], samples: int) -> np.ndarray:
        try:
            indices = np.fromiter(map(operator.index, values), np.int64)
        except TypeError as error:
            kind = "lists of integers" if self.in_batches else "integers"
            raise TypeError(f"{self.name} must give {kind}, the numbers of samples; {error}") from error
        outside = (indices < 0) | (indices >= samples)
        if outside.any():
            raise ValueError(must_be(self.name, f"indices from 0 to {samples - 1}", int(indices[outside.argmax()])))
        return indices


def check_order(batch_size: object, *, shuffle: bool, sampler: object, batch_sampler: object, drop_last: bool) -> None:
    """The rules of torch's DataLoader about who decides the order and the batches."""
    if batch_sampler is not None:
        if batch_size is not None or shuffle or sampler is not None or drop_last:
            raise ValueError("batch_sampler excludes batch_size, shuffle, sampler and drop_last; leave them out")
        return
    if batch_size is None:
        raise TypeError(
            must_be("batch_size", "an int of at least 1", None, "only a batch_sampler makes it superfluous")
        )
    check_int("batch_size", batch_size, at_least=1)
    if sampler is not None and shuffle:
        raise ValueError("sampler excludes shuffle; the sampler decides the order, so leave shuffle out")
