"""Which mixup a DataLoader's collate_fn applies: found by looking, believed only after trying."""

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import default_collate

from dali_mixup.cutmix import CutMix
from dali_mixup.errors import must_be
from dali_mixup.mixup import MixUp
from dali_mixup.random_choice import AnyMixer, RandomChoice

MIXERS = ("MixUp", "CutMix", "RandomChoice")
RULE = "default_collate, or v2.MixUp, v2.CutMix or a v2.RandomChoice of them after default_collate"
WAY_OUT = "pass mixup= to Loader with the default collate_fn, or keep the DataLoader and put MixUp behind it"
DEPTH = 4  # a function in a partial in an object, and what it holds
SEEDS = range(4)


def find_mixup(collate_fn: Callable, num_classes: int | None) -> AnyMixer | None:
    """The mixup that a collate_fn applies after `default_collate`, with torchvision's conventions; None for none.

    Args:
        collate_fn: of a DataLoader. It is called on a few drawn batches.
        num_classes: width of dense targets where the collate_fn's mixup doesn't say it.

    Raises:
        ValueError: it does something else.
    """
    if collate_fn is default_collate or _does_the_same(collate_fn, lambda images, labels: [images, labels]):
        return None
    for mixer in _mixers_in(collate_fn, DEPTH):
        if _does_the_same(collate_fn, mixer):
            return _translate(mixer, num_classes)
    raise ValueError(must_be("loader.collate_fn", RULE, collate_fn, WAY_OUT))


def _mixers_in(value: Any, depth: int) -> Iterator[Callable]:
    """The batch transforms of torchvision that a function refers to: in its closure, arguments, attributes and globals."""
    if _is_mixer(value):
        yield value
    elif depth:
        for held in _held_by(value):
            yield from _mixers_in(held, depth - 1)


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        variables = inspect.getclosurevars(value)
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return [*variables.nonlocals.values(), *variables.globals.values(), *defaults]
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return []
    return [*vars(value).values(), *([type(value).__call__] if callable(value) else [])]


def _is_mixer(value: Any) -> bool:
    return type(value).__module__.startswith("torchvision.transforms.v2") and type(value).__name__ in MIXERS


def _does_the_same(collate_fn: Callable, after: Callable) -> bool:
    """Whether collate_fn(samples) equals after(*default_collate(samples)), with the same random numbers."""
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        samples = [(torch.rand(3, 16, 16, generator=generator), label % 2) for label in range(6)]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            expected = after(*default_collate(samples))
            torch.manual_seed(seed)
            found = _call(collate_fn, samples)
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return False
        if not all(isinstance(one, torch.Tensor) and torch.equal(one, other) for one, other in zip(found, expected, strict=True)):
            return False
    return True


def _call(collate_fn: Callable, samples: list) -> Any:
    try:
        return collate_fn(samples)
    except Exception as error:
        rule = f"{RULE}; on pairs of a (3, 16, 16) tensor and a label it raises {type(error).__name__}: {error}"
        raise ValueError(must_be("loader.collate_fn", rule, collate_fn, WAY_OUT)) from error


def _translate(mixer: Any, num_classes: int | None) -> AnyMixer:
    if type(mixer).__name__ == "RandomChoice":
        return RandomChoice([_translate_one(one, num_classes) for one in mixer.transforms], p=mixer.p)
    return _translate_one(mixer, num_classes)


def _translate_one(mixer: Any, num_classes: int | None) -> MixUp | CutMix:
    num_classes = mixer.num_classes or num_classes
    if type(mixer).__name__ == "MixUp":
        return MixUp(mixer.alpha, per_sample=False, fold=False, targets="dense", num_classes=num_classes)
    return CutMix(mixer.alpha, per_sample=False, targets="dense", num_classes=num_classes)
