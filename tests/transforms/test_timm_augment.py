"""timm's auto-augmentations: the same images for the same random numbers, and the same distribution of its own."""

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
import scipy.stats

import dali_mixup as dm
from dali_mixup.transforms.operations import apply_one
from dali_mixup.transforms.timm_augment import DEEPEST
from dali_mixup.transforms.timm_steps import DRAWS
from dali_mixup.translation.timm_augment import read_augment
from tests.transforms.pictures import SIZE, differences, pictures, stacked
from tests.transforms.timm_replay import auto_augment, replayed

HPARAMS = {"translate_const": 20, "img_mean": (124, 116, 104)}
RAND = ["rand", "rand-m9-mstd0.5-inc1", "rand-m15-n4-mmax20-p0.9", "rand-m5-mstd101-inc1-n1", "rand-m9-mstd0.5-t3a-p1"]
AUTO = ["original", "originalr-mstd0.5", "v0", "v0r-mstd0.5", "3a"]
AUGMIX = ["augmix", "augmix-m5-w4-d2", "augmix-b1", "augmix-m7-mstd1-w2-a0.5", "augmix-a3-b1"]


def made(config, hparams=HPARAMS):
    """timm's own, and ours."""
    kinds = {"rand": "rand_augment_transform", "augmix": "augment_and_mix_transform"}
    function = getattr(auto_augment, kinds.get(config.split("-")[0], "auto_augment_transform"))
    theirs = function(config, dict(hparams))
    return theirs, read_augment(theirs)


def uniforms(ours, count):
    return np.random.default_rng(1).random((count, ours.uniforms))


def check(ours, row, image, expected):
    found = apply_one(stacked([image]), ours.operations(row, SIZE))
    assert differences(found, [expected]).max() == 0


@pytest.mark.parametrize("mode", [2, 3, None])
@pytest.mark.parametrize("config", RAND)
def test_rand_augment_makes_timms_images_for_the_same_random_numbers(monkeypatch, config, mode):
    theirs, ours = made(config, HPARAMS | ({} if mode is None else {"interpolation": mode}))
    for row, image in zip(uniforms(ours, 40), pictures() * 5, strict=False):
        draws = row.reshape(-1, 1 + DRAWS)
        chosen = [theirs.ops[int(number * len(theirs.ops))] for number in draws[:, 0]]
        with replayed(monkeypatch, draws[:, 1:]), monkeypatch.context() as patch:
            patch.setattr(np.random, "choice", lambda *_, chosen=chosen, **__: chosen)
            expected = theirs(image)
        check(ours, row, image, expected)


@pytest.mark.parametrize("config", AUTO)
def test_auto_augment_makes_timms_images_for_the_same_random_numbers(monkeypatch, config):
    theirs, ours = made(config)
    for row, image in zip(uniforms(ours, 60), pictures() * 7, strict=False):
        with replayed(monkeypatch, row[1:].reshape(-1, DRAWS)) as drawn:
            drawn.chosen = int(row[0] * len(theirs.policy))
            expected = theirs(image)
        check(ours, row, image, expected)


@pytest.mark.parametrize("config", AUGMIX)
def test_augmix_makes_timms_images_for_the_same_random_numbers(monkeypatch, config):
    theirs, ours = made(config)
    for row, image in zip(uniforms(ours, 25), pictures() * 3, strict=False):
        weights, share = (found[0] for found in ours._weights(row[None]))
        deepest = ours.depth or DEEPEST
        chains = row[-ours.width * (1 + deepest * (1 + DRAWS)) :].reshape(ours.width, -1)
        counts = [ours.depth or 1 + int(chain[0] * DEEPEST) for chain in chains]
        steps = [chain[1:].reshape(deepest, 1 + DRAWS)[:count] for chain, count in zip(chains, counts, strict=True)]
        depths, chosen = iter(counts), iter(steps)
        with replayed(monkeypatch, np.concatenate(steps)[:, 1:]), monkeypatch.context() as patch:
            patch.setattr(np.random, "dirichlet", lambda _, weights=weights: weights)
            patch.setattr(np.random, "beta", lambda *_, share=share: share)
            patch.setattr(np.random, "randint", lambda *_, depths=depths: next(depths))
            patch.setattr(
                np.random,
                "choice",
                lambda ops, depth, replace, chosen=chosen: [
                    ops[int(number * len(ops))] for number in next(chosen)[:depth, 0]
                ],
            )
            expected = theirs(image)
        check(ours, row, image, expected)


def recorded(monkeypatch, theirs, count):
    """What timm does to each of so many images with its own random numbers: names, and by name the numbers."""
    chains, numbers, chain = [], defaultdict(list), []
    ops = theirs.ops if hasattr(theirs, "ops") else [op for policy in theirs.policy for op in policy]

    def recording(op):
        def record(image, *arguments, **options):
            auto_augment._check_args_tf(options)
            chain.append(op.name)
            numbers[op.name].append((*map(float, arguments), int(options["resample"])))
            return image

        return record

    for op in ops:
        monkeypatch.setattr(op, "aug_fn", recording(op))
    random.seed(5)
    np.random.seed(5)
    image = pictures()[0]
    for _ in range(count):
        chain.clear()
        theirs(image)
        chains.append(tuple(chain))
    return chains, numbers


