"""The sampler that a Loader shows where the user gave none."""

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler, SequentialSampler

from dali_mixup.plan.plan import Plan


class EpochSampler(Sampler[int]):
    """A plan's own order, in the form of torch's samplers.

    Its items are the samples of this rank in the epoch that the next `for` over the Loader runs.

    Args:
        plan: of the Loader.
        next_epoch: says which epoch that is.
        set_epoch: sets it.
    """

    plan: Plan
    next_epoch: Callable[[], int]
    set_epoch: Callable[[int], None]

    def __init__(self, plan: Plan, next_epoch: Callable[[], int], set_epoch: Callable[[int], None]):
        self.plan, self.next_epoch, self.set_epoch = plan, next_epoch, set_epoch

    def __len__(self) -> int:
        return sum(step.length for step in self.plan.steps())

    def __iter__(self) -> Iterator[int]:
        order = self.plan.order(self.next_epoch())
        for first, count, _ in self.plan.steps():
            yield from range(first, first + count) if order is None else order[first : first + count].tolist()


class InOrderSampler(EpochSampler, SequentialSampler):
    """The same of an order that isn't shuffled, which Lightning's `overfit_batches` tells by the base class."""
