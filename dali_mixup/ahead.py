"""An iterator that works ahead of its consumer in a thread of its own."""

import atexit
import threading
import weakref
from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")
POLL = 0.1  # seconds after which a waiting worker looks whether it should stop


def run_ahead(items: Iterator[T], ahead: int) -> Generator[T, None, None]:
    """The same items, prepared in a thread, at most `ahead` of them before they are asked for.

    An exception of `items` is raised in its place. However the consumer ends (to the end, by `break`, by an exception,
    by Ctrl-C, by garbage collection, by the interpreter's exit), the thread ends after the item that it is working on.
    """
    worker = _Worker(items, ahead)
    stop_at_exit = weakref.WeakMethod(worker.stop)
    at_exit = lambda: (stop := stop_at_exit()) and stop()  # noqa: E731
    atexit.register(at_exit)
    try:
        worker.thread.start()  # where Ctrl-C may come, too
        while True:
            kind, value = worker.queue.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value  # so that its memory is free while the next item is awaited
    finally:
        worker.stop()
        atexit.unregister(at_exit)


class _Worker:
    def __init__(self, items: Iterator, ahead: int):
        self.queue: Queue = Queue(ahead)
        self.stopped, self.ended = threading.Event(), threading.Event()
        work = (items, self.queue, self.stopped, self.ended)
        self.thread = threading.Thread(target=_work, args=work, name="dali_mixup ahead", daemon=True)

    def stop(self) -> None:
        """End the thread and wait for it."""
        self.stopped.set()
        while True:  # a full queue would keep the items' memory
            try:
                self.queue.get_nowait()
            except Empty:
                break
        if not self.thread.is_alive():  # it ended, or Ctrl-C came while it started
            self.ended.wait(POLL)
        if self.thread.is_alive():
            self.thread.join()


def _work(items: Iterator, queue: Queue, stopped: threading.Event, ended: threading.Event) -> None:
    try:
        if stopped.is_set():
            return
        for item in items:
            if not _put(queue, ("item", item), stopped):
                return
            del item
        _put(queue, ("end", None), stopped)
    except BaseException as error:  # noqa: BLE001  it is raised in the consumer's thread
        _put(queue, ("error", error), stopped)
    finally:
        ended.set()


def _put(queue: Queue, entry: tuple, stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            queue.put(entry, timeout=POLL)
        except Full:
            continue
        return True
    return False
