"""Targets that a function makes of the files beside an image."""

import json

import numpy as np
import pytest

import dali_mixup as dm
from tests.conftest import jpeg_bytes
from tests.made_tars import write_tar


def test_targets_may_come_from_a_function_of_the_other_files(tmp_path):
    files = {}
    for i in range(3):
        files |= {f"x/{i}.jpg": jpeg_bytes(20, 20), f"x/{i}.JSON": json.dumps({"many": [i, 1.5]}).encode()}
    path = write_tar(tmp_path / "a.tar", files)
    seen = []

    def target(sample):
        seen.append((sample["__key__"], sample["__url__"], sorted(sample)))
        return json.loads(sample["json"])["many"]

    dataset = dm.TarDataset(path, target=target)
    assert dataset.targets.dtype == np.float32
    assert dataset.targets.tolist() == [[0, 1.5], [1, 1.5], [2, 1.5]]
    assert seen == [(f"x/{i}", str(path), ["__key__", "__url__", "json"]) for i in range(3)]
    labels = dm.TarDataset(path, target=lambda sample: int(sample["__key__"][-1]), classes=["a", "b", "c"]).targets
    assert labels.tolist() == [0, 1, 2]
    assert labels.dtype == np.int64
    for wrong, error, message in (
        (lambda sample: sample["txt"], dm.DatasetError, r"a\.tar: x/0\.jpg: target\(.*json\)\) raised KeyError: 'txt'"),
        (lambda sample: None, dm.DatasetError, r"x/0\.jpg: target\(.*\) must be a number, or an array of numbers"),
        (
            lambda sample: [0] * int(sample["__key__"][-1]),
            dm.DatasetError,
            r"x/1\.jpg: .* numbers of shape \(0,\)",
        ),
        (lambda sample: 7, dm.DatasetError, r"targets\[0\] must be a class index from 0 to 1, got 7"),
    ):
        with pytest.raises(error, match=message):
            dm.TarDataset(path, target=wrong, classes=["a", "b"])
