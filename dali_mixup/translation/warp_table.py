"""The part of the table of pixels for what moves them: rotations, affine maps, perspectives."""

from collections.abc import Callable
from typing import Any

from dali_mixup.errors import must_be
from dali_mixup.parity import Line, Parity
from dali_mixup.transforms.elastic import ElasticTransform
from dali_mixup.transforms.moves import RandomAffine, RandomPerspective, RandomRotation
from dali_mixup.translation.options import are_whole, as_levels, fill_of, interpolation_of, pair, text_of
from dali_mixup.translation.values import Values


def _rotation(step: Any, values: Values) -> Line:
    if step.expand:
        remedy = "each image would get a size of its own; leave it out, or take the corners in by a crop behind it"
        raise ValueError(must_be("expand", "False", text_of(step), remedy))
    return _warped(step, values, lambda how: RandomRotation(pair(step.degrees), center=_center(step), **how))


def _affine(step: Any, values: Values) -> Line:
    shear = None if step.shear is None else tuple(float(angle) for angle in step.shear)
    options: dict[str, Any] = {
        "translate": None if step.translate is None else pair(step.translate),
        "scale": None if step.scale is None else pair(step.scale),
        "shear": shear,
        "center": _center(step),
    }
    return _warped(step, values, lambda how: RandomAffine(pair(step.degrees), **options, **how))


def _perspective(step: Any, values: Values) -> Line:
    return _warped(step, values, lambda how: RandomPerspective(float(step.distortion_scale), float(step.p), **how))


def _elastic(step: Any, values: Values) -> Line:
    alpha, sigma = (each[0] if each[0] == each[1] else each for each in (pair(step.alpha), pair(step.sigma)))
    return _warped(step, values, lambda how: ElasticTransform(alpha, sigma, **how))


def _warped(step: Any, values: Values, make: Callable[[dict[str, Any]], Any]) -> Line:
    levels = values.to_levels(fill_of(step))
    transform = make({"interpolation": interpolation_of(step), "fill": as_levels(levels)})
    return Line(transform, Parity.EXACT if are_whole(levels) else Parity.ONE_LEVEL)


def _center(step: Any) -> tuple[float, float] | None:
    return None if step.center is None else pair(step.center)


WARPS: dict[str, Callable[[Any, Values], Line]] = {
    "ElasticTransform": _elastic,
    "RandomAffine": _affine,
    "RandomPerspective": _perspective,
    "RandomRotation": _rotation,
}
MOVING = RandomAffine | RandomPerspective | RandomRotation
