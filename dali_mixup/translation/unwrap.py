"""A user's own callable that only passes images on to a chain of transforms, as presets of reference scripts do."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from dali_mixup.translation.options import name_of, unknown
from dali_mixup.translation.pixel_table import TABLE
from dali_mixup.translation.step_table import STEPS
from dali_mixup.translation.trying import find_within, seeded

SEEDS = range(16)
SIZE = (240, 320)  # enough for a RandomCrop of the usual sizes
CONTAINERS = ("Compose", "Sequential")


def unwrap(transform: Any) -> Any:
    """The chain that a user's function or object passes its images on to.

    None if it does anything else, or refers to no chain.

    Args:
        transform: called on a few images of noise, as are the chains that it refers to.

    Raises:
        TypeError: it fails.
    """
    if not callable(transform):
        return None
    known = {*CONTAINERS, *STEPS, *TABLE}
    chains = find_within(transform, lambda value: name_of(value) in known)
    return next((chain for chain in chains if _does_the_same(transform, chain)), None)


def gives_several(transform: Any) -> bool:
    """Whether it makes several images of one, as TenCrop and the two views of contrastive learning."""
    try:
        with seeded(0):
            return isinstance(transform(_noise(0)), list | tuple)
    except Exception:  # noqa: BLE001  it isn't for images of Pillow's, or fails in any other way of its own
        return False


def _noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8))


def _does_the_same(transform: Any, chain: Any) -> bool:
    """Whether both make the same of the same images with the same random numbers."""
    for seed in SEEDS:
        image = _noise(seed)
        with seeded(seed):
            found = _call(transform, image)
        with seeded(seed):
            try:
                expected = chain(image.copy())
            except Exception:  # noqa: BLE001  one of several chains, made for something else than images of Pillow's
                return False
        if not isinstance(found, torch.Tensor | Image.Image) or type(found) is not type(expected):
            return False
        if not np.array_equal(np.asarray(found), np.asarray(expected)):
            return False
    return True


def _call(transform: Any, image: Image.Image) -> Any:
    try:
        return transform(image.copy())
    except Exception as error:
        raise unknown(transform, f"an image of noise fails in it with {type(error).__name__}: {error}") from error
