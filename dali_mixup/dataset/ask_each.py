"""One question for each of many files: by one thread as long as they answer at once, by many where they wait.

Threads that don't wait for a disk or a network wait for Python's lock: on files in the machine's page cache many are
slower than one.
"""

import statistics
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dali_mixup.bars import progress_bar

Answer = TypeVar("Answer")

THREADS = 16  # that wait at the same time
PART = 16  # questions in a row
WAITING = 5  # times its work that a question takes where something keeps it waiting; where others use the core, 2 or 3


def ask_each(
    ask: Callable[[int], Answer], numbers: Sequence[int], *, description: str, progress: bool
) -> Generator[list[Answer], None, None]:
    """The answers in order, part by part.

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
            yield answers
            bar.update(len(part))
            # the median, since a thread that loses its core for once waits for many times its work
            if statistics.median(seconds) > WAITING * work / len(part):
                break
        stopped = threading.Event()

        def ask_some(part: Sequence[int]) -> list[Answer]:
            return [ask(number) for number in part if not stopped.is_set()]

        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for answers in pool.map(ask_some, parts):
                    yield answers
                    bar.update(len(answers))
            except BaseException:  # Ctrl-C: do not ask a million others first
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
