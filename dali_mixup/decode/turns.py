"""What comes next, and what is delivered of it: the same for all ways to images."""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import torch

from dali_mixup.decode.faults import CheckedBatch, Faults
from dali_mixup.decode.inspector import SizeInspector
from dali_mixup.plan.plan import BatchPlan, Plan
from dali_mixup.plan.state import Cursor
from dali_mixup.plan.step import Step

Images = torch.Tensor | list[torch.Tensor]


class Turn(NamedTuple):
    """What comes next: a step of an epoch, and the epoch's order."""

    epoch: int
    order: np.ndarray | None
    step: Step


class Decoded(NamedTuple):
    """A batch before the stage.

    Attributes:
        plan: of the batch.
        images: uint8 (B, H, W, 3) on the device, cropped, resized and flipped; or with `windows_only` a list of B uint8
            (h, w, 3). With several views a tuple with these of each.
        checkpoint: DALI's state after it; None without random operators in the graph.
    """

    plan: BatchPlan
    images: Images | tuple[Images, ...]
    checkpoint: bytes | None


def cut_views(images: list[torch.Tensor], batch: BatchPlan) -> tuple[list[torch.Tensor], ...]:
    """The window of each view in what was decoded for all of them, without copies."""
    cuts = []
    for view in batch.views:
        start = view.windows.anchor - batch.windows.anchor
        places = zip(images, start.tolist(), (start + view.windows.shape).tolist(), strict=True)
        cuts.append([image[top:bottom, left:right] for image, (top, left), (bottom, right) in places])
    return tuple(cuts)


def check_batches(turns: Iterator[Turn], taken: deque[Turn], plan: Plan, faults: Faults) -> Iterator[CheckedBatch]:
    """Plan and check batch by batch, in a thread, ahead of need. What an epoch taught is kept at its end."""
    epoch = None
    for turn, batch in _plan_ahead(turns, taken, plan, faults.inspector):
        if epoch not in (None, turn.epoch):
            faults.inspector.remember()
        epoch = turn.epoch
        yield faults.check(batch, turn.order)
    faults.inspector.remember()


def _plan_ahead(
    turns: Iterator[Turn], taken: deque[Turn], plan: Plan, inspector: SizeInspector
) -> Iterator[tuple[Turn, BatchPlan]]:
    """Plan batch by batch; `inspector.ahead` samples after each are begun to be read before it is looked at."""
    begun: deque[tuple[Turn, BatchPlan]] = deque()
    samples = 0
    for turn in turns:
        taken.append(turn)
        batch = plan.batch(*turn)
        inspector.start(batch)
        begun.append((turn, batch))
        samples += len(batch.indices)
        if samples - len(begun[0][1].indices) >= inspector.ahead:
            samples -= len(begun[0][1].indices)
            yield begun.popleft()
    yield from begun


def turns_from(plan: Plan, cursor: Cursor) -> Iterator[Turn]:
    """The steps from a place on: to the end of the epoch with a sampler or `augment`, otherwise of the plan."""
    position = cursor.position
    for epoch in count(cursor.epoch) if plan.end is None else range(cursor.epoch, plan.end):
        order = plan.order(epoch, cursor.sampled)
        for step in plan.steps(position, cursor.sampled):
            yield Turn(epoch, order, step)
        if plan.augments or cursor.sampled is not None:
            return
        position = 0


def stands_at(taken: deque[Turn], plan: Plan, cursor: Cursor) -> bool:
    """Whether a cursor is where the turns that were taken and not delivered begin, which go on into the next epoch."""
    step = next(plan.steps(cursor.position), None)
    if not taken or step is None or plan.augments or cursor.sampled is not None:
        return False
    return (taken[0].epoch, taken[0].step.first) == (cursor.epoch, step.first)
