import os
import threading

import pytest
import torch

from dali_mixup.stage.threads import single_threaded_pool, split_threads


@pytest.mark.parametrize("before", [1, 3])
def test_workers_use_one_thread_and_the_others_keep_theirs(before):
    original = torch.get_num_threads()
    torch.set_num_threads(before)
    try:
        pool = single_threaded_pool(3)
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


def test_the_stage_gets_a_thread_for_every_two_of_dali():
    assert [split_threads(n) for n in (1, 2, 3, 8)] == [(1, 1), (2, 1), (3, 1), (8, 4)]
    assert split_threads(None).decode == len(os.sched_getaffinity(0))
