"""Threads for decode and stage, each of which runs torch's operators alone instead of starting a team of its own."""

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import torch

Result = TypeVar("Result")

MOST_THREADS = 16  # of DALI by default; more wait for each other


class ThreadSplit(NamedTuple):
    """Threads of DALI, and of the stage beside it."""

    decode: int
    stage: int


def split_threads(decode: int | None, *, busy: bool = False) -> ThreadSplit:
    """A thread of the stage for every two of DALI, but two at least, and one for each of DALI's at most.

    As many as DALI's where the stage is `busy` for longer than DALI.

    By default one of DALI's for each core that this process may use, of which the ranks of a machine get equal shares
    (LOCAL_WORLD_SIZE, which torchrun and Lightning's launcher on one machine set), and at most `MOST_THREADS`.
    """
    decode = decode or min(MOST_THREADS, max(1, len(os.sched_getaffinity(0)) // _ranks_beside()))
    return ThreadSplit(decode, decode if busy else min(decode, max(2, decode // 2)))


def _ranks_beside() -> int:
    """Ranks on this machine, with this one."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return int(ranks) if ranks.isdecimal() and int(ranks) else 1


def single_threaded_pool(count: int, name: str) -> ThreadPoolExecutor:
    """`count` threads, called `name`, in which torch uses one thread; its setting in all other threads stays as it is.

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

    pool = ThreadPoolExecutor(count, thread_name_prefix=f"dali_mixup {name}")
    try:
        for _ in range(count):
            pool.submit(prepare)
        ready.wait()
    except BaseException:  # Ctrl-C: threads that wait for the others would wait for ever
        ready.abort()
        raise
    torch.set_num_threads(threads)
    return pool


def in_runs(
    pool: ThreadPoolExecutor, num_threads: int, work: Callable[[Sequence[int]], Result], count: int
) -> list[Result]:
    """What threads of a pool make of the numbers below `count`, a run of consecutive ones each; in order."""
    bounds = [count * k // num_threads for k in range(num_threads + 1)]
    return list(pool.map(work, [range(*pair) for pair in pairwise(bounds) if pair[0] < pair[1]]))


@cache
def without_lock(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch's operators as TorchScript runs it: it waits for Python's lock once, not behind each of them.

    The function itself where torch has no TorchScript any more, or no source of it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return torch.jit.script(function)
        except (AttributeError, OSError, RuntimeError):
            return function
