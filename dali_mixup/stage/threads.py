"""Threads for the stage, each of which runs torch's operators alone instead of starting a team of its own."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch


class ThreadSplit(NamedTuple):
    """Threads of DALI, and of the stage beside it."""

    decode: int
    stage: int


def split_threads(decode: int | None) -> ThreadSplit:
    """A thread of the stage for every two of DALI; by default one of DALI's for each core that this process may use."""
    decode = decode or len(os.sched_getaffinity(0))
    return ThreadSplit(decode, max(1, decode // 2))


def single_threaded_pool(count: int) -> ThreadPoolExecutor:
    """`count` threads in which torch uses one thread; torch's setting in all other threads stays as it is.

    torch.set_num_threads sets both the calling thread's number and the one that other threads take over at their first
    operator. So each worker takes over the number, then sets its own to 1, and after the last one the caller sets the
    common one again.
    """
    threads = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def prepare() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="dali_mixup stage")
    try:
        for _ in range(count):
            pool.submit(prepare)
        ready.wait()
    except BaseException:  # Ctrl-C: threads that wait for the others would wait for ever
        ready.abort()
        raise
    torch.set_num_threads(threads)
    return pool
