"""Transforms plan what torchvision's draw, from the same random numbers."""

import math

import numpy as np
import pytest
import torch
from torchvision import transforms as theirs

import dali_mixup as dm
from dali_mixup.transforms import pixels
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.transforms import count_uniforms, plan_operations

SIZE = (48, 64)
ORDER = (pixels.brightness, pixels.contrast, pixels.saturation, pixels.hue)


def test_colour_factors_and_their_order_equal_torchvisions_for_the_same_random_numbers(monkeypatch):
    rng = np.random.default_rng(0)
    ours = dm.ColorJitter(0.4, (0.5, 1.2), 0.3, 0.1)
    other = theirs.ColorJitter(0.4, (0.5, 1.2), 0.3, 0.1)
    for _ in range(200):
        uniform = rng.random(ours.uniforms)
        factors = iter(uniform[:4])
        monkeypatch.setattr(torch, "randperm", lambda n, keys=uniform[4:]: torch.from_numpy(keys.argsort()))
        monkeypatch.setattr(
            torch.Tensor,
            "uniform_",
            lambda self, low, high, factors=factors: self.double().fill_(low + (high - low) * next(factors)),
        )
        order, *expected = other.get_params(other.brightness, other.contrast, other.saturation, other.hue)
        found = ours.operations(uniform, SIZE)
        assert [operation.function for operation in found] == [ORDER[k] for k in order]
        assert [operation.numbers[0] for operation in found] == pytest.approx([expected[k] for k in order], abs=1e-12)


def test_what_colour_jitter_is_not_asked_for_is_left_out():
    assert dm.ColorJitter().operations(np.full(8, 0.5), SIZE) == []
    (only,) = dm.ColorJitter(saturation=(0, 2)).operations(np.full(8, 0.5), SIZE)
    assert only == Operation(pixels.saturation, (1.0,))


def test_all_orders_of_colour_jitter_come_equally_often():
    ours = dm.ColorJitter(0.1, 0.1, 0.1, 0.1)
    orders = [
        tuple(ORDER.index(o.function) for o in ours.operations(u, SIZE))
        for u in np.random.default_rng(0).random((4800, 8))
    ]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 49.7  # chi squared with 23 degrees of freedom, one in a thousand


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(
    "make",
    [
        dm.RandomHorizontalFlip,
        dm.RandomVerticalFlip,
        dm.RandomGrayscale,
        lambda p: dm.RandomApply((dm.GaussianBlur(3),), p),
        lambda p: dm.RandomErasing(p),
        lambda p: dm.RandomOperation("Invert", p=p),
    ],
)
def test_probabilities_are_those_that_were_asked_for(make, p):
    transform = make(p)
    happened = sum(
        bool(transform.operations(uniform, SIZE))
        for uniform in np.random.default_rng(1).random((4000, transform.uniforms))
    )
    assert abs(happened - 4000 * p) <= 4 * math.sqrt(4000 * p * (1 - p))


class Own:
    """A transform of a user's, which plans image by image."""

    uniforms = 2

    def operations(self, uniform, size):
        return [Operation(pixels.brightness, (float(uniform.sum()),))] if uniform[1] < 0.5 else []


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_batch_is_planned_as_its_images_are_one_by_one(count):
    transforms = (
        Own(),
        dm.ColorJitter(0.4, (0.5, 1.2), 0.0, 0.1),
        dm.RandAugment(3, interpolation="bilinear"),
        dm.RandomApply((dm.TrivialAugmentWide(), Own(), dm.RandomGrayscale()), 0.7),
        dm.AutoAugment("svhn", fill=(1, 2, 3)),
        dm.RandomErasing(0.5, count=(1, 3), noise="pixel", std=(9, 9, 9)),
        dm.RandomErasing(0.5, count=(2, 2), noise="color", std=(9, 9, 9)),
        dm.GaussianBlur(3),
        dm.RandomOperation("Posterize", 3),
    )
    rows = np.random.default_rng(0).random((count, count_uniforms(transforms)))
    expected = []
    for row in rows:
        alone, start = [], 0
        for transform in transforms:
            alone += transform.operations(row[start : start + transform.uniforms], SIZE)
            start += transform.uniforms
        expected.append(alone)
    assert plan_operations(transforms, rows, SIZE) == expected


def test_random_apply_does_all_of_it_or_nothing():
    inner = (dm.ColorJitter(0.5), dm.RandomGrayscale(1.0), dm.GaussianBlur((3, 5), (0.5, 1.0)))
    transform = dm.RandomApply(inner, 0.5)
    assert transform.uniforms == 1 + count_uniforms(inner) == 11
    for uniform in np.random.default_rng(0).random((50, 11)):
        found = transform.operations(uniform, SIZE)
        assert found == (plan_operations(inner, uniform[None, 1:], SIZE)[0] if uniform[0] < 0.5 else [])
        if found:
            assert [operation.function for operation in found] == [
                pixels.brightness,
                pixels.grayscale,
                pixels.gaussian_blur,
            ]
            assert found[2].numbers == (0.5 + 0.5 * uniform[-1],)
            assert found[2].fixed == ((3, 5),)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: dm.ColorJitter(-0.1),
            ValueError,
            r"brightness must be a number of at least 0, or \(low, high\) from 0 to inf, got -0.1",
        ),
        (lambda: dm.ColorJitter(contrast=(1.2, 0.8)), ValueError, r"contrast must be .* got \(1.2, 0.8\)"),
        (lambda: dm.ColorJitter(saturation="much"), TypeError, "saturation must be"),
        (
            lambda: dm.ColorJitter(hue=0.6),
            ValueError,
            r"hue must be a number of at least 0, or \(low, high\) from -0.5 to 0.5, got 0.6",
        ),
        (lambda: dm.ColorJitter(hue=(-0.6, 0.1)), ValueError, "hue must be"),
        (lambda: dm.RandomGrayscale(2), ValueError, "p must be a probability from 0 to 1, got 2"),
        (lambda: dm.RandomHorizontalFlip(-1), ValueError, "p must be a probability"),
        (lambda: dm.RandomVerticalFlip("often"), TypeError, "p must be a probability"),
        (lambda: dm.GaussianBlur(4), ValueError, "kernel_size must be odd, got 4"),
        (lambda: dm.GaussianBlur(0), ValueError, "kernel_size must be an int of at least 1, got 0"),
        (lambda: dm.GaussianBlur(3, (2, 1)), ValueError, "sigma must be a pair"),
        (lambda: dm.RandomApply([dm.RandomGrayscale()]), TypeError, "transforms must be a tuple of transforms"),
        (lambda: dm.RandomApply((dm.RandomGrayscale,)), TypeError, "transforms must be made of transforms, such as"),
        (
            lambda: dm.ImagePipeline(geometry=dm.CenterCrop(8), transforms=[dm.RandomGrayscale()]),
            TypeError,
            r"transforms must be a tuple of transforms, such as \(dm.ColorJitter\(0.4\),\), got",
        ),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
