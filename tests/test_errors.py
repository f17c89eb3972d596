"""One wording for all errors, and what is checked with it."""

import pickle
import re

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup import errors


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (3, "3"),
        ("a", "'a'"),
        (torch.zeros(2, 3, dtype=torch.int16), "a int16 tensor of shape (2, 3)"),
        (np.zeros((4,), np.float32), "a float32 array of shape (4,)"),
        ("x" * 500, "'" + "x" * 196 + "..."),
    ],
)
def test_a_value_is_described_in_few_words(value, described):
    assert errors.describe(value) == described
    assert errors.must_be("size", "above 0", value, "leave it out") == (
        f"size must be above 0, got {described}; leave it out"
    )


@pytest.mark.parametrize("value", [0, 5, np.int32(5), 2**70])
def test_ints_of_any_kind_pass(value):
    errors.check_int("count", value, at_least=0)


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (np.int8(-1), ValueError), (True, TypeError), (1.0, TypeError), (None, TypeError)],
)
def test_other_values_than_ints_from_a_limit_on_are_named(value, error):
    with pytest.raises(error, match=re.escape(f"count must be an int of at least 0, got {value!r}")):
        errors.check_int("count", value, at_least=0)


@pytest.mark.parametrize("value", [0, 1, 0.5, 1.0])
def test_probabilities_pass(value):
    errors.check_probability("p", value)


@pytest.mark.parametrize(
    ("value", "error"),
    [(-0.1, ValueError), (1.1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_what_is_no_probability_is_named(value, error):
    with pytest.raises(error, match=f"^p must be a probability from 0 to 1, got {value!r}$"):
        errors.check_probability("p", value)


def test_only_true_and_false_are_bools():
    errors.check_bool("on", True)
    errors.check_bool("on", False)
    for value in (1, 0, None, np.True_, "yes"):
        with pytest.raises(TypeError, match="on must be True or False, got"):
            errors.check_bool("on", value)


def test_a_choice_is_one_of_its_list_and_of_its_type():
    errors.check_choice("mode", "edge", ("edge", None))
    errors.check_choice("mode", None, ("edge", None))
    with pytest.raises(ValueError, match=r'^mode must be "edge", "reflect" or None, got \'wrap\'; see numpy.pad$'):
        errors.check_choice("mode", "wrap", ("edge", "reflect", None), "see numpy.pad")
    with pytest.raises(ValueError, match=r"^bits must be 1 or 2, got True$"):
        errors.check_choice("bits", True, (1, 2))
    with pytest.raises(ValueError, match=r"^version must be 2, got 3$"):
        errors.check_choice("version", 3, (2,))


def test_a_bad_samples_error_lists_its_files_and_shortens_long_lists_with_a_headline():
    samples = [(number, f"{number}.jpg", "missing") for number in range(30)]
    short = str(dm.BadSampleError(samples[:1]))
    assert short.startswith("1 file of this batch can't be decoded; ")
    assert short.endswith("\n  sample 0: 0.jpg: missing")
    assert str(dm.BadSampleError(samples)).count("\n") == 30
    lines = str(dm.BadSampleError(samples, "too many:")).splitlines()
    assert lines[0] == "too many:"
    assert len(lines) == 1 + errors.NAMED_IN_MESSAGE + 1
    assert lines[-1] == "  and 10 more"


@pytest.mark.parametrize("headline", ["", "too many:"])
def test_a_bad_samples_error_survives_pickle(headline):
    error = dm.BadSampleError([dm.BadSample(3, "a.jpg", "missing")], headline)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.samples, again.headline) == (str(error), error.samples, headline)


def test_what_torchvision_users_catch_catches_an_unusable_dataset():
    assert issubclass(dm.DatasetError, FileNotFoundError)
    assert issubclass(dm.DatasetError, ValueError)
