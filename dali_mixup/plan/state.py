"""Where a Loader stands, and the dict that saves it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from dali_mixup.errors import check_int, must_be
from dali_mixup.plan.sampler import Sampled

STATE_VERSION = 3


class Cursor(NamedTuple):
    """A place in a run.

    Attributes:
        epoch: from 0.
        position: of the next sample in the epoch's order.
        checkpoint: DALI's state there; None without random operators in `augment`, or at an epoch's start.
        sampled: the epoch's order from a user's sampler; None without one, or before the epoch began.
    """

    epoch: int
    position: int
    checkpoint: bytes | None = None
    sampled: Sampled | None = None


def save_cursor(cursor: Cursor) -> dict[str, Any]:
    """Plain values and tensors, which `torch.load(weights_only=True)` reads."""
    checkpoint, sampled = cursor.checkpoint, cursor.sampled
    return {
        "epoch": cursor.epoch,
        "position": cursor.position,
        "augment": None if checkpoint is None else torch.tensor(list(checkpoint), dtype=torch.uint8),
        "order": None if sampled is None else torch.from_numpy(sampled.indices),
        "ends": None if sampled is None or sampled.ends is None else torch.from_numpy(sampled.ends),
    }


def load_cursor(state: Mapping[str, Any], *, samples: int) -> Cursor:
    """The reverse.

    Args:
        state: what `save_cursor` made.
        samples: N of the dataset.

    Raises:
        TypeError, ValueError: a part of the state that can't be.
    """
    for name in ("epoch", "position"):
        check_int(f"state[{name!r}]", state.get(name), at_least=0)
    checkpoint, order, ends = (
        _tensor_or_none(state, name, dtype)
        for name, dtype in (("augment", torch.uint8), ("order", torch.int64), ("ends", torch.int64))
    )
    sampled = None
    if order is not None:
        if len(order) and (int(order.min()) < 0 or int(order.max()) >= samples):
            raise ValueError(must_be("state['order']", f"indices from 0 to {samples - 1}", order))
        sampled = Sampled(indices=order, ends=ends)
    total = samples if sampled is None else len(sampled.indices)
    if state["position"] >= max(total, 1):
        raise ValueError(must_be("state['position']", f"below the number of samples ({total})", state["position"]))
    kept = None if checkpoint is None else checkpoint.tobytes()
    return Cursor(int(state["epoch"]), int(state["position"]), kept, sampled)


def _tensor_or_none(state: Mapping[str, Any], name: str, dtype: torch.dtype) -> np.ndarray | None:
    value = state.get(name)
    if value is None:
        return None
    if not isinstance(value, torch.Tensor) or value.dtype != dtype or value.ndim != 1:
        raise TypeError(
            must_be(f"state[{name!r}]", f"None or a {str(dtype).removeprefix('torch.')} tensor (N,)", value)
        )
    return value.cpu().numpy().copy()
