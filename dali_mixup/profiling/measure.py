"""Where the time of a training step goes: the training as it is, its loader alone, and with an ideal loader.

An ideal loader is one whose batches lie in memory, and which takes no core.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from tqdm import trange

from dali_mixup.loader import Loader

Step = Callable[[torch.Tensor, Any], object]
WARMUP = 2  # steps
REPLAYED = 4  # batches kept in memory for the ideal loader
PARTS = ("decode", "resize", "stage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Seconds per step: means, since a step that waits long for several batches stands for those, too.

    Attributes:
        step: a whole step of the training as it is.
        wait: of which it waited for data.
        train: of which it trained.
        ideal: a step with batches that lie in memory.
        loader: a batch from the loader alone, drained as fast as it delivers.
        decode: of which its worker waited for reading and decoding; None for a loader that keeps no `stats()`.
        resize: of which it resized or, with `augment`, waited for DALI to do so.
        stage: of which it mixed, normalized, cast and laid out.
        busy: how many cores this process kept busy while the loader ran alone; None for a loader with processes of its
            own.
        cores: that this process may use.
        shared: whether training and loader run on the same cores: on a CPU.
    """

    step: float
    wait: float
    train: float
    ideal: float
    loader: float
    decode: float | None = None
    resize: float | None = None
    stage: float | None = None
    busy: float | None = None
    cores: int = 1
    shared: bool = True


def profile(loader: Iterable[Any], step: Step, *, steps: int) -> Profile:
    """Measure a loader and a training step, `steps` times each.

    Args:
        loader: yields (images, targets) anew each time it is iterated: a `Loader`, torch's DataLoader, any other.
        step: one training step, `step(images, targets)`.
        steps: to time of each kind.
    """
    kept, waits, trains = _train(loader, step, steps)
    device = kept[0][0].device
    ideal = sum(_seconds(partial(step, *batch), device) for batch in islice(cycle(kept), steps)) / steps
    before = loader.stats() if isinstance(loader, Loader) else None
    alone, busy = drain(loader, steps)
    parts: dict[str, float | None] = dict.fromkeys(PARTS)
    if isinstance(loader, Loader) and before is not None:
        after = loader.stats()
        batches = max(1, after.batches - before.batches)
        parts = {name: (getattr(after, name) - getattr(before, name)) / batches for name in PARTS}
    return Profile(
        step=(sum(waits) + sum(trains)) / steps,
        wait=sum(waits) / steps,
        train=sum(trains) / steps,
        ideal=ideal,
        loader=alone,
        busy=None if getattr(loader, "num_workers", 0) else busy,
        cores=len(os.sched_getaffinity(0)),
        shared=device.type == "cpu",
        **parts,
    )


def drain(loader: Iterable[Any], batches: int) -> tuple[float, float]:
    """Seconds per batch of the loader alone, and how many cores this process kept busy meanwhile."""
    with closing(forever(loader)) as stream:
        device = next(stream)[0].device
        next(stream)
        _wait_for(device)
        start, before = time.perf_counter(), time.process_time()
        for _ in range(batches):
            next(stream)
        _wait_for(device)
        seconds = time.perf_counter() - start
        return seconds / batches, (time.process_time() - before) / seconds


def forever(loader: Iterable[Any]) -> Generator[Any, None, None]:
    """Batches, epoch after epoch."""
    while True:
        count = 0
        for count, batch in enumerate(loader, 1):  # noqa: B007  it tells whether there was one
            yield batch
        if not count:
            raise ValueError(
                "the loader gave no batch in an epoch; it must be one that can be iterated again and again"
            )


def _train(loader: Iterable[Any], step: Step, steps: int) -> tuple[list[tuple], list[float], list[float]]:
    """Real training: the last batches, and seconds of waiting and of training for each step."""
    kept: list[tuple] = []
    waits, trains = [], []
    with closing(forever(loader)) as stream:
        for _ in trange(WARMUP + steps, desc="training", leave=False):
            start = time.perf_counter()
            images, targets = next(stream)
            arrived = time.perf_counter()
            step(images, targets)
            _wait_for(images.device)
            waits.append(arrived - start)
            trains.append(time.perf_counter() - arrived)
            kept = [*kept, (images.clone(), targets)][-REPLAYED:]
    return kept, waits[WARMUP:], trains[WARMUP:]


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
