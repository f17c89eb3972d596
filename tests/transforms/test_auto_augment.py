"""What is planned is what torchvision's auto-augmentations do for the same random numbers."""

import numpy as np
import pytest
import torch
from torchvision import transforms as theirs
from torchvision.transforms import InterpolationMode, autoaugment

import dali_mixup as dm
from dali_mixup.transforms import affine
from dali_mixup.transforms.auto_augment import NAMES, WIDE, make_operation
from dali_mixup.transforms.auto_augment import _strengths as strengths_of
from dali_mixup.transforms.operations import apply_batch
from tests.transforms.pictures import differences, pictures, stacked

SIZE = (48, 64)


@pytest.mark.parametrize("bins", [2, 10, 31])
@pytest.mark.parametrize("size", [(224, 224), (33, 500)])
def test_strengths_are_torchvisions(bins, size):
    spaces = [
        (theirs.AutoAugment()._augmentation_space(bins, size), strengths_of(size)),
        (theirs.RandAugment()._augmentation_space(bins, size), strengths_of(size)),
        (theirs.TrivialAugmentWide()._augmentation_space(bins), WIDE),
    ]
    assert tuple(spaces[1][0]) == tuple(spaces[2][0]) == NAMES
    for space, ours in spaces:
        for name, (magnitudes, _) in space.items():
            for place in range(bins) if magnitudes.ndim else ():
                assert ours.of(name, place, bins) == float(magnitudes[place]), (name, place)


@pytest.fixture
def applied(monkeypatch):
    """What torchvision's auto-augmentations do, as (name, strength)."""
    found = []

    def record(image, name, strength, interpolation, fill):
        found.append((name, strength))
        return image

    monkeypatch.setattr(autoaugment, "_apply_op", record)
    return found


def expected_operations(applied):
    made = [make_operation(name, strength, SIZE) for name, strength in applied]
    return [operation for operation in made if operation]


def replay(monkeypatch, draws):
    """Make torch.randint take these numbers in [0, 1) in turn."""
    draws = iter(draws)
    monkeypatch.setattr(torch, "randint", lambda high, size, dtype=None: torch.tensor([int(next(draws) * high)]))


def test_rand_augment_does_what_torchvisions_does_for_the_same_random_numbers(monkeypatch, applied):
    ours, other = dm.RandAugment(3, 7, 20), theirs.RandAugment(3, 7, 20)
    signed = {name for name, (_, two_ways) in other._augmentation_space(20, SIZE).items() if two_ways}
    for uniform in np.random.default_rng(0).random((300, ours.uniforms)):
        draws = []
        for which, sign in uniform.reshape(-1, 2):
            # torchvision turns the other way for 1, and draws only where there is another way
            draws += [which, 1 - sign - 1e-12] if NAMES[int(which * len(NAMES))] in signed else [which]
        replay(monkeypatch, draws)
        applied.clear()
        other(torch.empty(3, *SIZE))
        assert ours.operations(uniform, SIZE) == expected_operations(applied)


def test_trivial_augment_does_what_torchvisions_does_for_the_same_random_numbers(monkeypatch, applied):
    ours, other = dm.TrivialAugmentWide(), theirs.TrivialAugmentWide()
    space = other._augmentation_space(31)
    for uniform in np.random.default_rng(0).random((300, ours.uniforms)):
        magnitudes, signed = space[NAMES[int(uniform[0] * len(NAMES))]]
        replay(
            monkeypatch,
            [uniform[0], *([uniform[1]] if magnitudes.ndim else []), *([1 - uniform[2] - 1e-12] if signed else [])],
        )
        applied.clear()
        other(torch.empty(3, *SIZE))
        assert ours.operations(uniform, SIZE) == expected_operations(applied)


@pytest.mark.parametrize("policy", ["imagenet", "cifar10"])
def test_auto_augment_does_what_torchvisions_does_for_the_same_random_numbers(monkeypatch, applied, policy):
    ours, other = dm.AutoAugment(policy), theirs.AutoAugment(theirs.AutoAugmentPolicy(policy))
    for uniform in np.random.default_rng(0).random((300, ours.uniforms)):
        params = (
            int(uniform[0] * 25),
            torch.from_numpy(uniform[1:3]),
            torch.from_numpy((uniform[3:] * 2).astype(np.int64)),
        )
        monkeypatch.setattr(other, "get_params", lambda _, params=params: params)
        applied.clear()
        other(torch.empty(3, *SIZE))
        assert ours.operations(uniform, SIZE) == expected_operations(applied)


@pytest.mark.parametrize("name", [*NAMES, "Invert"])
def test_named_operations_do_what_torchvisions_do(name):
    images = pictures()
    for strength in (1.0, 3.0) if name == "Posterize" else (0.25, -0.25):
        made = make_operation(name, strength, stacked(images).shape[2:], fill=9)
        found = apply_batch(stacked(images), [[made] if made else []] * len(images))
        nearest = InterpolationMode.NEAREST
        expected = [autoaugment._apply_op(image, name, strength, nearest, [9, 9, 9]) for image in images]
        assert differences(found, expected).max() == 0


def test_fill_and_interpolation_reach_the_operations():
    transform = dm.RandAugment(1, interpolation="bilinear", fill=(1, 2, 3))
    moves = [transform.operations(np.array([(k + 0.5) / len(NAMES), 0.9]), SIZE)[0] for k in range(1, 6)]
    assert all(move.function is affine.warp and move.fixed == ("bilinear", (1, 2, 3)) for move in moves)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: dm.RandAugment(magnitude=31),
            ValueError,
            r"magnitude must be below num_magnitude_bins \(31\), got 31",
        ),
        (lambda: dm.RandAugment(-1), ValueError, "num_ops must be an int of at least 0, got -1"),
        (
            lambda: dm.RandAugment(interpolation="bicubic"),
            ValueError,
            'interpolation must be "nearest" or "bilinear", got \'bicubic\'',
        ),
        (lambda: dm.TrivialAugmentWide(1), ValueError, "num_magnitude_bins must be an int of at least 2, got 1"),
        (lambda: dm.TrivialAugmentWide(fill=300), ValueError, "fill must be a level"),
        (lambda: dm.RandomOperation("Blur"), ValueError, "name must be one of Brightness, .*, Invert, got 'Blur'"),
        (lambda: dm.RandomOperation("Posterize", 9), ValueError, "strength must be from 1 to 8 for Posterize, got 9"),
        (lambda: dm.RandomOperation("Invert", p=2), ValueError, "p must be a probability"),
        (lambda: dm.AutoAugment("mnist"), ValueError, 'policy must be "imagenet", "cifar10" or "svhn", got \'mnist\''),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
