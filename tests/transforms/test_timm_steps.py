"""timm's named operations, at the same levels, for the same random numbers."""

import math

import numpy as np
import pytest

import dali_mixup as dm
from dali_mixup.transforms.operations import apply_one
from dali_mixup.transforms.timm_steps import DRAWS, OPERATIONS, Moves, plan_steps
from tests.transforms.pictures import SIZE, differences, pictures, stacked
from tests.transforms.timm_replay import auto_augment, replayed

MODES = {"nearest": 0, "bilinear": 2, "bicubic": 3, "random": None}
KINDS = [(9, 0.5, 10), (0, 0.0, 10), (10, 0.0, 10), (7, math.inf, 10), (25, 3.0, 30), (5, 4.0, 10)]


def test_all_of_timms_operations_are_here():
    assert set(OPERATIONS) == set(auto_augment.NAME_TO_OP) == set(auto_augment.LEVEL_TO_ARG)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", auto_augment.NAME_TO_OP)
def test_an_operation_equals_timms_to_the_bit(monkeypatch, name, mode):
    if mode in ("nearest", "bilinear") and "ear" not in name and "Rotate" not in name and "Translate" not in name:
        pytest.skip("it moves nothing")
    images, rng = pictures(), np.random.default_rng(0)
    for magnitude, std, most in KINDS:
        hparams = {"translate_const": 17, "translate_pct": 0.3, "img_mean": (9, 8, 7), "magnitude_std": std}
        hparams |= {"magnitude_max": most} | ({} if MODES[mode] is None else {"interpolation": MODES[mode]})
        theirs = auto_augment.AugmentOp(name, 0.8, magnitude, hparams)
        step = dm.TimmStep(name, 0.8, magnitude, std, most)
        uniform = rng.random((12, DRAWS))
        planned = plan_steps([step], np.zeros(12, np.int64), uniform, Moves(SIZE, mode, (9, 8, 7), 17, 0.3))
        for row, own in enumerate(planned):
            image = images[row % len(images)]
            with replayed(monkeypatch, uniform[row : row + 1]):
                expected = theirs(image)
            assert differences(apply_one(stacked([image]), own), [expected]).max() == 0, (step, own)


def test_steps_that_are_not_chosen_do_nothing():
    step = dm.TimmStep("Invert", 1.0)
    moves = Moves(SIZE, "random", (1, 2, 3), 10, 0.1)
    uniform = np.random.default_rng(0).random((3, DRAWS))
    assert list(map(len, plan_steps([step], np.array([-1, 0, -1]), uniform, moves))) == [0, 1, 0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.TimmStep("Cutout"), ValueError, "name must be one of AutoContrast, .*, got 'Cutout'"),
        (lambda: dm.TimmStep("Invert", 2), ValueError, "p must be a probability"),
        (lambda: dm.TimmStep("Invert", magnitude="9"), TypeError, "magnitude must be a number, got '9'"),
        (lambda: dm.TimmStep("Invert", std=-1.0), ValueError, "std must be at least 0, .*, got -1.0"),
        (lambda: dm.TimmStep("Invert", most=math.inf), ValueError, "most must be at least 0, and finite"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
