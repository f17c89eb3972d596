"""A list of files as a data set, in the format of DALI's `file_list`: on each line a file and its label."""

from pathlib import Path

import numpy as np

from dali_mixup.dataset.files import FileList
from dali_mixup.errors import DatasetError, must_be

SUFFIXES = (".txt", ".lst")
RULE = "a list with a file and its label, a whole number or the name of a class, on each line"


def open_list(path: Path, *, cache: bool = True) -> FileList:
    """The files of a list, whose places count from where the list lies. Names of classes are numbered in their order.

    Raises:
        DatasetError: there is no such list, or one of its lines holds no file and label.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise DatasetError(must_be("SOURCE", RULE, str(path), error.strerror or str(error))) from error
    places, labels = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place, *label = line.strip().rsplit(maxsplit=1)
        if not label:
            raise DatasetError(must_be(f"{path}, line {number}", "a file and its label", line.strip()))
        places.append(str(path.parent / place))
        labels += label
    if not places:
        raise DatasetError(must_be("SOURCE", RULE, str(path), "it lists no file"))
    if all(label.isdecimal() for label in labels):
        return FileList(places, np.array(labels, np.int64), cache=cache)
    classes, targets = np.unique(labels, return_inverse=True)
    return FileList(places, targets, classes.tolist(), cache=cache)