def planned(ours, count, names):
    """What we plan for them: names, and by name the numbers as timm has them."""
    chains, numbers = [], defaultdict(list)
    for own in ours.batch_operations(np.random.default_rng(9).random((count, ours.uniforms)), SIZE):
        chains.append(tuple(names[_kind(operation)] for operation in own))
        for operation in own:
            numbers[names[_kind(operation)]].append(_argument(operation))
    return chains, numbers


def _kind(operation):
    """What tells the steps of `rand-*` apart."""
    name = operation.function.__name__
    if name != "warp":
        return name
    _, along, right, across, *_ = operation.numbers
    if along and across:
        return "rotate"
    return "shear_x" if along else "shear_y" if across else "shift_x" if right else "shift_y"


def _argument(operation):
    mode = {"bilinear": 2, "bicubic": 3}[operation.fixed[0]] if operation.fixed else 0
    kind = _kind(operation)
    _, along, right, across, _, down = operation.numbers if operation.function.__name__ == "warp" else (0,) * 6
    values = {"shear_x": along, "shear_y": across, "shift_x": right / SIZE[1], "shift_y": down / SIZE[0]}
    values["rotate"] = math.degrees(math.asin(-along)) if kind == "rotate" else 0
    return (values.get(kind, *operation.numbers[:1] or (0.0,)), mode)


NAMES = {
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "saturation": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "shift_x": "TranslateXRel",
    "shift_y": "TranslateYRel",
}


@pytest.mark.parametrize(
    "config", ["rand-m9-mstd0.5-inc1", "rand-m6-mstd200-inc1-n3-p0.7", "rand-m9-mstd2-tweights-n3-p1"]
)
def test_what_is_drawn_has_timms_distribution(monkeypatch, config):
    theirs, ours = made(config)
    count = 6000
    their_chains, their_numbers = recorded(monkeypatch, theirs, count)
    our_chains, our_numbers = planned(ours, count, NAMES)
    lengths = [[sum(len(chain) == k for chain in chains) for k in range(4)] for chains in (their_chains, our_chains)]
    for table in (lengths, *_tables(their_chains, our_chains)):
        table = np.array(table)
        table = table[:, table.sum(0) > 10]
        if table.shape[1] > 1:
            assert scipy.stats.chi2_contingency(table).pvalue > 1e-3, table
    for name, found in our_numbers.items():
        if len(their_numbers[name]) < 30 or len(their_numbers[name][0]) < 2:
            continue
        # rounded, since many are cut off at the same strength
        expected, found = np.round(their_numbers[name], 6), np.round(found, 6)
        assert scipy.stats.ks_2samp(expected[:, 0], found[:, 0]).pvalue > 1e-3, name
        if found[0, 1]:  # its interpolation
            assert abs((expected[:, 1] == 2).mean() - (found[:, 1] == 2).mean()) < 4 / math.sqrt(len(expected))


def _tables(first, second):
    """How often each name is the first, second, third operation, and how often two come after each other."""
    for k in range(3):
        counts = [Counter(chain[k] for chain in chains if len(chain) > k) for chains in (first, second)]
        yield [[count[name] for name in NAMES.values()] for count in counts]
    pairs = [Counter(chain[:2] for chain in chains if len(chain) > 1) for chains in (first, second)]
    yield [[count[pair] for pair in sorted({*pairs[0], *pairs[1]})] for count in pairs]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_the_weights_of_augmix_have_timms_distribution(alpha):
    ours, rng = dm.TimmAugMix(alpha=alpha), np.random.default_rng(3)
    weights, share = ours._weights(uniforms(ours, 20000))
    assert scipy.stats.ks_2samp(share, rng.beta(alpha, alpha, 20000)).pvalue > 1e-3
    expected = rng.dirichlet([alpha] * 3, 20000)
    for k in range(3):
        assert scipy.stats.ks_2samp(weights[:, k], expected[:, k]).pvalue > 1e-3
    assert np.corrcoef(weights.T) == pytest.approx(np.corrcoef(expected.T), abs=0.03)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.TimmRandAugment(()), TypeError, r"steps must be made of tuples of TimmStep, .*, got \(\)"),
        (lambda: dm.TimmRandAugment(num_ops=-1), ValueError, "num_ops must be an int of at least 0, got -1"),
        (lambda: dm.TimmRandAugment(weights=(1,)), ValueError, "weights must be 15 numbers of at least 0"),
        (
            lambda: dm.TimmRandAugment(weights=(1.0, *[0.0] * 14)),
            ValueError,
            "num_ops must be at most the number of steps with a weight above 0, got 2",
        ),
        (lambda: dm.TimmRandAugment(interpolation="lanczos"), ValueError, "interpolation must be .*, got 'lanczos'"),
        (lambda: dm.TimmRandAugment(translate_share="a"), TypeError, "translate_share must be a number, got 'a'"),
        (lambda: dm.TimmAutoAugment(()), TypeError, "policies must be a tuple of tuples of TimmStep"),
        (lambda: dm.TimmAutoAugment((("Invert",),)), TypeError, "policies must be made of tuples of TimmStep"),
        (lambda: dm.TimmAugMix(alpha=0), ValueError, "alpha must be a number above 0, got 0"),
        (lambda: dm.TimmAugMix(width=0), ValueError, "width must be an int of at least 1, got 0"),
        (lambda: dm.TimmAugMix(depth=-1), ValueError, "depth must be an int of at least 1, got -1"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
