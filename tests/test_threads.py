import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

import dali_mixup as dm
from dali_mixup.stage.cpu import is_busy
from dali_mixup.threads import in_runs, single_threaded_pool, split_threads, without_lock

MODES = ("nearest", "bilinear", "bicubic", "lanczos", "random")


@pytest.mark.parametrize("before", [1, 3])
def test_workers_use_one_thread_and_the_others_keep_theirs(before):
    original = torch.get_num_threads()
    torch.set_num_threads(before)
    try:
        pool = single_threaded_pool(3, "test")
        gate = threading.Barrier(3)
        futures = [pool.submit(lambda: (gate.wait(), torch.get_num_threads())[1]) for _ in range(3)]
        assert [future.result() for future in futures] == [1, 1, 1]
        assert torch.get_num_threads() == before
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [before]
        pool.shutdown()
    finally:
        torch.set_num_threads(original)


def test_the_stage_gets_a_thread_for_every_two_of_dali_and_two_at_least():
    assert [split_threads(n) for n in (1, 2, 3, 4, 8)] == [(1, 1), (2, 2), (3, 2), (4, 2), (8, 4)]
    assert split_threads(None).decode == min(16, len(os.sched_getaffinity(0)))


def test_a_busy_stage_gets_a_thread_for_each_of_dali():
    assert [split_threads(n, busy=True) for n in (1, 2, 3, 8)] == [(1, 1), (2, 2), (3, 3), (8, 8)]
    plain = dm.ImagePipeline(geometry=dm.RandomResizedCrop(8))
    assert not is_busy(plain)
    assert is_busy(replace(plain, transforms=(dm.ColorJitter(0.1),)))
    assert [is_busy(replace(plain, geometry=dm.RandomResizedCrop(8, interpolation=mode))) for mode in MODES] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert [is_busy(replace(plain, geometry=dm.ResizeCenterCrop(8, 8, mode))) for mode in MODES[:4]] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("ranks", "cores", "threads"),
    [("1", 8, (8, 4)), ("4", 8, (2, 2)), ("8", 8, (1, 1)), ("8", 6, (1, 1)), ("1", 96, (16, 8)), ("8", 96, (12, 6))],
)
def test_ranks_of_a_machine_share_its_cores(monkeypatch, ranks, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert split_threads(None) == threads
    assert split_threads(5).decode == 5


@pytest.mark.parametrize("ranks", ["", "0", "many"])
def test_an_odd_number_of_ranks_counts_as_one(monkeypatch, ranks):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert split_threads(None).decode == 4


def _double(values: torch.Tensor) -> torch.Tensor:
    return values * 2


def _count(values: torch.Tensor, times: int) -> None:
    for _ in range(times):
        values.add_(1.0)


def test_a_function_without_the_lock_goes_on_while_python_keeps_it():
    values, before = torch.zeros(1), sys.getswitchinterval()
    run, seen, until = without_lock(_count), values.numpy(), time.monotonic() + 20
    thread = threading.Thread(target=run, args=(values, 5000))
    sys.setswitchinterval(60)  # nobody makes this thread give up the lock
    try:
        thread.start()
        while seen[0] < 5000 and time.monotonic() < until:
            pass
        assert seen[0] == 5000
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_what_torch_cant_script_runs_as_it_is(monkeypatch):
    def refuse(function):
        raise RuntimeError("no TorchScript")

    monkeypatch.setattr(torch.jit, "script", refuse)
    without_lock.cache_clear()
    assert without_lock(_double) is _double
    monkeypatch.undo()
    without_lock.cache_clear()
    assert torch.equal(without_lock(_double)(torch.ones(2)), torch.full((2,), 2.0))
    assert without_lock(_double) is not _double


@pytest.mark.parametrize("count", [0, 1, 3, 4, 10])
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_runs_share_out_all_numbers_in_order(count, threads):
    with ThreadPoolExecutor(threads) as pool:
        runs = in_runs(pool, threads, list, count)
    assert [number for run in runs for number in run] == list(range(count))
    assert len(runs) == min(count, threads)
    assert max(map(len, runs), default=0) - min(map(len, runs), default=0) <= 1
