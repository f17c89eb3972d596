"""timm's auto-augmentations, read from the objects that its strings such as `rand-m9-mstd0.5-inc1` become."""

from typing import Any

from dali_mixup.errors import must_be
from dali_mixup.transforms.timm_augment import TimmAugment, TimmAugMix, TimmAutoAugment, TimmRandAugment
from dali_mixup.transforms.timm_steps import OPERATIONS, TimmStep
from dali_mixup.translation.options import text_of

RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def read_augment(step: Any) -> TimmAugment:
    """The transform that stands for timm's RandAugment, AutoAugment or AugMixAugment.

    Raises:
        ValueError: its operations are none of timm's, or differ in how they move images.
    """
    kind = type(step).__name__
    if kind == "AutoAugment":
        policies = tuple(tuple(_read_step(op) for op in policy) for policy in step.policy)
        return TimmAutoAugment(policies, **_moves([op for policy in step.policy for op in policy]))
    steps, moves = tuple(map(_read_step, step.ops)), _moves(step.ops)
    if kind == "RandAugment":
        weights = None if step.choice_weights is None else tuple(map(float, step.choice_weights))
        return TimmRandAugment(steps, int(step.num_layers), weights, **moves)
    depth = int(step.depth) if step.depth > 0 else None
    return TimmAugMix(steps, float(step.alpha), int(step.width), depth, bool(step.blended), **moves)


def _read_step(op: Any) -> TimmStep:
    if type(op).__name__ != "AugmentOp" or op.name not in OPERATIONS:
        raise ValueError(must_be("ops", "timm's AugmentOp, with one of its names", text_of(op)))
    most = op.magnitude_max or 10
    return TimmStep(op.name, float(op.prob), float(op.magnitude), float(op.magnitude_std), float(most))


def _moves(ops: list[Any]) -> dict[str, Any]:
    """How images are moved by all operations."""
    found = [_moves_of(op) for op in ops]
    if any(each != found[0] for each in found):
        raise ValueError(must_be("ops", "alike in their hparams", found))
    return found[0]


def _moves_of(op: Any) -> dict[str, Any]:
    resample, fill = op.kwargs["resample"], op.kwargs["fillcolor"]
    several = isinstance(resample, tuple | list)
    modes = [RESAMPLING.get(int(each)) for each in (resample if several else [resample])]
    if None in modes or (several and modes != ["bilinear", "bicubic"]):
        rule = "nearest, bilinear or bicubic, or a random one of the last two"
        raise ValueError(must_be("interpolation", rule, resample))
    return {
        "interpolation": "random" if several else modes[0],
        "fill": fill if isinstance(fill, int) else tuple(map(int, fill)),
        "translate_pixels": float(op.hparams.get("translate_const", 250)),
        "translate_share": float(op.hparams.get("translate_pct", 0.45)),
    }
