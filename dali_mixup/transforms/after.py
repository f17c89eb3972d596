"""Functions of the user's on finished float batches, and the random numbers that are planned for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dali_mixup.errors import check_int, must_be

After = Callable[..., torch.Tensor]
RULE = "functions of finished images (B, 3, H, W), such as (cutout,) or (dm.Planned(cutout, uniforms=2),)"


@dataclass(frozen=True, slots=True)
class Planned:
    """A function of finished images whose random numbers are planned as the crops are.

    Args:
        function: takes images (B, 3, H, W) float32, normalized, and uniform numbers (B, `uniforms`) float32 in [0, 1)
            on their device; gives images of the same shape. Row i of the numbers belongs to image i, and is a function
            of (seed, epoch, position).
        uniforms: random numbers per image, at least 1.

    Raises:
        ValueError, TypeError: an option out of range.

    >>> import torch
    >>> def fade(images, uniform):
    ...     return images * uniform.view(-1, 1, 1, 1)
    >>> Planned(fade, uniforms=1)(torch.ones(2, 3, 1, 1), torch.tensor([[0.5], [0.25]]))[:, 0, 0, 0]
    tensor([0.5000, 0.2500])
    """

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    uniforms: int

    def __post_init__(self) -> None:
        if not callable(self.function) or isinstance(self.function, type):
            raise TypeError(must_be("function", "a function of images and uniform numbers", self.function))
        check_int("uniforms", self.uniforms, at_least=1)

    def __call__(self, images: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """See `function`."""
        return self.function(images, uniform)


def check_after(after: Any) -> tuple[After, ...]:
    """A tuple of `after`; raises a TypeError unless that is a tuple or list of functions."""
    if not isinstance(after, tuple | list):
        raise TypeError(must_be("after", RULE, after))
    for function in after:
        if not callable(function) or isinstance(function, type):
            raise TypeError(must_be("after", RULE, function, "give it the object, not its class"))
    return tuple(after)


def count_after(after: tuple[After, ...]) -> int:
    """Planned random numbers per image for all of them."""
    return sum(function.uniforms for function in after if isinstance(function, Planned))


def apply_after(images: torch.Tensor, after: tuple[After, ...], uniform: torch.Tensor) -> torch.Tensor:
    """Finished images (B, 3, H, W) float32 through all functions, with `uniform` (B, `count_after`) float32.

    Raises:
        TypeError: one of them gives something else than float images of the same shape.
    """
    start, shape = 0, images.shape
    for number, function in enumerate(after):
        if isinstance(function, Planned):
            images = function(images, uniform[:, start : start + function.uniforms])
            start += function.uniforms
        else:
            images = function(images)
        if not isinstance(images, torch.Tensor) or images.shape != shape or not images.is_floating_point():
            rule = f"float images of the shape {tuple(shape)}"
            remedy = "for a function of one image: lambda images: torch.stack([function(image) for image in images])"
            raise TypeError(must_be(f"after[{number}]'s result", rule, images, remedy))
    return images
