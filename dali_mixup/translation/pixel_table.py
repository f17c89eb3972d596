"""The table of torchvision's and timm's transforms of pixels: what each of them is here, and how close that comes.

Parity is that of the operations with PIL images; `tests/test_parity.py` measures each.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

from dali_mixup.errors import must_be
from dali_mixup.parity import Line, Parity, together
from dali_mixup.transforms.aug_mix import AugMix
from dali_mixup.transforms.auto_augment import AutoAugment, RandAugment, RandomOperation, TrivialAugmentWide
from dali_mixup.transforms.choices import OneOf, RandomOrder
from dali_mixup.transforms.erasing import RandomErasing
from dali_mixup.transforms.transforms import (
    ColorJitter,
    GaussianBlur,
    RandomApply,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Transform,
)
from dali_mixup.translation.options import (
    Triple,
    are_whole,
    as_levels,
    fill_of,
    interpolation_of,
    name_of,
    number_or_pair,
    pair,
    text_of,
    three,
    unknown,
)
from dali_mixup.translation.timm_augment import read_augment
from dali_mixup.translation.values import ZERO, Values
from dali_mixup.translation.warp_table import MOVING, WARPS

# Measured by bench.parity, and checked against it by a test.
TENSOR_WARPS = "torchvision warps tensors by other pixels than PIL images; put it before ToTensor or ToImage"
TENSOR_HUE = (
    "torchvision computes the hue of tensors in floats: by 0.4 levels in the mean, 8 at most; put it before "
    "ToTensor or ToImage"
)
TENSOR_COLORS = (
    "torchvision doesn't round float tensors: by 0.4 levels in the mean, 1.5 at most; put it before ToTensor"
)
NOISE = "noise is clipped to what uint8 holds: by 0.17 levels in the mean, 150 at most (with ImageNet's mean and std)"

AUG_MIX = "torchvision's AugMix works on tensors, which it warps otherwise: by 0.1 levels in the mean, 200 at most"


def translate(step: Any, values: Values) -> Line:
    """The transform that stands for `step`.

    Raises:
        TypeError: there is none.
        ValueError: an option that has no counterpart.
    """
    if name_of(step) not in TABLE:
        raise unknown(step)
    found = TABLE[name_of(step)](step, values)
    return found if isinstance(found, Line) else Line(found)


def on_tensors(found: Line, *, floating: bool) -> Line:
    """How close it comes where torchvision works on tensors, uint8 or `floating`.

    Its code for them isn't the one for PIL images.
    """
    transform = found.ours
    if isinstance(transform, RandomHorizontalFlip | RandomVerticalFlip | RandomErasing):
        return found
    if isinstance(transform, RandomOperation) and transform.name in ("Invert", "Solarize"):
        return found
    if isinstance(transform, CONTAINERS):
        inner = [on_tensors(found._replace(ours=each), floating=floating) for each in transform.transforms]
        return together(inner, transform)
    if isinstance(transform, AutoAugment | RandAugment | TrivialAugmentWide | MOVING):
        return Line(transform, Parity.APPROXIMATE, TENSOR_WARPS)
    if isinstance(transform, ColorJitter):
        _, contrast, saturation, hue = transform.ranges
        if hue or (floating and (contrast or saturation)):
            return Line(transform, Parity.APPROXIMATE, TENSOR_HUE if hue else TENSOR_COLORS)
    return found if found.parity == Parity.APPROXIMATE else found._replace(parity=Parity.ONE_LEVEL)


def is_pointwise(transform: Transform) -> bool:
    """Whether it commutes with crops: each pixel by itself, and black stays black."""
    if isinstance(transform, CONTAINERS):
        return all(is_pointwise(inner) for inner in transform.transforms)
    if isinstance(transform, ColorJitter):
        _, contrast, _, _ = transform.ranges
        return contrast is None
    return isinstance(transform, RandomGrayscale)


def _color_jitter(step: Any, _: Values) -> Transform:
    options = (step.brightness, step.contrast, step.saturation, step.hue)
    return ColorJitter(*(0.0 if option is None else number_or_pair(option) for option in options))


def _grayscale(step: Any, _: Values) -> Transform:
    if step.num_output_channels != 3:
        rule = "3 inside of other transforms, since all images of a batch have as many channels"
        raise ValueError(must_be("num_output_channels", rule, text_of(step)))
    return RandomGrayscale(1.0)


def _gaussian_blur(step: Any, _: Values) -> Line:
    width, height = (int(side) for side in step.kernel_size)
    low, high = pair(step.sigma)
    blur = GaussianBlur(width if width == height else (width, height), low if low == high else (low, high))
    return Line(blur, Parity.ONE_LEVEL)


def _random_erasing(step: Any, values: Values) -> Line:
    if hasattr(step, "per_pixel"):
        return _random_erasing_of_timm(step, values)
    options = {"p": float(step.p), "scale": pair(step.scale), "ratio": pair(step.ratio)}
    if step.value is None or step.value == "random":
        return _erasing_with_noise(values, "pixel", options)
    fill = three([step.value] if isinstance(step.value, int | float) else step.value, "value")
    return _erasing(values, fill, options)


def _random_erasing_of_timm(step: Any, values: Values) -> Line:
    low, high = step.log_aspect_ratio
    options = {
        "p": float(step.probability),
        "scale": (step.min_area, step.max_area),
        "ratio": (math.exp(low), math.exp(high)),
        "count": (step.min_count, step.max_count),
    }
    if step.num_splits > 1:
        raise ValueError(must_be("num_splits", "0 or 1, since it belongs to timm's loader", step.num_splits))
    if step.per_pixel or step.rand_color:
        return _erasing_with_noise(values, "pixel" if step.per_pixel else "color", options)
    return _erasing(values, ZERO, options)


def _erasing_with_noise(values: Values, noise: Literal["pixel", "color"], options: dict[str, Any]) -> Line:
    std = three(255 * std for std in values.std)
    erasing = RandomErasing(**options, noise=noise, fill=values.to_levels(ZERO), std=std)
    return Line(erasing, Parity.APPROXIMATE, NOISE)


def _erasing(values: Values, fill: Triple, options: dict[str, Any]) -> Line:
    levels = values.to_levels(fill)
    if not all(-0.5 <= level <= 255.5 for level in levels):
        raise ValueError(must_be("value", "within the range of images", levels, "erased pixels would be clipped"))
    erasing = RandomErasing(**options, fill=levels)
    return Line(erasing, Parity.EXACT if are_whole(levels) else Parity.ONE_LEVEL)


def _warp(step: Any, values: Values) -> dict[str, Any]:
    return {"interpolation": interpolation_of(step), "fill": as_levels(values.to_levels(fill_of(step)))}


def _auto_augment(step: Any, values: Values) -> Transform:
    if isinstance(step.policy, list):  # timm's lists of operations
        return read_augment(step)
    return AutoAugment(getattr(step.policy, "value", step.policy), **_warp(step, values))


def _rand_augment(step: Any, values: Values) -> Transform:
    if hasattr(step, "ops"):
        return read_augment(step)
    return RandAugment(step.num_ops, step.magnitude, step.num_magnitude_bins, **_warp(step, values))


def _random_apply(step: Any, values: Values) -> Line:
    inner = [_translate_inner(each, values) for each in step.transforms]
    return together(inner, RandomApply(tuple(line.ours for line in inner), float(step.p)))


def _one_of(step: Any, values: Values) -> Line:
    inner = [_translate_inner(each, values) for each in step.transforms]
    p = None if step.p is None or len(set(step.p)) == 1 else tuple(map(float, step.p))
    return together(inner, OneOf(tuple(line.ours for line in inner), p))


def _random_order(step: Any, values: Values) -> Line:
    inner = [_translate_inner(each, values) for each in step.transforms]
    return together(inner, RandomOrder(tuple(line.ours for line in inner)))


def _translate_inner(step: Any, values: Values) -> Line:
    """A transform within another one, where a chain and nothing count as one, too."""
    if name_of(step) not in ("Compose", "Sequential", "Identity"):
        return translate(step, values)
    steps = step.transforms if name_of(step) == "Compose" else step.children()
    inner = [_translate_inner(each, values) for each in steps]
    return together(inner, RandomApply(tuple(line.ours for line in inner), 1.0))


def _aug_mix(step: Any, values: Values) -> Line:
    options = (int(step.severity), int(step.mixture_width), int(step.chain_depth), float(step.alpha), step.all_ops)
    return Line(AugMix(*options, **_warp(step, values)), Parity.APPROXIMATE, AUG_MIX)


def _solarize(step: Any, values: Values) -> Transform:
    threshold, _, _ = values.to_levels(three([step.threshold]))
    return RandomOperation("Solarize", round(threshold, 6), float(step.p))


CONTAINERS = RandomApply | OneOf | RandomOrder
TABLE: dict[str, Callable[[Any, Values], Transform | Line]] = {
    "AugMix": _aug_mix,
    "AugMixAugment": lambda step, _: read_augment(step),
    "AutoAugment": _auto_augment,
    "ColorJitter": _color_jitter,
    "GaussianBlur": _gaussian_blur,
    "Grayscale": _grayscale,
    "RandAugment": _rand_augment,
    "RandomAdjustSharpness": lambda step, _: RandomOperation(
        "Sharpness", float(step.sharpness_factor) - 1, float(step.p)
    ),
    "RandomAutocontrast": lambda step, _: RandomOperation("AutoContrast", p=float(step.p)),
    "RandomEqualize": lambda step, _: RandomOperation("Equalize", p=float(step.p)),
    "RandomInvert": lambda step, _: RandomOperation("Invert", p=float(step.p)),
    "RandomPosterize": lambda step, _: RandomOperation("Posterize", int(step.bits), float(step.p)),
    "RandomSolarize": _solarize,
    "RandomApply": _random_apply,
    "RandomChoice": _one_of,
    "RandomErasing": _random_erasing,
    "RandomGrayscale": lambda step, _: RandomGrayscale(float(step.p)),
    "RandomHorizontalFlip": lambda step, _: RandomHorizontalFlip(float(step.p)),
    "RandomOrder": _random_order,
    "RandomVerticalFlip": lambda step, _: RandomVerticalFlip(float(step.p)),
    "TrivialAugmentWide": lambda step, values: TrivialAugmentWide(step.num_magnitude_bins, **_warp(step, values)),
    **WARPS,
}
