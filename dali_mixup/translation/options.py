"""Options of torchvision's and timm's transforms, in this library's terms."""

import inspect
from collections.abc import Iterable
from typing import Any, cast

import torch

from dali_mixup.errors import must_be
from dali_mixup.geometry.geometry import INTERPOLATIONS, Interpolation

MODULES = (
    "torchvision.transforms.",
    "timm.data.auto_augment",
    "timm.data.transforms",
    "timm.data.random_erasing",
    "torch.nn.modules.",
)
LONGEST = 400  # characters of a line, or of a function
Triple = tuple[float, float, float]
AS_AUGMENT = (
    "leave it out and add it to the result as a function on DALI nodes: dataclasses.replace(pipeline, "
    "augment=my_function), where my_function takes and returns images (uint8, HWC, of the output size)"
)


def name_of(step: object) -> str:
    """The class's name; "" for classes from elsewhere, which may have the same names."""
    return type(step).__name__ if type(step).__module__.startswith(MODULES) else ""


def text_of(step: object) -> str:
    """How a transform prints itself, in one line; timm's auto-augmentations, which print each operation, cut off."""
    text = " ".join(repr(step).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def source_of(step: Any) -> str:
    """Where the function of a `Lambda`, or a function itself, is written, and its text; "" for others."""
    function = inspect.unwrap(getattr(step, "lambd", step)) if name_of(step) == "Lambda" or callable(step) else None
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    try:
        text = " ".join(inspect.getsource(code).split())
    except (OSError, TypeError):  # typed into an interpreter
        text = ""
    written = f" of {code.co_filename}:{code.co_firstlineno}"
    return f"{written}: {text[:LONGEST]}{'...' if len(text) > LONGEST else ''}" if text else written


def unknown(step: object, way_out: str = AS_AUGMENT) -> TypeError:
    """The error for a transform that has no translation."""
    return TypeError(
        f"transform must be made of transforms that from_torchvision knows, got {text_of(step)}"
        f"{source_of(step)} ({type(step).__module__}); {way_out}"
    )


def three(values: Iterable[Any], name: str = "values") -> Triple:
    """Three numbers from one or three of them, of any kind."""
    # tensors of float32 print as few digits as tell them apart
    found = tuple(float(str(value.numpy())) if isinstance(value, torch.Tensor) else float(value) for value in values)
    if len(found) not in (1, 3):
        raise ValueError(must_be(name, "one number or three, for R, G and B", found))
    return cast(Triple, found * 3 if len(found) == 1 else found)


def side_or_pair(size: Any) -> int | tuple[int, int]:
    """An int, or a pair; a sequence of one is an int."""
    if isinstance(size, int):
        return size
    sides = tuple(int(side) for side in size)
    return sides[0] if len(sides) == 1 else cast(tuple[int, int], sides)


def square_or_pair(size: Any) -> int | tuple[int, int]:
    """Height and width; an int for a square."""
    found = side_or_pair(size)
    return found[0] if isinstance(found, tuple) and found[0] == found[1] else found


def number_or_pair(value: Any) -> float | tuple[float, float]:
    """A number, or (low, high)."""
    return float(value) if isinstance(value, int | float) else pair(value)


def pair(value: Any) -> tuple[float, float]:
    """(low, high)."""
    low, high = (float(end) for end in value)
    return low, high


def interpolation_of(step: Any) -> Interpolation:
    """The interpolation of a transform.

    Raises:
        ValueError: one that only Pillow has.
    """
    mode = getattr(step.interpolation, "value", step.interpolation)
    mode = {0: "nearest", 2: "bilinear", 3: "bicubic", 1: "lanczos", "nearest-exact": "nearest"}.get(mode, mode)
    if mode not in INTERPOLATIONS:
        raise ValueError(must_be("interpolation", '"nearest", "bilinear", "bicubic" or "lanczos"', text_of(step)))
    return mode


def for_images(option: Any) -> Any:
    """An option; of one that v2 takes as a dict by type, what holds for images."""
    if not isinstance(option, dict):
        return option
    named = {getattr(key, "__name__", key): value for key, value in option.items()}
    return named.get("Image", named.get("others"))


def fill_of(step: Any) -> Triple:
    """The fill of a transform in the scale of its images; None is 0."""
    fill = for_images(step.fill)
    if fill is None:
        return (0.0, 0.0, 0.0)
    return three([fill] if isinstance(fill, int | float) else fill, "fill")


def are_whole(values: Triple) -> bool:
    """Whether the values are levels from 0 to 255."""
    return all(abs(value - min(255, max(0, round(value)))) < 1e-6 for value in values)


def as_levels(values: Triple) -> int | tuple[int, int, int]:
    """The nearest levels from 0 to 255; one for a grey."""
    red, green, blue = (min(255, max(0, round(value))) for value in values)
    return red if red == green == blue else (red, green, blue)
