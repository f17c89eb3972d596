"""RandomChoice: one of several mixers per batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from dali_mixup import CutMix, CutMixDraw, MixUp, MixUpDraw, RandomChoice


def rng(seed=0):
    return np.random.default_rng(seed)


def shares(choice, count=4000):
    generator = rng(1)
    return np.mean([isinstance(choice.draw(2, generator, (8, 8)), CutMixDraw) for _ in range(count)])


@pytest.mark.parametrize(("p", "share"), [(None, 0.5), ([0.3, 0.7], 0.7), ([3, 1], 0.25), ((1, 0), 0.0), ((0, 5), 1.0)])
def test_mixers_come_as_often_as_p_says(p, share):
    found = shares(RandomChoice([MixUp(), CutMix()], p=p))
    assert stats.binomtest(round(found * 4000), 4000, share).pvalue > 0.01


def test_a_mixer_without_a_share_never_comes():
    class Zero:
        """A generator at the lower end of its range."""

        def random(self):
            return 0.0

    assert RandomChoice([MixUp(), CutMix()], p=[0, 1]).choose(Zero()) == CutMix()


def test_a_choice_of_one_is_that_one():
    mixup, images, labels = MixUp(0.8), torch.rand(4, 3), torch.arange(4)
    choice, generator = RandomChoice([mixup]), rng(0)
    generator.random()  # what the choice takes
    expected = mixup(images, labels, generator=generator)
    for ours, theirs in zip(choice(images, labels, generator=rng(0)), expected, strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match=r"targets must be below 2\*\*24"):
        choice.check_labels("targets", torch.tensor([2**24]))


def test_a_batch_is_mixed_by_the_mixer_that_was_drawn():
    choice, images, labels = RandomChoice([MixUp(0.8), CutMix(0.5)]), torch.rand(4, 3, 8, 8), torch.arange(4)
    kinds = set()
    for seed in range(10):
        draw = choice.draw(4, rng(seed), (8, 8))
        kinds.add(type(draw))
        mixer = choice.mixers[isinstance(draw, CutMixDraw)]
        for ours, expected in zip(
            choice(images, labels, generator=rng(seed)), mixer(images, labels, draw=draw), strict=True
        ):
            assert torch.equal(ours, expected)
    assert kinds == {MixUpDraw, CutMixDraw}


@pytest.mark.parametrize("batch_size", [0, 1, 2, 5])
def test_images_have_one_dtype_whichever_comes(batch_size):
    choice = RandomChoice([MixUp(), CutMix()])
    images = torch.randint(0, 256, (batch_size, 3, 8, 8), dtype=torch.uint8)
    batches = [choice(images, torch.arange(batch_size), generator=rng(seed)) for seed in range(10)]
    assert {(mixed.dtype, mixed.shape, targets.shape) for mixed, targets in batches} == {
        (torch.float32, images.shape, (batch_size, 3))
    }


def test_dense_targets_come_from_both():
    options = {"targets": "dense", "num_classes": 6}
    choice = RandomChoice([MixUp(prob=0.5, **options), CutMix(prob=0.5, **options)])
    for seed in range(10):
        _, targets = choice(torch.rand(4, 3, 8, 8), torch.tensor([0, 5, 5, 2]), generator=rng(seed))
        assert targets.shape == (4, 6)
        assert torch.equal(targets.sum(1), torch.ones(4))
    with pytest.raises(ValueError, match=r"labels must be class indices from 0 to 5 \(num_classes=6\), got 6"):
        choice(torch.rand(2, 3, 8, 8), torch.tensor([6, 0]))


def test_images_that_one_of_the_mixers_cannot_take_are_refused_at_once():
    choice = RandomChoice([MixUp(), CutMix()], p=[1, 0])
    with pytest.raises(TypeError, match=r"images must be a tensor \(B, ..., H, W\)"):
        choice(torch.rand(2, 3), torch.arange(2))


def test_the_list_of_mixers_can_change_later_without_effect():
    mixers, p = [MixUp(), CutMix()], [1, 1]
    choice = RandomChoice(mixers, p)
    mixers.clear()
    p.clear()
    assert (len(choice.mixers), choice.p) == (2, (1, 1))


@pytest.mark.parametrize(
    ("mixers", "options", "error", "match"),
    [
        ([], {}, ValueError, r"mixers must be at least one MixUp or CutMix, got \[\]"),
        (MixUp(), {}, TypeError, "mixers must be a list of MixUp and CutMix, got MixUp"),
        ([MixUp(), None], {}, TypeError, "mixers must be a list of MixUp and CutMix"),
        ([RandomChoice([MixUp()])], {}, TypeError, "mixers must be a list of MixUp and CutMix"),
        ([MixUp(), CutMix(targets="dense", num_classes=3)], {}, ValueError, "mixers must be of one kind of targets"),
        (
            [MixUp(targets="dense", num_classes=4), CutMix(targets="dense", num_classes=3)],
            {},
            ValueError,
            "the same targets",
        ),
        ([MixUp()], {"p": [1, 1]}, ValueError, "p must be 1 finite numbers from 0, one per mixer and not all 0"),
        ([MixUp(), CutMix()], {"p": [0, 0]}, ValueError, "p must be 2 finite numbers"),
        ([MixUp(), CutMix()], {"p": [-1, 2]}, ValueError, "p must be 2 finite numbers"),
        ([MixUp(), CutMix()], {"p": [float("nan"), 2]}, ValueError, "p must be 2 finite numbers"),
        ([MixUp(), CutMix()], {"p": [float("inf"), 2]}, ValueError, "p must be 2 finite numbers"),
        ([MixUp(), CutMix()], {"p": 0.5}, TypeError, "p must be a list of numbers, or None, got 0.5"),
        ([MixUp(), CutMix()], {"p": ["a", 1]}, TypeError, "p must be a list of numbers"),
    ],
)
def test_options_out_of_range_are_named(mixers, options, error, match):
    with pytest.raises(error, match=match):
        RandomChoice(mixers, **options)
