"""Progress bars on stderr, and work on many files behind one."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_TASK = 32  # a task per item would cost a million futures for a million files
LOG_SECONDS = 5  # between two lines where stderr is a file, not a terminal


def open_bar(description: str, total: int, unit: str) -> "tqdm[Any]":
    """A bar that disappears when it is closed."""
    seconds = 0.2 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(
        total=total, desc=description, unit=f" {unit}", leave=False, delay=0.5, mininterval=seconds, dynamic_ncols=True
    )


def run_in_threads(work: Callable[[Item], Result], items: Sequence[Item], description: str) -> list[Result]:
    """`work` on each item, one thread per core that this process may use.

    Args:
        work: what to do; an exception stops the rest.
        items: such as files.
        description: what the bar says.

    Returns:
        The results in the order of `items`.
    """
    results: list[Result] = []
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool, open_bar(description, len(items), "files") as bar:
        starts = range(0, len(items), ITEMS_PER_TASK)
        tasks = pool.map(lambda start: [work(item) for item in items[start : start + ITEMS_PER_TASK]], starts)
        try:
            for some in tasks:
                results += some
                bar.update(len(some))
        except BaseException:  # also Ctrl-C: do not do the rest first
            pool.shutdown(cancel_futures=True)
            raise
    return results
