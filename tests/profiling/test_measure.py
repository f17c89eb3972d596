"""Seconds of a training and of its parts."""

import time

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import dali_mixup as dm
from dali_mixup.pipelines import imagenet
from dali_mixup.profiling.measure import drain, profile


def test_it_sees_who_waits_for_whom(dataset):
    def loader():
        return dm.Loader(dataset, imagenet.train(16), batch_size=4, shuffle=True, device="cpu")

    slow_step = profile(loader(), lambda *_: time.sleep(0.05), steps=5)
    fast_step = profile(loader(), lambda *_: None, steps=5)
    assert slow_step.wait / slow_step.step < fast_step.wait / fast_step.step
    assert slow_step.ideal == pytest.approx(0.05, rel=0.5)
    assert slow_step.step == pytest.approx(slow_step.wait + slow_step.train)
    for part in ("decode", "resize", "stage"):
        assert getattr(fast_step, part) > 0


def test_torchs_dataloader_has_no_parts_and_one_with_workers_no_cores():
    data = TensorDataset(torch.rand(8, 3, 4, 4), torch.zeros(8, dtype=torch.int64))
    found = profile(DataLoader(data, batch_size=4), lambda *_: None, steps=3)
    assert (found.decode, found.resize, found.stage) == (None, None, None)
    assert found.busy is not None
    assert found.shared
    loader = DataLoader(data, batch_size=4, num_workers=1)
    assert profile(loader, lambda *_: None, steps=2).busy is None


def test_a_drained_loader_that_works_keeps_a_core_busy():
    class Works:
        def __iter__(self):
            end = time.process_time()
            for _ in range(5):
                end += 0.01
                while time.process_time() < end:
                    pass
                yield torch.zeros(1), torch.zeros(1)

    seconds, busy = drain(Works(), 10)
    assert seconds >= 0.0075  # of each epoch the first batch waits for what the clock had before
    assert busy <= 1.1
