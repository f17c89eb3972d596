"""What a function of the user's does is found by looking at what it refers to, and believed only after trying."""

import functools
import inspect
import random
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

DEPTH = 4  # a function in a partial in an object, and what it holds


def find_within(value: Any, wanted: Callable[[Any], bool], depth: int = DEPTH) -> Iterator[Any]:
    """What is `wanted` of `value` and what it refers to, outer ones first; these aren't searched themselves."""
    if wanted(value):
        yield value
    elif depth:
        for held in _held_by(value):
            yield from find_within(held, wanted, depth - 1)


def _held_by(value: Any) -> list[Any]:
    """What a function, method, partial or object refers to: in its closure, globals, arguments and attributes."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        variables = inspect.getclosurevars(value)
        nested = [value.__globals__[name] for name in _nested_names(value.__code__) if name in value.__globals__]
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return [*variables.nonlocals.values(), *variables.globals.values(), *nested, *defaults]
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return []
    return [*vars(value).values(), *([type(value).__call__] if callable(value) else [])]


def _nested_names(code: types.CodeType, depth: int = DEPTH) -> Iterator[str]:
    """What the comprehensions and functions within a function refer to, which `inspect` leaves out."""
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType) and depth:
            yield from inner.co_names
            yield from _nested_names(inner, depth - 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch, Python and numpy from a seed; afterwards they go on as if nothing had been drawn."""
    python, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpys)
