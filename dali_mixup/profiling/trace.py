"""What a Loader does when, and in which thread, beside the training: events, and a file for Chrome or Perfetto.

Classes are wrapped while a trace is taken and put back at its end, so that a Loader which isn't traced does nothing for
it.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from dali_mixup.dataset.dataset import ReadableDataset
from dali_mixup.decode.decoder import Decoder
from dali_mixup.decode.faults import Faults
from dali_mixup.decode.pixels import PixelDecoder
from dali_mixup.loader import Loader
from dali_mixup.plan.plan import Plan
from dali_mixup.profiling.measure import Step, forever
from dali_mixup.stage.cpu import CpuStage
from dali_mixup.stage.whole_batch import WholeBatchStage

KINDS = ("plan", "read", "decode", "stage", "wait", "step")
MICROSECONDS = 1e6


class Event(NamedTuple):
    """Something that took its time.

    Attributes:
        name: one of `KINDS`.
        thread: in which it happened.
        start: in seconds.
        end: likewise.
    """

    name: str
    thread: str
    start: float
    end: float


def trace(loader: Iterable[Any], step: Step, *, steps: int) -> list[Event]:
    """The events of `steps` training steps, by their start.

    "plan" and "read" are those of the threads that work ahead; "read" is also what is scanned, or decoded by Pillow.
    "decode" is the wait for DALI. Of a loader that isn't ours there are "wait" and "step" alone.
    """
    events: list[Event] = []

    def record(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(function)
            def timed(*arguments: Any, **options: Any) -> Any:
                start = time.perf_counter()
                try:
                    return function(*arguments, **options)
                finally:
                    events.append(Event(name, threading.current_thread().name, start, time.perf_counter()))

            return timed

        return wrap

    with _wrapped(record, loader):
        stream, thread = forever(loader), threading.current_thread().name
        try:
            for _ in range(steps):
                start = time.perf_counter()
                images, targets = next(stream)
                arrived = time.perf_counter()
                step(images, targets)
                events += [
                    Event("wait", thread, start, arrived),
                    Event("step", thread, arrived, time.perf_counter()),
                ]
        finally:
            stream.close()
    return sorted(events, key=lambda event: event.start)


def save_chrome(events: Iterable[Event], file: Path) -> None:
    """Write events for chrome://tracing or ui.perfetto.dev: complete ("X") events in microseconds."""
    events = list(events)
    threads = {name: number for number, name in enumerate(dict.fromkeys(event.thread for event in events), 1)}
    first, process = min((event.start for event in events), default=0.0), os.getpid()
    named = [
        {"ph": "M", "name": "thread_name", "pid": process, "tid": number, "args": {"name": name}}
        for name, number in threads.items()
    ]
    lasting = [
        {
            "ph": "X",
            "name": event.name,
            "cat": "dali_mixup",
            "pid": process,
            "tid": threads[event.thread],
            "ts": MICROSECONDS * (event.start - first),
            "dur": MICROSECONDS * (event.end - event.start),
        }
        for event in events
    ]
    file.write_text(json.dumps({"traceEvents": [*named, *lasting], "displayTimeUnit": "ms"}))


@contextmanager
def _wrapped(record: Callable[[str], Callable], loader: Iterable[Any]) -> Iterator[None]:
    """Time what a Loader does, until the end of the block."""
    hooks: list[tuple[type, str, str]] = [
        (Plan, "batch", "plan"),
        (Faults, "check", "read"),
        (Decoder, "_run", "decode"),
        (PixelDecoder, "next", "decode"),
        (CpuStage, "__call__", "stage"),
        (WholeBatchStage, "__call__", "stage"),
    ]
    if isinstance(loader, Loader) and isinstance(loader.dataset, ReadableDataset):
        hooks.append((type(loader.dataset), "read", "read"))
    with ExitStack() as patched:
        for owner, name, kind in hooks:
            patched.enter_context(patch.object(owner, name, record(kind)(getattr(owner, name))))
        yield
