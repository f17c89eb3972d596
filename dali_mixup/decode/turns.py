"""What comes next, and what is delivered of it: the same for all ways to images."""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import torch

from dali_mixup.decode.faults import CheckedBatch, Faults
from dali_mixup.plan.plan import BatchPlan, Plan
from dali_mixup.plan.state import Cursor
from dali_mixup.plan.step import Step


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
            (h, w, 3).
        checkpoint: DALI's state after it; None without random operators in the graph.
    """

    plan: BatchPlan
    images: torch.Tensor | list[torch.Tensor]
    checkpoint: bytes | None


def check_batches(turns: Iterator[Turn], taken: deque[Turn], plan: Plan, faults: Faults) -> Iterator[CheckedBatch]:
    """Plan and check batch by batch, in a thread, ahead of need. What an epoch taught is kept at its end."""
    epoch = None
    for turn in turns:
        if epoch not in (None, turn.epoch):
            faults.inspector.remember()
        epoch = turn.epoch
        taken.append(turn)
        yield faults.check(plan.batch(*turn), turn.order)
    faults.inspector.remember()


def turns_from(plan: Plan, cursor: Cursor) -> Iterator[Turn]:
    """The steps from a place on: to the end of the epoch with a sampler or `augment`, otherwise of the plan."""
    position = cursor.position
    for epoch in count(cursor.epoch) if plan.end is None else range(cursor.epoch, plan.end):
        order = plan.order(epoch, cursor.sampled)
        for step in plan.steps(position, cursor.sampled):
            yield Turn(epoch, order, step)
        if plan.pipeline.augment is not None or cursor.sampled is not None:
            return
        position = 0


def stands_at(taken: deque[Turn], plan: Plan, cursor: Cursor) -> bool:
    """Whether a cursor is where the turns that were taken and not delivered begin, which go on into the next epoch."""
    step = next(plan.steps(cursor.position), None)
    if not taken or step is None or plan.pipeline.augment is not None or cursor.sampled is not None:
        return False
    return (taken[0].epoch, taken[0].step.first) == (cursor.epoch, step.first)
