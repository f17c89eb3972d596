"""Error types and the one wording that all of the library's errors share."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

NAMED_IN_MESSAGE = 20  # lines of their own
SHOWN_NAMES = 10  # in one line


class DatasetError(ValueError, FileNotFoundError):
    """The files, labels or folders of a dataset can't be used.

    It is also a `FileNotFoundError` because torchvision raises that for an empty or missing folder.
    """


class BadFileWarning(UserWarning):
    """Files of a dataset can't be read as images."""


class BadSample(NamedTuple):
    """A bad file: its number in the dataset, its path, why it is bad and what became of it."""

    number: int
    path: str
    reason: str


class BadSampleError(RuntimeError):
    """Files that can't be decoded: those of a batch, or all that a Loader met when they were too many to be replaced.

    Attributes:
        samples: a `BadSample` (number, path, reason) per file.
    """

    headline: str
    leave_out: str

    def __init__(
        self, samples: Iterable[tuple[int, str, str]], headline: str = "", *, leave_out: str = "leave them out"
    ):
        self.samples: list[BadSample] = [BadSample(*sample) for sample in samples]
        self.headline, self.leave_out = headline, leave_out
        many = "s" if len(self.samples) > 1 else ""
        named = self.samples[:NAMED_IN_MESSAGE] if headline else self.samples
        more = len(self.samples) - len(named)
        of_batch = (
            f"{len(self.samples)} file{many} of this batch can't be decoded; repair them, {leave_out}, "
            'or build the Loader with on_bad_sample="replace":'
        )
        lines = [f"  sample {number}: {path}: {reason}" for number, path, reason in named]
        lines += [f"  and {more} more"] if more else []
        super().__init__("\n".join([headline or of_batch, *lines]))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), leave_out=self.leave_out), (self.samples, self.headline)


class ReadError(RuntimeError):
    """A sample's bytes can't be read, by no fault of its own: the store is out of reach, or a user's function failed.

    It never gives way to another sample. The Loader stays usable.
    """


def name_some(names: Iterable[str], count: int) -> str:
    """The first names of so many, and how many more there are."""
    shown = list(islice(names, SHOWN_NAMES))
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")


def describe(value: object) -> str:
    """A short text for an error: arrays and tensors by dtype and shape, anything else by its repr."""
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    if isinstance(value, list | tuple) and any(isinstance(each, torch.Tensor | np.ndarray) for each in value):
        inner = ", ".join(map(describe, value[:SHOWN_NAMES])) + (", ..." if len(value) > SHOWN_NAMES else "")
        return f"a {type(value).__name__} of {inner}"
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


def check_bool(name: str, value: object) -> None:
    """Raise a TypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(must_be(name, "True or False", value))


def check_choice(name: str, value: object, choices: Sequence[object], remedy: str = "") -> None:
    """Raise a ValueError unless `value` is one of `choices`; the message lists them."""
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        *first, last = (f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in choices)
        rule = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(must_be(name, rule, value, remedy))


def check_probability(name: str, value: object) -> None:
    """Raise a TypeError unless `value` is a number, a ValueError unless it lies in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(must_be(name, "a probability from 0 to 1", value))
    if not 0 <= value <= 1:
        raise ValueError(must_be(name, "a probability from 0 to 1", value))
