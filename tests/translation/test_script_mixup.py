"""The mixers of torchvision's reference scripts, which trainings hold copies of, are found by what they do."""

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import dali_mixup as dm
from dali_mixup.translation.script_mixup import read_script_mixer
from tests.recipes.script_mixers import RandomCutMix, RandomMixUp
from tests.translation.peers import TRAIN, image_folder, swap, v1, v2

COMMON = {"per_sample": False, "targets": "dense", "num_classes": 3}


class Other(RandomMixUp):
    """Which mixes with the next image instead of the previous one."""

    def forward(self, images, labels):
        mixed, targets = super().forward(images.flip(0), labels.flip(0))
        return mixed.flip(0), targets.flip(0)


class Ordered(RandomMixUp):
    """Whose weights are never below a half."""

    def draw_lam(self):
        lam = super().draw_lam()
        return max(lam, 1 - lam)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (RandomMixUp(3, p=1.0, alpha=0.2), dm.MixUp(0.2, fold=False, **COMMON)),
        (RandomMixUp(3, p=0.4, alpha=1.0), dm.MixUp(1.0, fold=False, prob=0.4, **COMMON)),
        (RandomCutMix(3, p=1.0, alpha=1.0), dm.CutMix(1.0, **COMMON)),
        (RandomCutMix(3, p=0.7, alpha=0.3), dm.CutMix(0.3, prob=0.7, **COMMON)),
        (Other(3, p=1.0, alpha=0.2), None),
        (Ordered(3, p=1.0, alpha=0.2), None),
        (dm.MixUp(0.4), None),
        (RandomMixUp, None),
    ],
)
def test_a_scripts_mixer_is_what_it_does(theirs, ours):
    state = torch.get_rng_state()
    assert read_script_mixer(theirs) == ours
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("choice", [v1.RandomChoice, v2.RandomChoice])
def test_a_choice_of_them_in_a_collate_fn_is_taken_over(folder, choice):
    mixer = choice([RandomMixUp(3, p=1.0, alpha=0.2), RandomCutMix(3, p=1.0, alpha=1.0)])
    theirs = DataLoader(image_folder(folder, TRAIN), batch_size=4, collate_fn=lambda b: mixer(*default_collate(b)))
    expected = (dm.MixUp(0.2, fold=False, **COMMON), dm.CutMix(1.0, **COMMON))
    assert swap(theirs).mixup.mixers == expected
    assert swap(theirs).mixup.p in (None, (0.5, 0.5))


def test_a_mixer_that_does_something_else_is_refused(folder):
    for mixer in (Other(3, p=1.0, alpha=0.2), v2.RandomChoice([v2.MixUp(num_classes=3), v2.Identity()])):
        theirs = DataLoader(
            image_folder(folder, TRAIN), batch_size=4, collate_fn=lambda b, mixer=mixer: mixer(*default_collate(b))
        )
        with pytest.raises(ValueError, match=r"loader.collate_fn must be default_collate, or .*pass from_dataloader a"):
            swap(theirs)


def test_what_a_loop_applies_to_its_batches_may_be_given_as_it_is(folder):
    theirs = DataLoader(image_folder(folder, TRAIN), batch_size=4)
    mixers = [
        v2.MixUp(alpha=0.7),
        v2.RandomChoice([v2.MixUp(alpha=0.7), v2.CutMix(alpha=0.5)]),
        RandomMixUp(3, 1.0, 1.0),
    ]
    found = [swap(theirs, mixup=mixer).mixup for mixer in mixers]
    assert found[0] == dm.MixUp(0.7, fold=False, **COMMON)
    assert found[1] == dm.RandomChoice([dm.MixUp(0.7, fold=False, **COMMON), dm.CutMix(0.5, **COMMON)], p=[0.5, 0.5])
    assert found[2] == dm.MixUp(1.0, fold=False, **COMMON)
    scheduled = swap(theirs, mixup={0: v2.MixUp(alpha=0.7), 9: None}, targets="stacked")
    assert scheduled.mixup == {0: dm.MixUp(0.7, fold=False, per_sample=False), 9: None}


def test_what_is_no_mixer_is_named(folder):
    with pytest.raises(TypeError, match="mixup must be dali_mixup's MixUp"):
        swap(DataLoader(image_folder(folder, TRAIN)), mixup=Other(3, 1.0, 1.0))
