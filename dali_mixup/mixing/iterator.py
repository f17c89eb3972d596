"""`MixUpIterator`: mixup behind an iterator that the user already has, such as one of DALI's own."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from dali_mixup.errors import check_choice, check_int, must_be
from dali_mixup.mixing.apply import batch_size_of, plain_labels
from dali_mixup.mixing.cutmix import CutMix
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice
from dali_mixup.randomness import Purpose, check_seed, keyed_generator

Pair = tuple[torch.Tensor, Any]
DEFAULT_KEYS = ("data", "label")


class MixUpIterator:
    """Mixes what an iterator yields.

    A `DALIClassificationIterator`, a `DALIGenericIterator`, a DataLoader, or a list of batches.

    Each `for` walks the source anew and yields `(images, targets)`. The source rules its epochs: DALI's iterators reset
    themselves when a `for` begins after a whole epoch, with `auto_reset` or without, and go on in the middle of an
    epoch after a `break`. Images are new tensors, or without a mixer the source's own.

    Args:
        source: re-iterable; yields (images, labels), a dict, or as DALI does a list of one dict per pipeline. A list of
            several dicts gives a list of as many `(images, targets)`, each mixed by itself. Labels are (B,) or (B, 1).
        mixup: a `MixUp`, `CutMix` or `RandomChoice`; None leaves the images and gives class indices as (B,) int64, for
            validation.
        seed: the draws of step k of pass n depend on (seed, n, k) only; each `for` is one pass.
        keys: names of the images and the labels where the source yields dicts; None takes "data" and "label", else the
            only two: the images are those with more dimensions, else the first. Other outputs are left out.
        layout: of the images, "NCHW" or "NHWC"; it matters to CutMix only.

    Raises:
        TypeError: a batch of another form.
        ValueError, TypeError: an option out of range.

    >>> import torch, dali_mixup as dm
    >>> batches = [{"image": torch.rand(4, 3, 8, 8), "class": torch.tensor([[5], [6], [7], [8]], dtype=torch.int32)}]
    >>> for images, targets in dm.MixUpIterator(batches, dm.MixUp(alpha=0.4)):
    ...     print(images.shape, targets.shape)
    torch.Size([4, 3, 8, 8]) torch.Size([4, 3])
    """

    source: Any
    mixup: AnyMixer | None
    seed: int
    keys: tuple[str, str] | None
    epoch: int

    def __init__(
        self,
        source: Any,
        mixup: MixUp | CutMix | RandomChoice | None,
        *,
        seed: int = 0,
        keys: tuple[str, str] | None = None,
        layout: Literal["NCHW", "NHWC"] = "NCHW",
    ):
        if mixup is not None and not isinstance(mixup, MixUp | CutMix | RandomChoice):
            raise TypeError(must_be("mixup", "dali_mixup's MixUp, CutMix, RandomChoice, or None", mixup))
        check_seed(seed)
        if keys is not None and not (isinstance(keys, tuple | list) and len(keys) == 2):
            raise TypeError(must_be("keys", "the names of the images and of the labels, or None", keys))
        check_choice("layout", layout, ("NCHW", "NHWC"))
        self.source, self.mixup, self.seed, self.keys, self.layout = source, mixup, seed, keys, layout
        self.epoch = 0
        self._several = False  # whether the source has more than one pipeline

    def __len__(self) -> int:
        """The source's length; a TypeError where it has none, as a DALI iterator without `reader_name` and `size`."""
        if getattr(self.source, "size", 0) == -1:  # DALI itself says 0 then
            raise TypeError(
                "the source's length must be known, got size=-1; build the DALI iterator with reader_name= or size="
            )
        return len(self.source)

    def __iter__(self) -> Iterator[Pair | list[Pair]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for step, batch in enumerate(self.source):
            generator = keyed_generator(self.seed, Purpose.ITERATOR, epoch, step)
            parts = self._split(batch)
            self._several |= len(parts) > 1  # DALI's last batch may come from fewer pipelines than the others
            mixed = [self._mix(*part, generator) for part in parts]
            yield mixed if self._several else mixed[0]

    def __getattr__(self, name: str) -> Any:
        """What scripts and trainers read of a loader is the source's: `dataset`, `batch_size`, `num_workers`, ..."""
        # in a copy that is being made there is no source yet; a state of the source's knows nothing of the draws
        if name.startswith("_") or name in ("source", "state_dict", "load_state_dict"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.source, name)

    def set_epoch(self, epoch: int) -> None:
        """Make the next `for` draw as pass `epoch`, from 0, does.

        It is passed on to what has a `set_epoch` of its own: the source, its sampler (a DistributedSampler, which
        repeats its order otherwise) or its batch sampler.
        """
        check_int("epoch", epoch, at_least=0)
        self.epoch = int(epoch)
        batch_sampler = getattr(self.source, "batch_sampler", None)
        told = (
            self.source,
            getattr(self.source, "sampler", None),
            batch_sampler,
            getattr(batch_sampler, "sampler", None),
        )
        for each in {id(each): each for each in told}.values():
            set_epoch = getattr(each, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(int(epoch))

    def reset(self) -> None:
        """The source's own `reset()`."""
        self.source.reset()

    def _split(self, batch: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Images and labels of each pipeline."""
        if isinstance(batch, list) and batch and all(isinstance(part, dict) for part in batch):
            return [self._pick(part) for part in batch]
        if isinstance(batch, dict):
            return [self._pick(batch)]
        if isinstance(batch, tuple | list) and len(batch) == 2:
            return [(batch[0], batch[1])]
        raise TypeError(must_be("a batch of source", "(images, labels), a dict, or a list of dicts", batch))

    def _pick(self, outputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        keys = self.keys or DEFAULT_KEYS
        if self.keys is None and len(outputs) == 2 and not all(key in outputs for key in keys):
            # a stable order: the first one is the images where both have as many dimensions
            keys = sorted(outputs, key=lambda key: -getattr(outputs[key], "ndim", 0))
        if not all(key in outputs for key in keys):
            remedy = "pass keys=(images, labels) with two of these names"
            raise TypeError(must_be("a batch of source", f"a dict with {tuple(keys)}", list(outputs), remedy))
        return outputs[keys[0]], outputs[keys[1]]

    def _mix(self, images: torch.Tensor, labels: torch.Tensor, generator: np.random.Generator) -> Pair:
        if self.mixup is None:
            batch_size_of("labels", labels)
            return images, plain_labels(labels)
        if self.layout == "NCHW":
            return self.mixup(images, labels, generator=generator)
        mixed, targets = self.mixup(images.movedim(-1, 1), labels, generator=generator)
        return mixed.movedim(1, -1), targets
