"""Verdicts on profiles of each kind, and on loaders and steps that are made to be of it."""

import time

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.profiling.advice import advise
from dali_mixup.profiling.measure import Profile, profile
from tests.conftest import jpeg_bytes


def measured(**changes):
    seconds = {"step": 1.0, "wait": 0.5, "train": 0.5, "ideal": 0.5, "loader": 1.0, "decode": 0.8, "resize": 0.1}
    return Profile(**{**seconds, "stage": 0.1, "busy": 1.9, "cores": 2, **changes})


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"wait": 0.01, "train": 0.99, "ideal": 0.98}, "step", "Only a faster model"),
        ({}, "decode", "pack the files"),
        ({"decode": 0.1, "resize": 0.8}, "stage", "Resizing, transforms and mixing"),
        ({"decode": 0.1, "stage": 0.8}, "stage", "Resizing, transforms and mixing"),
        ({"busy": 0.3}, "read", "keeps 0.3 of 2 cores busy: it waits for a disk or a network"),
        ({"decode": None, "resize": None, "stage": None, "busy": None}, "loader", "dm.from_dataloader"),
        ({"decode": None, "resize": None, "stage": None, "busy": 0.1}, "read", "waits for a disk"),
        ({"wait": 0.0, "train": 1.0, "ideal": 0.4}, "contention", "2.50 times as long: they share 2 cores"),
        ({"wait": 0.2, "train": 0.8, "ideal": 0.3}, "contention", "fewer threads"),
        ({"wait": 0.5, "train": 0.5, "ideal": 0.3}, "decode", "with an ideal loader it would run 3.33 times"),
        ({"wait": 0.0, "train": 1.0, "ideal": 0.4, "shared": False}, "step", "fast enough"),
        ({"busy": 0.3, "shared": False}, "decode", "pack the files"),
    ],
)
def test_each_kind_has_its_verdict(changes, kind, words):
    verdict = advise(measured(**changes), {})
    assert verdict.kind == kind
    assert words in str(verdict)


def test_a_setting_that_helps_is_named_and_one_that_does_not_is_not():
    assert "num_threads=8. The loader alone then ran 1.50 times" in str(
        advise(measured(), {"num_threads=8": 1.5, "prefetch=4": 1.1})
    )
    assert "num_threads" not in str(advise(measured(), {"num_threads=8": 1.01}))
    assert "num_threads" not in str(advise(measured(wait=0.01, ideal=0.5, train=0.5), {"num_threads=8": 2.0}))


@pytest.mark.parametrize("wait", np.linspace(0, 1, 11).tolist())
@pytest.mark.parametrize("slowed", [0.0, 0.02, 0.3, 0.9])
def test_a_verdict_never_contradicts_itself(wait, slowed):
    """Never "fast enough" where an ideal loader would gain more than a tenth."""
    train = max(1e-3, 1 - wait)
    found = measured(wait=wait, train=train, ideal=train * (1 - slowed))
    verdict = advise(found, {})
    assert (verdict.kind == "step") <= (found.step / found.ideal < 1.11)
    assert ("fast enough" in str(verdict)) == (verdict.kind == "step")


class Batches:
    """A loader that sleeps or works for each batch."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batch = seconds, (torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))

    def __iter__(self):
        for _ in range(10):
            time.sleep(self.seconds)
            yield self.batch


def test_a_training_whose_steps_are_long_is_step_bound():
    found = profile(Batches(), lambda *_: time.sleep(0.02), steps=8)
    assert found.wait / found.step < 0.05
    assert advise(found, {}).kind in ("step", "contention")  # that of other programs, where these slow the steps


def test_a_loader_that_sleeps_is_waited_for():
    found = profile(Batches(0.02), lambda *_: None, steps=8)
    assert advise(found, {}).kind == "read"
    assert found.wait == pytest.approx(0.02, rel=0.5)


def test_a_loader_over_a_slow_store_is_read_bound():
    content = [jpeg_bytes(40, 50, seed=number) for number in range(16)]

    def slowly(number):
        time.sleep(0.02)
        return content[number]

    dataset = dm.BytesDataset(slowly, [0] * 16, progress=False)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))
    loader = dm.Loader(dataset, pipeline, batch_size=8, shuffle=True, device="cpu", num_threads=1)
    assert advise(profile(loader, lambda *_: None, steps=6), {}).kind == "read"


def test_a_loader_with_costly_transforms_is_stage_bound():
    content = jpeg_bytes(64, 64)
    dataset = dm.BytesDataset(lambda _: content, [0] * 16, progress=False)
    transforms = tuple(dm.GaussianBlur(23, sigma=(9.0, 9.0)) for _ in range(6))
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(256), transforms=transforms)
    loader = dm.Loader(dataset, pipeline, batch_size=8, shuffle=True, device="cpu", num_threads=1)
    found = profile(loader, lambda *_: None, steps=4)
    assert found.resize + found.stage > found.decode
    assert advise(found, {}).kind in ("stage", "read")  # "read" where other programs keep the cores busy


def test_a_loader_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="gave no batch in an epoch"):
        profile([], lambda *_: None, steps=2)
