"""An iterator that works ahead of its consumer in a thread of its own."""

import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
END = object()


def run_ahead(items: Iterator[T], ahead: int) -> Generator[T, None, None]:
    """The same items, prepared in a thread: while the consumer has one, `ahead` wait for it and the next one is made.

    An exception of `items` is raised in its place. However the consumer ends (to the end, by `break`, by an exception,
    by Ctrl-C, by garbage collection, by the interpreter's exit), the thread ends after the item that it is working on.
    """
    is_finalizing = sys.is_finalizing  # modules may be empty by then
    pool = ThreadPoolExecutor(1, thread_name_prefix="dali_mixup ahead")
    waiting: deque[Future[Any]] = deque()
    try:
        for _ in range(ahead + 1):
            waiting.append(pool.submit(next, items, END))
        while (item := waiting.popleft().result()) is not END:
            waiting.append(pool.submit(next, items, END))
            yield item
            del item  # so that its memory is free while the next item is awaited
    finally:
        if not is_finalizing():  # all threads have ended by then
            pool.shutdown(cancel_futures=True)
