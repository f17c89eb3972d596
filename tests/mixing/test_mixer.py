"""What MixUp and CutMix share: partners, options, the call on a batch."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dali_mixup import CutMix, MixUp


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_cycle_has_no_fixed_point_and_mixes_no_pair_twice_in_ten_thousand_batches():
    mixup, generator = MixUp(), rng()
    for _ in range(10_000):
        partner = mixup.draw_partner(8, generator).tolist()
        assert all(partner[i] != i for i in range(8))
        assert len({frozenset(pair) for pair in enumerate(partner)}) == 8


@pytest.mark.parametrize("batch_size", [2, 3, 7, 8, 256])
def test_a_cycle_visits_the_whole_batch_before_it_returns(batch_size):
    for seed in range(20):
        partner = MixUp().draw(batch_size, rng(seed)).partner.tolist()
        walk = [0]
        while partner[walk[-1]] != 0:
            walk.append(partner[walk[-1]])
        assert sorted(walk) == list(range(batch_size))


def test_all_cycles_of_four_come_equally_often():
    generator = rng(1)
    seen = [tuple(MixUp().draw_partner(4, generator).tolist()) for _ in range(6000)]
    cycles, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(cycles) == math.factorial(3)
    assert stats.chisquare(counts).pvalue > 0.01


def test_all_permutations_of_three_come_equally_often_with_partner_permutation():
    mixup, generator = MixUp(partner="permutation"), rng(1)
    seen = [tuple(mixup.draw_partner(3, generator).tolist()) for _ in range(6000)]
    permutations, counts = np.unique(seen, axis=0, return_counts=True)
    assert all(sorted(order) == [0, 1, 2] for order in permutations.tolist())
    assert len(permutations) == math.factorial(3)  # those with fixed points too
    assert stats.chisquare(counts).pvalue > 0.01


def test_calls_without_a_generator_hardly_ever_repeat_a_draw():
    """Their seeds come from torch; of a few hundred seeds a thousand calls would see all more than once."""
    torch.manual_seed(0)
    images, labels = torch.zeros(4, 1), torch.arange(4)
    assert len({tuple(MixUp()(images, labels)[1][:, 2].tolist()) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("batch_size", "generator", "error", "match"),
    [
        (-1, rng(), ValueError, r"batch_size must be an int of at least 0, got -1"),
        (2.0, rng(), TypeError, r"batch_size must be an int of at least 0, got 2.0"),
        (True, rng(), TypeError, r"batch_size must be an int of at least 0, got True"),
        (
            2,
            0,
            TypeError,
            r"generator must be a numpy.random.Generator, got 0; numpy.random.default_rng\(seed\) makes one",
        ),
        (2, torch.Generator(), TypeError, r"generator must be a numpy.random.Generator, got <torch.* object"),
    ],
)
def test_draw_names_the_argument_that_is_wrong(batch_size, generator, error, match):
    with pytest.raises(error, match=match):
        MixUp().draw(batch_size, generator)


@pytest.mark.parametrize(
    ("images", "labels", "error", "match"),
    [
        (
            torch.rand(2, 3),
            torch.arange(3),
            ValueError,
            r"labels must be of the images' batch size \(2\), got a int64 tensor of shape \(3,\)",
        ),
        (
            torch.rand(2, 3),
            torch.rand(1, 4),
            ValueError,
            r"labels must be of the images' batch size \(2\), got a float32 tensor of shape",
        ),
        (
            torch.rand(2, 3),
            torch.tensor(1),
            TypeError,
            r"labels must be a tensor \(B, \.\.\.\), got a int64 tensor of shape \(\)",
        ),
        (torch.rand(2, 3), [1, 2], TypeError, r"labels must be a tensor \(B, \.\.\.\), got \[1, 2\]"),
        (
            torch.rand(2, 3),
            torch.ones(2, 4).long(),
            ValueError,
            r"labels must be of lam's shape \(2,\), got a int64 tensor of shape \(2, 4\)",
        ),
        (
            torch.rand(2, 3),
            torch.ones(2, 1, 4).long(),
            ValueError,
            r"labels must be of lam's shape \(2,\), got a int64 tensor of shape \(2, 1, 4\)",
        ),
        (
            torch.rand(2, 3),
            torch.ones(2).bool(),
            TypeError,
            r"labels must be an integer tensor \(B,\), got a bool tensor of shape \(2,\)",
        ),
        (torch.rand(2, 3), torch.tensor([0, 2**24]), ValueError, r"labels must be below 2\*\*24 .*, got 16777216"),
        ([1, 2], torch.arange(2), TypeError, r"images must be a tensor \(B, \.\.\.\), got \[1, 2\]"),
        (
            torch.rand(()),
            torch.arange(2),
            TypeError,
            r"images must be a tensor \(B, \.\.\.\), got a float32 tensor of shape \(\)",
        ),
    ],
)
def test_a_batch_that_cannot_be_mixed_is_described(images, labels, error, match):
    with pytest.raises(error, match=match):
        MixUp()(images, labels)


@pytest.mark.parametrize("mixer", [MixUp, CutMix])
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"alpha": 0}, ValueError, "alpha must be a finite number above 0, got 0"),
        ({"per_sample": 1}, TypeError, "per_sample must be True or False, got 1"),
        ({"partner": "roll"}, ValueError, 'partner must be "cycle" or "permutation"'),
        ({"prob": 2}, ValueError, "prob must be a probability from 0 to 1, got 2"),
        ({"targets": "soft"}, ValueError, 'targets must be "stacked", "split" or "dense", got \'soft\''),
        ({"targets": "dense"}, TypeError, "num_classes must be an int of at least 1, got None"),
        ({"targets": "dense", "num_classes": 0}, ValueError, "num_classes must be an int of at least 1, got 0"),
        (
            {"num_classes": 10},
            ValueError,
            'num_classes must be None for stacked targets.*, got 10; targets="dense" gives',
        ),
    ],
)
def test_an_option_out_of_range_is_named(mixer, options, error, match):
    with pytest.raises(error, match=match):
        mixer(**options)
