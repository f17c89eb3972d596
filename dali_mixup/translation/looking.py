"""What the attributes of a dataset may be: its files, its pixels, its targets, its choice of another's samples."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch


class Candidate(NamedTuple):
    """An attribute that holds something of each sample: its name, and the N values."""

    name: str
    values: Any


def find_columns(dataset: Any) -> list[Candidate]:
    """The attributes that hold as many values as the dataset has samples, or torchvision's `samples` where it has them.

    timm's datasets have a reader that holds them.

    The columns of a table (pandas'), the parts of tuples such as `(path, label)`, and the tensors of a tuple come one
    by one.
    """
    samples = getattr(dataset, "samples", getattr(getattr(dataset, "reader", None), "samples", None))
    if isinstance(samples, Sequence) and _are_pairs(samples) and is_path(samples[0][0]):
        return list(_columns_of("samples", samples))[1:]
    found = [column for name, value in vars(dataset).items() for column in _columns_of(name, value)]
    return [column for column in found if len(column.values) == len(dataset)]


def _columns_of(name: str, value: Any) -> Iterator[Candidate]:
    """An attribute, and its parts."""
    if hasattr(value, "iloc"):
        columns = getattr(value, "columns", None)
        if columns is None:
            yield Candidate(name, value.tolist())
        else:
            yield from (Candidate(f"{name}[{column!r}]", value[column].tolist()) for column in columns)
    elif isinstance(value, torch.Tensor | np.ndarray):
        if value.ndim:
            yield Candidate(name, value)
    elif isinstance(value, Sequence) and not is_path(value) and value:
        yield Candidate(name, value)
        if _are_pairs(value):
            yield from (Candidate(name, [one[i] for one in value]) for i in range(2))
        elif all(isinstance(one, torch.Tensor | np.ndarray) and one.ndim for one in value):
            yield from (Candidate(f"{name}[{i}]", one) for i, one in enumerate(value))


def _are_pairs(values: Sequence) -> bool:
    return all(isinstance(one, list | tuple) and len(one) == 2 for one in values)


def find_files(dataset: Any, columns: list[Candidate]) -> list[Candidate]:
    """The columns of paths, where there are such files, maybe below a folder that another attribute names."""
    folders = ["", *(os.fspath(value) for value in vars(dataset).values() if is_path(value))]
    found = []
    for name, values in columns:
        if isinstance(values, torch.Tensor) or not all(map(is_path, values)):
            continue
        for folder in map(os.fsdecode, folders):
            if any(os.path.isfile(os.path.join(folder, os.fsdecode(values[i]))) for i in (0, len(values) // 2, -1)):
                found.append(Candidate(name, [os.path.join(folder, os.fsdecode(path)) for path in values]))
                break
    return found


def find_pixels(columns: list[Candidate]) -> list[Candidate]:
    """The columns of uint8 images: an array or a tensor of them, or a list."""
    return [column for column in columns if _is_pixels(column.values)]


def _is_pixels(values: Any) -> bool:
    if isinstance(values, torch.Tensor | np.ndarray) and values.dtype != object:
        return values.ndim in (3, 4) and values.dtype in (np.uint8, torch.uint8)
    return all(
        isinstance(one, torch.Tensor | np.ndarray) and one.ndim in (2, 3) and one.dtype in (np.uint8, torch.uint8)
        for one in values
    )


def find_numbers(columns: list[Candidate]) -> list[Candidate]:
    """The columns of numbers, or of rows of them: what may be targets or indices."""
    return [Candidate(name, found) for name, values in columns if (found := _as_numbers(values)) is not None]


def _as_numbers(values: Any) -> np.ndarray | None:
    if isinstance(values, torch.Tensor | np.ndarray):
        array = values.cpu().numpy() if isinstance(values, torch.Tensor) else values
    elif all(isinstance(one, int | float | np.number | torch.Tensor) and not np.ndim(one) for one in values):
        array = np.asarray([one.item() if isinstance(one, torch.Tensor) else one for one in values])
    elif all(np.ndim(one) == 1 and len(one) == len(values[0]) for one in values):
        array = np.asarray([np.asarray(one) for one in values])
    else:
        return None
    return array if array.dtype.kind in "iuf" and array.ndim in (1, 2) else None


def is_path(value: Any) -> bool:
    """Whether it may be a path."""
    return isinstance(value, str | bytes | os.PathLike)
