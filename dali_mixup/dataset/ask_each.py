"""Many questions to a disk or a network: by one thread as long as it answers at once, by many where they wait.

Threads that don't wait for an answer wait for Python's lock: on files in the machine's page cache many are slower than
one.
"""

import statistics
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dali_mixup.bars import progress_bar

Answer = TypeVar("Answer")
Share = Callable[[Callable[[Sequence[int]], list[Any]], int], list[Any]]

THREADS = 16  # that wait at the same time
PART = 16  # questions in a row
FIRST = 64  # questions that show whether the others are shared out
WAITING = 5  # times its work that a question takes where something keeps it waiting; where others use the core, 2 or 3


def alone(work: Callable[[Sequence[int]], list[Answer]], count: int) -> list[Answer]:
    """`work` on the numbers below `count`, in this thread. Another `Share` has threads take runs of the numbers."""
    return work(range(count))


def ask_each(
    ask: Callable[[int], Answer], numbers: Sequence[int], *, description: str, progress: bool
) -> Generator[Answer, None, None]:
    """The answers in order.

    Args:
        ask: called in this thread, and in others; an exception ends the rest.
        numbers: to ask about.
        description: what the bar says.
        progress: show a bar on stderr once the work takes longer than half a second.
    """
    shown = {"desc": description, "unit": " files", "delay": 0.5, "leave": False, "disable": not progress}
    parts = (numbers[start : start + PART] for start in range(0, len(numbers), PART))
    with progress_bar(total=len(numbers), **shown) as bar:
        for part in parts:
            answers, seconds, work = [], [], time.thread_time()
            for number in part:
                start = time.perf_counter()
                answers.append(ask(number))
                seconds.append(time.perf_counter() - start)
            work = time.thread_time() - work
            yield from answers
            bar.update(len(part))
            if _waits(seconds, work):
                break
        stopped = threading.Event()

        def ask_some(part: Sequence[int]) -> list[Answer]:
            return [ask(number) for number in part if not stopped.is_set()]

        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for answers in pool.map(ask_some, parts):
                    yield from answers
                    bar.update(len(answers))
            except BaseException:  # Ctrl-C: do not ask a million others first
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise


def share_what_waits(work: Callable[[Sequence[int]], list[Answer]], count: int, share: Share) -> list[Answer]:
    """`work` on the numbers below `count`: on the first ones here, and on the others as well unless they waited.

    Args:
        work: on a run of consecutive numbers, with one result for each.
        count: N.
        share: has threads take runs.
    """
    first = min(FIRST, count)
    found, seconds, own = [], [], time.thread_time()
    for begin in range(0, first, PART):
        start = time.perf_counter()
        found += work(range(begin, min(begin + PART, first)))
        seconds.append(time.perf_counter() - start)
    if count <= FIRST:
        return found
    if not _waits(seconds, time.thread_time() - own):
        return found + work(range(FIRST, count))
    return found + share(lambda run: work(range(run[0] + FIRST, run[-1] + 1 + FIRST)), count - FIRST)


def _waits(seconds: list[float], work: float) -> bool:
    """Whether something keeps one waiting: by the median, since a thread may lose its core for once.

    Args:
        seconds: that equal shares of the work took.
        work: seconds of this thread's own in all of them.
    """
    return statistics.median(seconds) > WAITING * work / len(seconds)
