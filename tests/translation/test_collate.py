"""The mixup of a collate_fn is found wherever it holds it, or the collate_fn is refused."""

import functools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import dali_mixup as dm
from tests.translation.peers import COMMON, TRAIN, by_global, image_folder, swap, v2


def by_closure(mixer):
    def collate(batch):
        images, targets = default_collate(batch)
        return mixer(images, targets)

    return collate


class ByObject:
    def __init__(self, mixer):
        self.mixer = mixer

    def __call__(self, batch):
        return self.mixer(*default_collate(batch))

    def method(self, batch):
        return self(batch)


def by_argument(batch, mixer):
    return mixer(default_collate(batch))


def reversed_pairs(batch):
    images, targets = COMMON(*default_collate(batch))
    return images.flip(0), targets


def plain(batch):
    images, targets = zip(*batch, strict=True)
    return torch.stack(images), torch.tensor(targets)


@pytest.mark.parametrize(
    "collate",
    [
        by_global,
        by_closure(COMMON),
        lambda batch: COMMON(*default_collate(batch)),
        ByObject(COMMON),
        ByObject(COMMON).method,
        functools.partial(by_argument, mixer=COMMON),
    ],
)
def test_a_collate_fn_with_mixup_is_found_wherever_it_holds_it(folder, collate):
    made = swap(DataLoader(image_folder(folder, TRAIN), batch_size=8, collate_fn=collate))
    assert made.mixup == dm.MixUp(0.7, per_sample=False, fold=False, targets="dense", num_classes=3)
    for images, targets in made:
        assert targets.shape == (len(images), 3)
        assert torch.allclose(targets.sum(1), torch.ones(len(images)))


def test_cutmix_and_a_random_choice_are_taken_over_with_their_probabilities(folder):
    cutmix = v2.CutMix(alpha=0.5, num_classes=3)
    ours = dm.CutMix(0.5, per_sample=False, targets="dense", num_classes=3)
    made = swap(DataLoader(image_folder(folder), collate_fn=by_closure(cutmix)))
    assert made.mixup == ours
    choice = swap(
        DataLoader(image_folder(folder), collate_fn=by_closure(v2.RandomChoice([COMMON, cutmix], p=[1, 3])))
    ).mixup
    assert choice.mixers == (dm.MixUp(0.7, per_sample=False, fold=False, targets="dense", num_classes=3), ours)
    assert choice.p == (0.25, 0.75)


def test_a_collate_fn_that_only_collates_means_no_mixup(folder):
    assert swap(DataLoader(image_folder(folder), collate_fn=plain)).mixup is None


@pytest.mark.parametrize("collate", [reversed_pairs, lambda batch: batch, lambda batch: (*default_collate(batch), 1)])
def test_a_collate_fn_that_does_something_else_is_refused(folder, collate):
    with pytest.raises(
        ValueError,
        match=r"loader.collate_fn must be default_collate, or v2.MixUp.*got <function.*pass from_dataloader a mixup=",
    ):
        swap(DataLoader(image_folder(folder), collate_fn=collate))


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(()).item()])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_collate_fn_that_mixes_some_batches_is_refused(folder, draw, share):
    def collate(batch):
        return COMMON(*default_collate(batch)) if draw() < share else default_collate(batch)

    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"loader.collate_fn must be default_collate.*; pass from_dataloader a mixup="):
        swap(DataLoader(image_folder(folder), collate_fn=collate), seed=1)
    assert (random.getstate(), str(np.random.get_state())) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert swap(DataLoader(image_folder(folder), collate_fn=collate), mixup=dm.MixUp(0.4)).mixup == dm.MixUp(0.4)


def test_a_collate_fn_that_fails_is_refused_with_its_error(folder):
    with pytest.raises(ValueError, match="it raises KeyError: 'image'") as caught:
        swap(
            DataLoader(
                image_folder(folder),
                collate_fn=lambda batch: batch[0]["x"] if isinstance(batch[0], dict) else {}["image"],
            )
        )
    assert isinstance(caught.value.__cause__, KeyError)
