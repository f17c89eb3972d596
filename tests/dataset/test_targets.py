"""Targets as users have them, and what is said of those that can't be used."""

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.dataset.targets import check_targets

COUNT = 3


@pytest.mark.parametrize(
    ("targets", "dtype"),
    [
        ([2, 0, 1], np.int64),
        (range(3), np.int64),
        (np.array([2, 0, 1], np.uint8), np.int64),
        (torch.tensor([2, 0, 1]), np.int64),
        ([0.5, 1.0, 2.0], np.float32),
        (torch.rand(3, 2, dtype=torch.float64), np.float32),
        (np.zeros((3, 4), np.float16), np.float32),
    ],
)
def test_numbers_become_int64_or_float32(targets, dtype):
    found = check_targets(targets, COUNT, None)
    assert found.dtype == dtype
    assert found.tolist() == np.asarray(targets).astype(dtype).tolist()


@pytest.mark.parametrize(
    ("targets", "classes", "error", "message"),
    [
        (
            ["cat", "dog", "cat"],
            None,
            TypeError,
            r"got \"'cat' among them\"; number them: classes, targets = np\.unique",
        ),
        ([1, "dog", 2], None, TypeError, "number them"),
        (np.array(["a", 1, None], object), None, TypeError, "number them"),
        (np.array([1, None, 2], object), None, TypeError, "got 'None among them'"),
        ([True, False, True], None, TypeError, r"two classes are targets\.astype\(int\); of many labels"),
        (np.zeros((3, 2), bool), None, TypeError, r"targets\.astype\(np\.float32\)"),
        (
            [1.0, float("nan"), 2.0],
            None,
            dm.DatasetError,
            r"targets\[1\] must be a number, got nan; leave these samples out",
        ),
        ([[1.0, 0.0], [0.0, float("nan")], [0, 0]], None, dm.DatasetError, r"targets\[1\] must be a number"),
        ([[1], [2, 3], [4]], None, dm.DatasetError, "of one length for all samples, got 'rows of different lengths'"),
        (np.array([[3, 7], [1, 2], [0, 1]]), None, dm.DatasetError, "two heads can't share a mixed label"),
        (np.array([[0, 1], [1, 1], [0, 0]]), None, dm.DatasetError, "convert multi-label targets to float32"),
        ([1.0, 0.0, 1.0], ["a", "b"], TypeError, r"integers where there are classes, .*targets\.astype\(int\)"),
        ([1, 2, 0], ["a", "b"], dm.DatasetError, r"targets\[1\] must be a class index from 0 to 1, got 2"),
        ([1, 2], None, dm.DatasetError, r"targets must be one per sample \(3 samples\)"),
        (7, None, dm.DatasetError, r"targets must be one per sample"),
    ],
)
def test_others_are_refused_with_what_to_do(targets, classes, error, message):
    with pytest.raises(error, match=message):
        check_targets(targets, COUNT, classes)


def test_the_remedy_for_names_works():
    classes, targets = np.unique(["cat", "dog", "cat"], return_inverse=True)
    assert check_targets(targets, COUNT, classes.tolist()).tolist() == [0, 1, 0]
