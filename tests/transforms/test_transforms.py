"""Transforms plan what torchvision's draw, from the same random numbers."""

import math

import numpy as np
import pytest
import torch
from torchvision import transforms as theirs
from torchvision.transforms import autoaugment

import dali_mixup as dm
from dali_mixup.transforms import affine, pixels
from dali_mixup.transforms.auto_augment import NAMES, WIDE, make_operation
from dali_mixup.transforms.auto_augment import _strengths as strengths_of
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.policies import POLICIES
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


@pytest.mark.parametrize(
    "options", [{}, {"scale": (0.4, 1.0), "ratio": (0.2, 5.0)}, {"scale": (0.99, 1.0), "ratio": (1.0, 1.0)}]
)
def test_erased_rectangles_equal_torchvisions_for_the_same_random_numbers(monkeypatch, options):
    rng = np.random.default_rng(0)
    ours = dm.RandomErasing(p=1.0, **options)
    image, erased = torch.empty(3, *SIZE), 0
    for _ in range(300):
        uniform = rng.random(ours.uniforms)
        box = uniform[2:]
        tries = iter([number for pair in zip(box[:10], box[10:20], strict=True) for number in pair])
        corner = iter(box[20:])
        monkeypatch.setattr(
            torch.Tensor,
            "uniform_",
            lambda self, low, high, tries=tries: self.double().fill_(float(low) + float(high - low) * next(tries)),
        )
        monkeypatch.setattr(
            torch,
            "randint",
            lambda low, high, size, corner=corner: torch.tensor([low + int(next(corner) * (high - low))]),
        )
        *expected, value = theirs.RandomErasing.get_params(image, ours.scale, ours.ratio, [0.0])
        found = ours.operations(uniform, SIZE)
        if value is image:  # no try fitted
            assert found == []
        else:
            assert list(found[0].numbers[:4]) == expected
            erased += 1
    assert (erased > 200) == (ours.scale[0] < 0.9)


def test_several_rectangles_share_the_area_as_in_timm():
    ours = dm.RandomErasing(p=1.0, scale=(0.2, 0.2), ratio=(1, 1), count=(1, 4))
    counts, areas = [], []
    for uniform in np.random.default_rng(0).random((2000, ours.uniforms)):
        found = ours.operations(uniform, (100, 100))
        counts.append(len(found))
        areas.append(sum(operation.numbers[2] * operation.numbers[3] for operation in found))
    assert np.bincount(counts, minlength=5)[1:] == pytest.approx(np.full(4, 500), abs=80)
    assert np.array(areas) == pytest.approx(2000, rel=0.06)


def test_noise_is_one_colour_or_a_seed_and_different_each_time():
    for noise in ("pixel", "color"):
        ours = dm.RandomErasing(p=1.0, fill=(100, 110, 120), noise=noise, std=(10, 20, 30))
        rows = [
            ours.operations(uniform, SIZE)[0].numbers
            for uniform in np.random.default_rng(0).random((500, ours.uniforms))
        ]
        assert len({row[4:] for row in rows}) > 490
        if noise == "color":
            colours = np.array([row[4:7] for row in rows])
            assert colours.mean(0) == pytest.approx([100, 110, 120], abs=5)
            assert colours.std(0) == pytest.approx([10, 20, 30], rel=0.1)


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


def test_random_apply_does_all_of_it_or_nothing():
    inner = (dm.ColorJitter(0.5), dm.RandomGrayscale(1.0), dm.GaussianBlur((3, 5), (0.5, 1.0)))
    transform = dm.RandomApply(inner, 0.5)
    assert transform.uniforms == 1 + count_uniforms(inner) == 11
    for uniform in np.random.default_rng(0).random((50, 11)):
        found = transform.operations(uniform, SIZE)
        assert found == (plan_operations(inner, uniform[1:], SIZE) if uniform[0] < 0.5 else [])
        if found:
            assert [operation.function for operation in found] == [
                pixels.brightness,
                pixels.grayscale,
                pixels.gaussian_blur,
            ]
            assert found[2].numbers == (0.5 + 0.5 * uniform[-1],)
            assert found[2].fixed == ((3, 5),)


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


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_policies_are_torchvisions(policy):
    expected = theirs.AutoAugment(theirs.AutoAugmentPolicy(policy)).policies
    assert POLICIES[policy] == tuple(tuple((name, p, place or 0) for name, p, place in pair) for pair in expected)


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


def test_fill_and_interpolation_reach_the_operations():
    transform = dm.RandAugment(1, interpolation="bilinear", fill=(1, 2, 3))
    moves = [transform.operations(np.array([(k + 0.5) / len(NAMES), 0.9]), SIZE)[0] for k in range(1, 6)]
    assert all(move.function is affine.warp and move.fixed == ("bilinear", (1, 2, 3)) for move in moves)


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
        (lambda: dm.RandomErasing(1.5), ValueError, "p must be a probability"),
        (lambda: dm.RandomErasing(scale=(0, 2)), ValueError, "scale must be a pair"),
        (lambda: dm.RandomErasing(ratio=3), TypeError, "ratio must be a pair"),
        (lambda: dm.RandomErasing(fill=0), TypeError, "fill must be three levels, for R, G and B, got 0"),
        (lambda: dm.RandomErasing(noise="snow"), ValueError, "noise must be .* got 'snow'"),
        (lambda: dm.RandomErasing(count=(0, 1)), ValueError, "count must be an int of at least 1, got 0"),
        (lambda: dm.RandomErasing(count=(3, 2)), ValueError, r"count must be \(least, most\), got \(3, 2\)"),
        (lambda: dm.RandomApply([dm.RandomGrayscale()]), TypeError, "transforms must be a tuple of transforms"),
        (lambda: dm.RandomApply((dm.RandomGrayscale,)), TypeError, "transforms must be made of transforms, such as"),
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
