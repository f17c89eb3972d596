"""Is my training waiting for data? Where does a step's time go, and which setting is most worth changing?

Three measurements: training as it is; the loader alone, drained as fast as it delivers; and training with an ideal
loader, which replays batches that lie in memory. Give a folder and a pipeline, or a function of yours that returns
`(loader, step)`, where `step(images, targets)` runs one training step.

Examples:
    python -m bench.profile path/to/train
    python -m bench.profile path/to/train --pipeline pipelines.finetune:train --size 160 --batch-size 32 --steps 40
    python -m bench.profile --of my_training:build        # def build(): return loader, step
"""

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from statistics import median_low
from typing import Any

import torch
from torch import nn
from tqdm import trange

import dali_mixup as dm
from bench.command import Bench, Found, argument, option
from bench.feed import find_files, forever
from bench.machine import cores
from bench.measure import Result, Timing, synchronize, time_calls
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_table

Step = Callable[[torch.Tensor, torch.Tensor], object]
WARMUP = 2  # steps
REPLAYED = 4  # batches kept in memory for the ideal loader
WAITING = 0.05  # a training that waits for less of its time than this has nothing to gain from its loader
WORTHWHILE = 1.03
ROUNDS = 3  # of each change of a setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str | None = argument("a folder of images, or of one folder per class", optional=True)
    of: str | None = option(None, "MODULE:FUNCTION that returns your loader and your training step")
    pipeline: str = option("pipelines.imagenet:train", "MODULE:FUNCTION, of DATA")
    size: int = option(224, "the pipeline's size")
    batch_size: int = option(64, "images per batch")
    steps: int = option(30, "steps to time of each kind")

    def __post_init__(self):
        if (self.data is None) == (self.of is None):
            raise ValueError("give DATA or --of module:function, one of the two")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Seconds per step, medians where a step can be timed by itself and means otherwise.

    Attributes:
        step: a whole step of the training as it is.
        wait: of which it waited for data.
        train: of which it trained.
        ideal: a step with batches that lie in memory.
        loader: a batch from the loader alone, drained.
        decode: of which its worker waited for reading and decoding; None for a loader that keeps no `stats()`.
        resize: of which it resized or, with `augment`, waited for DALI to do so.
        stage: of which it mixed, normalized, cast and laid out.
    """

    step: float
    wait: float
    train: float
    ideal: float
    loader: float
    decode: float | None
    resize: float | None
    stage: float | None


PARTS = {
    "training step, as it is": "step",
    "  waiting for data": "wait",
    "  training": "train",
    "training step, ideal loader": "ideal",
    "loader alone, per batch": "loader",
    "  read + decode": "decode",
    "  resize / augment": "resize",
    "  stage": "stage",
}


def profile(loader: Any, step: Step, *, steps: int) -> Profile:
    """Measure a loader, which is re-iterable and yields (images, targets), and a training step, `steps` times each."""
    kept, waits, trains = _train(loader, step, steps)
    device = kept[0][0].device
    replays = [time_calls(partial(step, *batch), calls=1, device=device) for batch in islice(cycle(kept), steps)]
    before = loader.stats() if isinstance(loader, dm.Loader) else None
    alone = _drain(loader, steps)
    parts: dict[str, float | None] = dict.fromkeys(("decode", "resize", "stage"))
    if before is not None:
        after = loader.stats()
        batches = max(1, after.batches - before.batches)
        parts = {name: (getattr(after, name) - getattr(before, name)) / batches for name in parts}
    return Profile(
        step=median_low([wait + train for wait, train in zip(waits, trains, strict=True)]),
        wait=median_low(waits),
        train=median_low(trains),
        ideal=median_low([timing.seconds for timing in replays]),
        loader=alone,
        **parts,
    )


def _train(loader: Any, step: Step, steps: int) -> tuple[list, list[float], list[float]]:
    """Real training: the last batches, and seconds of waiting and of training for each step."""
    kept, waits, trains = [], [], []
    with closing(forever(loader)) as stream:
        for _ in trange(WARMUP + steps, desc="training", leave=False):
            start = time.perf_counter()
            images, targets = next(stream)
            arrived = time.perf_counter()
            step(images, targets)
            synchronize(images.device)
            waits.append(arrived - start)
            trains.append(time.perf_counter() - arrived)
            kept = [*kept, (images.clone(), targets.clone())][-REPLAYED:]
    return kept, waits[WARMUP:], trains[WARMUP:]


def _drain(loader: Any, steps: int) -> float:
    """Seconds per batch of the loader alone."""
    with closing(forever(loader)) as stream:
        device = next(stream)[0].device
        next(stream)
        return time_calls(lambda: next(stream), calls=steps, device=device).seconds / steps


def measure_changes(build: Callable[..., dm.Loader], steps: int) -> dict[str, float]:
    """How many times faster the loader runs alone with each of a few changes, in turns with the loader as it is."""
    changed = {f"num_threads={n}": partial(build, num_threads=n) for n in (cores(), cores() + 1, 2 * cores())}
    changed["prefetch=4"] = partial(build, prefetch=4)
    changed["memory_format=torch.channels_last"] = partial(build, memory_format=torch.channels_last)
    changed["dtype=torch.bfloat16"] = partial(build, dtype=torch.bfloat16)
    rates: dict[str, list[float]] = {name: [] for name in changed}
    for _ in trange(ROUNDS, desc="settings", leave=False):
        for name, build_changed in changed.items():
            before, after = _drain(build(), steps), _drain(build_changed(), steps)
            rates[name].append(before / after)
    return {name: median_low(values) for name, values in rates.items()}


def advise(measured: Profile, gains: dict[str, float]) -> str:
    """The one setting most worth changing.

    Args:
        measured: what `profile` gave.
        gains: how many times faster the loader alone ran with each change, by its description.
    """
    share = measured.wait / measured.step
    if share < WAITING:
        enough = "the loader is fast enough; only a faster model or device helps."
        return f"Training waits for data {share:.0%} of its time: {enough}"
    best = max(gains, key=lambda change: gains[change], default="")
    if best and gains[best] >= WORTHWHILE:
        return f"Most worth changing: {best}. The loader alone then ran {gains[best]:.2f} times as fast."
    if measured.decode is None:
        return "Most worth changing: the loader itself; dali_mixup.Loader takes the same folder (see bench.throughput)."
    if measured.decode > (measured.resize or 0) + (measured.stage or 0):
        ways = "store images smaller, give it more cores, or decode on a GPU."
        return f"Most worth changing: the files. Decoding bounds the loader: {ways}"
    return "Most worth changing: the number of cores; resizing and mixing bound the loader."


def measure(options: Options) -> Iterator[Found]:
    """The profile, and for a folder what other settings would gain."""
    gains: dict[str, float] = {}
    if options.of:
        loader, step = _load(options.of)()
        measured = profile(loader, step, steps=options.steps)
    else:
        build = _builder(options)
        loader = build()
        step = _small_network_step(int(max(loader.dataset.targets)) + 1, loader.device)
        measured = profile(loader, step, steps=options.steps)
        if measured.wait / measured.step >= WAITING:
            gains = measure_changes(build, max(4, options.steps // 4))
    derived = {"seconds": asdict(measured), "gains": gains, "advice": advise(measured, gains)}
    yield Found(derived=derived, settings={"batch_size": len(next(iter(loader))[0])})


def describe(report: Report) -> str:
    """A table of the parts, what training would gain, and the advice."""
    seconds, rows = report.derived["seconds"], []
    for label, name in PARTS.items():
        if (each := seconds[name]) is not None:
            rate = "" if label.startswith(" ") else f"{report.settings['batch_size'] / each:.0f}"
            rows.append([label, f"{each * 1e3:.1f}", rate, f"{each / seconds['step']:.0%}"])
    table = format_table(["per step", "ms", "images/s", "of the step"], rows)
    gain = f"With an ideal loader training would run {seconds['step'] / seconds['ideal']:.2f} times as fast."
    return f"{table}\n\n{gain}\n{report.derived['advice']}"


def plot(report: Report, path: str) -> None:
    """Bars."""
    seconds = report.derived["seconds"]
    bars = {"as it is": seconds["step"], "ideal loader": seconds["ideal"], "loader alone": seconds["loader"]}
    results = [Result(name=name, timings=(Timing(items=1, seconds=each),)) for name, each in bars.items()]
    draw_bars(replace(report, results=tuple(results)), path, axis="steps/s", colors={"ideal loader": OURS_COLOR})


def _builder(options: Options) -> Callable[..., dm.Loader]:
    """Loaders over DATA, with settings of one's choice."""
    dataset = dm.FileList(*find_files(options.data or ""))
    pipeline = _load(options.pipeline)(options.size)
    batch_size = options.batch_size
    return partial(dm.Loader, dataset, pipeline, batch_size=batch_size, shuffle=True, drop_last=True, mixup=dm.MixUp())


def _small_network_step(classes: int, device: torch.device) -> Step:
    """A training step of a small convolutional network, for want of the user's own."""
    first, second = nn.Conv2d(3, 16, 7, 4), nn.Conv2d(16, 32, 3, 2)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes)]
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *head).to(device)
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.01), dm.MixUpLoss(nn.CrossEntropyLoss())

    def step(images: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=images.dtype != torch.float32):
            criterion(model(images), targets).backward()
        optimizer.step()

    return step


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


bench = Bench("profile", __doc__, Options, measure, describe, unit="steps", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
