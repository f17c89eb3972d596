"""Images that numpy's `savez` wrote: an .npz file as a data set."""

import zipfile
from pathlib import Path

import numpy as np

from dali_mixup.dataset.arrays import ArrayDataset
from dali_mixup.errors import DatasetError, must_be

SUFFIX = ".npz"
RULE = 'a file that np.savez(FILE, images=..., targets=...) wrote, with classes=["cat", ...] if they have names'


def open_arrays(file: Path) -> ArrayDataset:
    """The arrays `images`, `targets` and, where there are any, `classes` of a file. What is pickled in it is not read.

    Raises:
        DatasetError: there is no such file, no such arrays in it, or they are no images.
    """
    if not zipfile.is_zipfile(file):
        problem = "it is no such file" if file.exists() else "it isn't there"
        raise DatasetError(must_be("SOURCE", RULE, str(file), problem))
    with np.load(file, allow_pickle=False) as arrays:
        if not {"images", "targets"} <= set(arrays.files):
            raise DatasetError(must_be(str(file), RULE, arrays.files))
        try:
            classes = arrays["classes"].astype(str).tolist() if "classes" in arrays.files else None
            return ArrayDataset(arrays["images"], arrays["targets"], classes)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{file}: {error}") from error
