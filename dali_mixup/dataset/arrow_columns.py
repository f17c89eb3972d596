"""Columns of a `datasets.Dataset`, read where Arrow has them: in memory, or in files that are mapped to it.

Going through `dataset[i]` instead takes 60 us per image, this takes 6, and it decodes nothing.
"""

import hashlib
import os
from bisect import bisect_right
from typing import Any

import numpy as np

from dali_mixup.errors import DatasetError, must_be


class ImageColumn:
    """The images of a `datasets.Dataset`; may be read in several threads at once.

    Args:
        dataset: a `datasets.Dataset`.
        column: the name of a column with the feature `datasets.Image`.

    Attributes:
        rows: (N,) int64, where each sample is in Arrow's table, of which a shuffled or split data set is a view.
        are_files: whether all images of the table are files of their own.
    """

    def __init__(self, dataset: Any, column: str):
        self._dataset, self._column = dataset, column
        self.rows: np.ndarray = find_rows(dataset)
        kind = dataset.data.column(column).type
        parts = [chunk.flatten() for chunk in dataset.data.column(column).chunks]
        self._bytes = [part[kind.get_field_index("bytes")] for part in parts]
        self._paths = [part[kind.get_field_index("path")] for part in parts]
        self._starts = np.cumsum([0, *map(len, self._bytes)]).tolist()
        self.are_files: bool = all(chunk.null_count == len(chunk) for chunk in self._bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        """The data set knows how to pickle itself: by its files, where it has some."""
        return type(self), (self._dataset, self._column)

    def data(self, number: int) -> memoryview | None:
        """The bytes of an image, without a copy; None for one that is a file."""
        chunk, row = self._place(number)
        buffer = self._bytes[chunk][row].as_buffer()
        return None if buffer is None else memoryview(buffer).cast("B")

    def path(self, number: int) -> str | None:
        """The file of an image, or the one that its bytes came from."""
        chunk, row = self._place(number)
        return self._paths[chunk][row].as_py()

    def paths(self) -> list[str] | None:
        """That of each sample; None where any has none."""
        found = [path for chunk in self._paths for path in chunk.to_pylist()]
        return None if None in (chosen := [found[row] for row in self.rows.tolist()]) else chosen

    def key(self) -> str:
        """What sizes of images are kept by: the files of the table and the length of each image in it.

        Empty for a table in memory, and where any images lie in files of their own.
        """
        from datasets.table import list_table_cache_files
        from pyarrow import compute

        files = list_table_cache_files(self._dataset.data)
        if not files or any(chunk.null_count for chunk in self._bytes):
            return ""
        digest = hashlib.blake2b(repr((type(self).__name__, self._column)).encode(), digest_size=16)
        for file in files:
            status = os.stat(file)
            digest.update(repr((os.path.abspath(file), status.st_size, status.st_mtime_ns)).encode())
        for chunk in self._bytes:
            digest.update(compute.call_function("binary_length", [chunk]).to_numpy().tobytes())
        return digest.hexdigest()

    def _place(self, number: int) -> tuple[int, int]:
        row = int(self.rows[number])
        chunk = bisect_right(self._starts, row) - 1
        return chunk, row - self._starts[chunk]


def find_rows(dataset: Any) -> np.ndarray:
    """Where each sample of a `datasets.Dataset` is in its `data`, (N,) int64."""
    view = dataset._indices  # of a shuffled or split one; there is no public name for it
    return np.arange(len(dataset)) if view is None else view.column(0).to_numpy().astype(np.int64)


def read_targets(dataset: Any, column: str) -> tuple[np.ndarray, list[str] | None]:
    """The targets in a column of a `datasets.Dataset`, and the names of its classes if it knows them.

    Numbers are taken as they are; lists of class indices become rows of 0 and 1 for `BCEWithLogitsLoss`, lists of
    floats rows of floats.

    Raises:
        DatasetError: a column of something else, or with missing values.
    """
    feature = dataset.features[column]
    values = dataset.data.column(column).take(find_rows(dataset)).combine_chunks()
    inner = getattr(feature, "feature", None)  # of a list
    names = getattr(feature if inner is None else inner, "names", None)
    if values.null_count:
        missing = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise DatasetError(must_be(f"target {column!r} of row {missing}", "there", None, "leave it out by select()"))
    flat = values if inner is None else values.flatten()
    if not _holds_numbers(flat.type):
        remedy = f"dataset.class_encode_column({column!r}) makes class indices of names"
        rule = "a column of class indices or numbers, or of lists of them"
        raise DatasetError(must_be(f"target {column!r}", rule, feature, remedy))
    found = flat.to_numpy(zero_copy_only=False)
    if inner is None:
        return found, names
    lengths = np.asarray(values.value_lengths())
    if np.issubdtype(found.dtype, np.integer):
        return _many_hot(found, lengths, column, names), names
    if len(set(lengths.tolist())) != 1:
        raise DatasetError(must_be(f"target {column!r}", "lists of floats of one length", feature))
    return found.reshape(len(values), -1), names


def _many_hot(numbers: np.ndarray, lengths: np.ndarray, column: str, names: list[str] | None) -> np.ndarray:
    """Rows with a 1 for each class that a list names, (N, C) float32."""
    classes = len(names) if names else int(numbers.max(initial=0)) + 1
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        wrong = numbers[(numbers < 0) | (numbers >= classes)][0]
        raise DatasetError(must_be(f"target {column!r}", f"class indices from 0 to {classes - 1}", int(wrong)))
    hot = np.zeros((len(lengths), classes), np.float32)
    hot[np.repeat(np.arange(len(lengths)), lengths), numbers] = 1
    return hot


def _holds_numbers(kind: Any) -> bool:
    """Whether Arrow's type is that of integers or floats."""
    return str(kind).startswith(("int", "uint", "float", "double", "halffloat"))
