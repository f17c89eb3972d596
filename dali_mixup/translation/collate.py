"""Which mixup a DataLoader's collate_fn applies: found by looking, believed only after trying."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import default_collate

from dali_mixup.errors import must_be
from dali_mixup.mixing.cutmix import CutMix
from dali_mixup.mixing.mixer import Mixer
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice
from dali_mixup.translation.script_mixup import read_script_mixer
from dali_mixup.translation.timm_mixup import is_timms, read_mixup
from dali_mixup.translation.trying import find_within, seeded

NAME = "loader.collate_fn"
KNOWN = (
    "v2.MixUp, v2.CutMix, the RandomMixUp and RandomCutMix of torchvision's reference scripts or a RandomChoice of "
    "such, or timm's Mixup"
)
RULE = f"default_collate, or {KNOWN}, after default_collate"
WAY_OUT = (
    "pass from_dataloader a mixup= in the place of the collate_fn, or keep the DataLoader and put "
    "MixUpIterator behind it"
)
SEEDS = range(64)  # a collate_fn that mixes one batch in ten shows it in 999 of 1000 cases


def find_mixup(collate_fn: Callable, num_classes: int | None, *, smooth: bool = False) -> AnyMixer | None:
    """The mixup that a collate_fn applies after `default_collate`, with its own conventions; None for none.

    Args:
        collate_fn: of a DataLoader. It is called on a few drawn batches, unless it is timm's.
        num_classes: width of dense targets where the collate_fn's mixup doesn't say it.
        smooth: whether the label smoothing of timm's is left to the criterion.

    Raises:
        ValueError: it does something else.
    """
    if is_timms(collate_fn):
        return read_mixup(collate_fn, smooth=smooth, name=NAME)
    if getattr(collate_fn, "__module__", "") == "timm.data.loader" and _name(collate_fn) == "fast_collate":
        return None
    if collate_fn is default_collate or _does_the_same(collate_fn, lambda images, labels: [images, labels]):
        return None
    for mixer in find_within(collate_fn, _is_mixer):
        if _does_the_same(collate_fn, mixer):
            return _translate(mixer, num_classes, smooth=smooth, name=NAME)
    raise ValueError(must_be(NAME, RULE, collate_fn, WAY_OUT))


def read_mixer(mixer: Any, num_classes: int | None, *, smooth: bool) -> Any:
    """The mixer that stands for torchvision's, timm's or a reference script's own; anything else as it is.

    Args:
        mixer: what a training loop applies to its batches.
        num_classes: width of dense targets where it doesn't say it.
        smooth: whether the label smoothing of timm's is left to the criterion.

    Raises:
        ValueError: an option that has no counterpart.
    """
    return _translate(mixer, num_classes, smooth=smooth, name="mixup") if _is_mixer(mixer) else mixer


def holds_mixup(collate_fn: Callable) -> bool:
    """Whether a collate_fn refers to any of torchvision's MixUp, CutMix or a choice of them, or timm's Mixup."""
    return any(find_within(collate_fn, _is_mixer))


def _is_mixer(value: Any) -> bool:
    """Whether it is timm's, or torchvision's or a script's own, or a choice of these."""
    if is_timms(value):
        return True
    kind = type(value)
    if kind.__name__ == "RandomChoice" and kind.__module__.startswith("torchvision.transforms."):
        return all(map(_mixes_by_itself, value.transforms))
    return _mixes_by_itself(value)


def _mixes_by_itself(value: Any) -> bool:
    kind = type(value)
    if kind.__module__.startswith("torchvision.transforms."):
        return ".v2." in kind.__module__ and kind.__name__ in ("MixUp", "CutMix")
    return not isinstance(value, Mixer) and read_script_mixer(value) is not None


def _name(function: Callable) -> str:
    return getattr(function, "__name__", "")


def _does_the_same(collate_fn: Callable, after: Callable) -> bool:
    """Whether collate_fn(samples) equals after(*default_collate(samples)), with the same random numbers."""
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        samples = [(torch.rand(3, 16, 16, generator=generator), label % 2) for label in range(6)]
        with seeded(seed):
            expected = after(*default_collate(samples))
        with seeded(seed):
            found = _call(collate_fn, samples)
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return False
        both = zip(found, expected, strict=True)
        if not all(isinstance(one, torch.Tensor) and torch.equal(one, other) for one, other in both):
            return False
    return True


def _call(collate_fn: Callable, samples: list) -> Any:
    try:
        return collate_fn(samples)
    except Exception as error:
        rule = f"{RULE}; on pairs of a (3, 16, 16) tensor and a label it raises {type(error).__name__}: {error}"
        raise ValueError(must_be(NAME, rule, collate_fn, WAY_OUT)) from error


def _translate(mixer: Any, num_classes: int | None, *, smooth: bool, name: str) -> AnyMixer | None:
    if is_timms(mixer):
        return read_mixup(mixer, smooth=smooth, name=name)
    if type(mixer).__name__ == "RandomChoice":
        return RandomChoice([_translate_one(one, num_classes) for one in mixer.transforms], p=mixer.p)
    return _translate_one(mixer, num_classes)


def _translate_one(mixer: Any, num_classes: int | None) -> MixUp | CutMix:
    found = read_script_mixer(mixer)
    if found is not None:
        return found
    num_classes = mixer.num_classes or num_classes
    if type(mixer).__name__ == "MixUp":
        return MixUp(mixer.alpha, per_sample=False, fold=False, targets="dense", num_classes=num_classes)
    return CutMix(mixer.alpha, per_sample=False, targets="dense", num_classes=num_classes)
