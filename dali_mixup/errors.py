"""Error types and the one wording that all of the library's errors share."""

import numpy as np
import torch


class DatasetError(ValueError, FileNotFoundError):
    """The files, labels or folders of a dataset can't be used.

    It is also a `FileNotFoundError` because torchvision raises that for an empty or missing folder.
    """


class BadFileWarning(UserWarning):
    """Files of a dataset can't be read as images."""


class BadSampleError(RuntimeError):
    """Files of a batch that can't be decoded.

    Attributes:
        samples: one `(index, path, reason)` per bad file: its number in the dataset, its path, why it is bad.
    """

    def __init__(self, samples: list[tuple[int, str, str]]):
        self.samples = list(samples)
        lines = [f"  sample {index}: {path}: {reason}" for index, path, reason in self.samples]
        many = "s" if len(lines) > 1 else ""
        super().__init__(
            f"{len(lines)} file{many} of this batch can't be decoded; repair them or leave them out of the data set:\n" + "\n".join(lines)
        )

    def __reduce__(self):
        return type(self), (self.samples,)


def describe(value: object) -> str:
    """A short text for an error: arrays and tensors by dtype and shape, anything else by its repr."""
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def must_be(name: str, rule: str, value: object, remedy: str = "") -> str:
    """The text of an error: "<name> must be <rule>, got <value>", then what to do about it."""
    return f"{name} must be {rule}, got {describe(value)}" + (f"; {remedy}" if remedy else "")


def check_int(name: str, value: object, at_least: int) -> None:
    """Raise a TypeError unless `value` is an int (not a bool), a ValueError if it is below `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(must_be(name, f"an int of at least {at_least}", value))
    if value < at_least:
        raise ValueError(must_be(name, f"an int of at least {at_least}", value))


def check_probability(name: str, value: object) -> None:
    """Raise a TypeError unless `value` is a number, a ValueError unless it lies in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(must_be(name, "a probability from 0 to 1", value))
    if not 0 <= value <= 1:
        raise ValueError(must_be(name, "a probability from 0 to 1", value))
