"""Choices and orders of transforms: torchvision's frequencies, and nothing of one image depends on another."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm

SIZE = (8, 8)
THREE = (dm.RandomOperation("Invert", p=1), dm.RandomGrayscale(1.0), dm.RandomVerticalFlip(1.0))
NAMES = ("invert", "grayscale", "flip_vertically")
COUNT = 3000


def planned(transform, count=COUNT):
    uniform = np.random.default_rng(0).random((count, transform.uniforms))
    together = transform.batch_operations(uniform, SIZE)
    assert together[:20] == [transform.operations(row, SIZE) for row in uniform[:20]]
    return Counter(tuple(each.function.__name__ for each in own) for own in together)


def theirs(transform):
    """What torchvision's does, as the marks that it leaves in a list."""
    torch.manual_seed(0)
    random.seed(0)
    return Counter(tuple(transform([])) for _ in range(COUNT))


def mark(name):
    return lambda found: [*found, name]


def same_frequencies(ours, other):
    kinds = sorted({*ours, *other})
    return stats.chi2_contingency([[each[kind] for kind in kinds] for each in (ours, other)]).pvalue > 1e-3


@pytest.mark.parametrize("p", [None, (1, 2, 3), (0.1, 0.0, 0.7)])
def test_choices_come_as_often_as_torchvisions(p):
    ours, other = planned(dm.OneOf(THREE, p)), theirs(v2.RandomChoice([mark(name) for name in NAMES], p))
    assert same_frequencies(ours, other)
    assert set(ours) == {(name,) for name, weight in zip(NAMES, p or (1, 1, 1), strict=True) if weight}
    assert not same_frequencies(planned(dm.OneOf(THREE, (5, 2, 3))), other)


def test_orders_come_as_often_as_torchvisions():
    ours, other = planned(dm.RandomOrder(THREE)), theirs(v1.RandomOrder([mark(name) for name in NAMES]))
    assert len(ours) == 6
    assert same_frequencies(ours, other)


def test_what_was_chosen_changes_no_later_transform():
    jitter = dm.ColorJitter(0.5)
    uniform = np.random.default_rng(0).random((1, 60))
    for first in (0.1, 0.9):
        uniform[0, 0] = first
        chain = (dm.OneOf((dm.RandomRotation(5), dm.RandomErasing(1.0))), jitter)
        used = chain[0].uniforms
        operations = dm.RandomApply(chain, 1.0).operations(np.concatenate([[0.0], uniform[0]]), SIZE)
        assert operations[-1] == jitter.operations(uniform[0, used : used + jitter.uniforms], SIZE)[0]


def test_of_several_transforms_and_none_one_is_chosen():
    both = dm.OneOf((dm.RandomApply(THREE, 1.0), dm.RandomApply((), 1.0)))
    assert set(planned(both)) == {NAMES, ()}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.OneOf(()), ValueError, r"transforms must be at least one transform, got \(\)"),
        (lambda: dm.OneOf(THREE, (1, 2)), ValueError, r"p must be 3 weights of at least 0, .*, got \(1, 2\)"),
        (lambda: dm.OneOf(THREE, (0, 0, 0)), ValueError, "p must be 3 weights"),
        (lambda: dm.OneOf(THREE, (1, float("nan"), 1)), ValueError, "p must be 3 weights"),
        (lambda: dm.OneOf(THREE, [1, 1, 1]), TypeError, "p must be 3 weights"),
        (lambda: dm.OneOf(list(THREE)), TypeError, "transforms must be a tuple"),
        (lambda: dm.RandomOrder((1,)), TypeError, "transforms must be made of transforms"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
