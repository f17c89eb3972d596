"""The targets of a data set, as a user gives them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dali_mixup.errors import DatasetError, must_be

NAMES = "number them: classes, targets = np.unique(targets, return_inverse=True)"
BOOLS = "two classes are targets.astype(int); of many labels per sample take floats: targets.astype(np.float32)"
HEADS = "two heads can't share a mixed label: take one of them, or one-hot rows of floats (N, C) for each, side by side"
MULTI_HOT = "convert multi-label targets to float32"
CLASS_FLOATS = "class indices are integers: targets.astype(int); or leave out classes"


def check_targets(
    targets: Sequence[Any] | np.ndarray | torch.Tensor, count: int, classes: Sequence[str] | None
) -> np.ndarray:
    """The targets of `count` samples as (N,) int64 or float32 (N, ...).

    Raises:
        DatasetError: another number of targets, a class index outside `classes`, or one that is missing (NaN).
        TypeError: targets are neither integers nor floats.
    """
    array = _as_array(targets)
    if array.ndim == 0 or len(array) != count:
        raise DatasetError(must_be("targets", f"one per sample ({count} samples)", array))
    if np.issubdtype(array.dtype, np.floating):
        return _check_floats(array, classes)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(must_be("targets", "integers (class indices) or floats", *_what_is_wrong(array)))
    if array.ndim != 1:
        remedy = MULTI_HOT if array.size and array.min() >= 0 and array.max() <= 1 else HEADS
        raise DatasetError(must_be("targets", "class indices of shape (N,), or floats", array, remedy))
    if classes is not None:
        outside = (array < 0) | (array >= len(classes))
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise DatasetError(must_be(f"targets[{at}]", f"a class index from 0 to {len(classes) - 1}", int(array[at])))
    return array.astype(np.int64)


def _as_array(targets: Any) -> np.ndarray:
    if isinstance(targets, torch.Tensor):
        return targets.detach().cpu().numpy()
    try:
        return np.asarray(targets)
    except ValueError as error:  # rows of different lengths
        rule = "of one length for all samples"
        raise DatasetError(must_be("targets", rule, "rows of different lengths", MULTI_HOT)) from error


def _check_floats(array: np.ndarray, classes: Sequence[str] | None) -> np.ndarray:
    missing = np.isnan(array).reshape(len(array), -1).any(1)
    if missing.any():
        at = int(np.flatnonzero(missing)[0])
        remedy = "leave these samples out, or fill them in; pandas makes NaN of an empty cell"
        raise DatasetError(must_be(f"targets[{at}]", "a number", array[at].tolist(), remedy))
    if classes is not None and array.ndim == 1:
        raise TypeError(must_be("targets", "integers where there are classes", array, CLASS_FLOATS))
    return np.ascontiguousarray(array, np.float32)


def _what_is_wrong(array: np.ndarray) -> tuple[object, str]:
    """What was given instead of numbers, and what to do about it."""
    if array.dtype == bool:
        return array, BOOLS
    odd = [each for each in array.ravel().tolist() if not isinstance(each, int | float)]
    if not odd:
        return array, ""
    return f"{odd[0]!r} among them", NAMES if isinstance(odd[0], str | bytes) else ""
