"""timm's `Mixup` and `FastCollateMixup` in a collate_fn, as mixers of this library."""

from typing import Any

from dali_mixup.errors import must_be
from dali_mixup.mixing.cutmix import CutMix
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice

NAMES = ("Mixup", "FastCollateMixup")


def is_timms(value: Any) -> bool:
    """Whether it is one of timm's mixers."""
    return type(value).__module__ == "timm.data.mixup" and type(value).__name__ in NAMES


def read_mixup(mixer: Any, *, smooth: bool, name: str) -> AnyMixer | None:
    """The mixer that stands for timm's, with dense targets; None where that is switched off.

    A partner is any other image of the batch, which has been shuffled; timm takes the one at the mirrored place.

    Args:
        mixer: timm's Mixup, or FastCollateMixup, which rounds mixed images to levels.
        smooth: whether its label smoothing is left to the criterion.
        name: what messages call it.

    Raises:
        ValueError: an option that has no counterpart.
    """
    _check(mixer, smooth=smooth, name=name)
    if not mixer.mixup_enabled or not mixer.mix_prob:
        return None
    per_sample = mixer.mode == "elem"
    mixup, cutmix = mixer.mixup_alpha > 0, mixer.cutmix_alpha > 0
    options = {"per_sample": per_sample, "prob": float(mixer.mix_prob), "targets": "dense"}
    options |= {"num_classes": int(mixer.num_classes)}
    mixers: list[MixUp | CutMix] = [MixUp(float(mixer.mixup_alpha), fold=False, **options)] if mixup else []
    mixers += [CutMix(float(mixer.cutmix_alpha), **options)] if cutmix else []
    if len(mixers) == 1:
        return mixers[0]
    switch = float(mixer.switch_prob)
    return RandomChoice(mixers, p=[1 - switch, switch])


def _check(mixer: Any, *, smooth: bool, name: str) -> None:
    kind = type(mixer).__name__
    if mixer.multi_label:
        raise ValueError(must_be(f"{name}.multi_label", "False", True, "pass a mixup= in its place"))
    if mixer.label_smoothing and not smooth:
        loss = f"dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing={mixer.label_smoothing:g}))"
        remedy = f'pass targets="stacked" and train with {loss}, which is equal'
        raise ValueError(must_be(f"{name}.label_smoothing of a {kind}", "0", mixer.label_smoothing, remedy))
    if mixer.mode not in ("batch", "elem"):
        remedy = "pass a mixup= in its place, such as dm.MixUp() with a weight per sample"
        raise ValueError(must_be(f"{name}.mode", '"batch" or "elem"', mixer.mode, remedy))
    if mixer.mode == "elem" and mixer.mixup_alpha > 0 and mixer.cutmix_alpha > 0:
        remedy = "dm.RandomChoice chooses for a whole batch; pass one as mixup="
        raise ValueError(must_be(f"{name}.mode", '"batch" where both mixup and CutMix are used', "elem", remedy))
    if mixer.cutmix_minmax is not None or (mixer.cutmix_alpha > 0 and not mixer.correct_lam):
        rule = "None, with correct_lam=True: the lam of targets is the area that is kept"
        raise ValueError(must_be(f"{name}.cutmix_minmax", rule, mixer.cutmix_minmax, "pass a mixup= in its place"))
