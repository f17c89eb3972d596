"""What DALI is given of encoded images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dali_mixup.dataset.dataset import Encoded, ImageDataset
from dali_mixup.dataset.files import FileList
from dali_mixup.plan.plan import BatchPlan

NO_FILE = np.zeros(1, np.uint8)


def files_to_decode(
    dataset: ImageDataset, batch: BatchPlan, encoded: Mapping[int, Encoded], rows: Sequence[int]
) -> dict[str, Any]:
    """The inputs of DALI's decoder for some rows of a batch.

    Returns:
        "file": paths of a `FileList`, (rows, longest) uint8, or a list of uint8 (length,), the bytes of `encoded`;
        "length": (rows,) int32, how many bytes belong to each. "anchor" and "shape": (rows, 2) int32, the window
        in what the bytes hold.
    """
    anchor, shape = batch.windows.anchor[rows], batch.windows.shape[rows]
    if isinstance(dataset, FileList):
        file, length = dataset.paths.padded(batch.indices[rows])
        return {"file": file, "length": length, "anchor": anchor, "shape": shape}
    found = [encoded.get(row) for row in rows]
    corner = np.array([(0, 0) if each is None else (each.top, each.left) for each in found], np.int32).reshape(-1, 2)
    files = [NO_FILE if each is None else np.frombuffer(each.data, np.uint8) for each in found]
    length = np.array([len(each) for each in files], np.int32)
    return {"file": files, "length": length, "anchor": anchor - corner, "shape": shape}


def name_of_view(name: str, view: int) -> str:
    """What an input of one view is called in DALI's graph; of the first one as if it were the only one."""
    return f"{name} {view}" if view else name
