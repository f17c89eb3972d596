"""What a run does from which epoch on: pipelines and mixers that change between epochs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from dali_mixup.errors import must_be
from dali_mixup.mixing.random_choice import AnyMixer
from dali_mixup.plan.views import Pipelines

T = TypeVar("T")
Scheduled = T | Mapping[int, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Epochs in a row that do the same.

    Attributes:
        first: the first of them.
        end: the first that isn't one of them any more; None where there is none.
        pipeline: what happens to an image, or to each of its views.
        mixup: what happens to a batch; None for nothing.
    """

    first: int
    end: int | None
    pipeline: Pipelines
    mixup: AnyMixer | None


def check_schedule(name: str, value: object, check: Callable[[str, object], None]) -> None:
    """Check a value, or each value of a dict from first epochs to values.

    Args:
        name: of the option.
        value: what was given.
        check: raises an error, given a name and a value, unless the value may stand for one epoch.

    Raises:
        TypeError: keys that are no ints.
        ValueError: no epoch 0, or epochs that don't rise.
    """
    if not isinstance(value, Mapping):
        check(name, value)
        return
    rule = "a dict from the first epoch of each value to the value"
    if not all(isinstance(epoch, int) and not isinstance(epoch, bool) for epoch in value):
        raise TypeError(must_be(name, f"{rule}, an int", list(value)))
    epochs = list(value)
    if epochs[:1] != [0] or epochs != sorted(epochs):
        raise ValueError(must_be(name, f"{rule}, from epoch 0 on and rising", epochs))
    for epoch, each in value.items():
        check(f"{name}[{epoch}]", each)


def map_schedule(value: Scheduled[T], change: Callable[[T], T]) -> Scheduled[T]:
    """The same schedule of changed values."""
    if isinstance(value, Mapping):
        return {epoch: change(each) for epoch, each in value.items()}
    return change(value)


def at_epoch(value: Scheduled[T], epoch: int) -> T:
    """The value that holds in an epoch.

    >>> at_epoch({0: "small", 10: "large"}, 9), at_epoch({0: "small", 10: "large"}, 10), at_epoch("always", 3)
    ('small', 'large', 'always')
    """
    if not isinstance(value, Mapping):
        return value
    return value[max(first for first in value if first <= epoch)]


def phase_at(pipeline: Scheduled[Pipelines], mixup: Scheduled[AnyMixer | None], epoch: int) -> Phase:
    """The phase that an epoch belongs to."""
    starts = _starts(pipeline, mixup)
    return Phase(
        first=max(first for first in starts if first <= epoch),
        end=min((first for first in starts if first > epoch), default=None),
        pipeline=at_epoch(pipeline, epoch),
        mixup=at_epoch(mixup, epoch),
    )


def phases_of(pipeline: Scheduled[Pipelines], mixup: Scheduled[AnyMixer | None]) -> list[Phase]:
    """All phases of a run, in order."""
    return [phase_at(pipeline, mixup, epoch) for epoch in sorted(_starts(pipeline, mixup))]


def _starts(*schedules: Scheduled) -> set[int]:
    return {0, *(first for value in schedules if isinstance(value, Mapping) for first in value)}
