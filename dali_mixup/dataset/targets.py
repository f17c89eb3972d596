"""The targets of a data set, as a user gives them."""

from collections.abc import Sequence

import numpy as np
import torch

from dali_mixup.errors import DatasetError, must_be


def check_targets(
    targets: Sequence | np.ndarray | torch.Tensor, count: int, classes: Sequence[str] | None
) -> np.ndarray:
    """The targets of `count` samples as (N,) int64 or float32 (N, ...).

    Raises:
        DatasetError: another number of targets, or a class index outside `classes`.
        TypeError: targets are neither integers nor floats.
    """
    array = targets.detach().cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
    if array.ndim == 0 or len(array) != count:
        raise DatasetError(must_be("targets", f"one per sample ({count} samples)", array))
    if np.issubdtype(array.dtype, np.floating):
        return np.ascontiguousarray(array, np.float32)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(must_be("targets", "integers (class indices) or floats", array))
    if array.ndim != 1:
        raise DatasetError(
            must_be(
                "targets", "class indices of shape (N,), or floats", array, "convert multi-label targets to float32"
            )
        )
    if classes is not None:
        outside = (array < 0) | (array >= len(classes))
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise DatasetError(must_be(f"targets[{at}]", f"a class index from 0 to {len(classes) - 1}", int(array[at])))
    return array.astype(np.int64)
