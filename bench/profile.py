"""Is my training waiting for data? Where does a step's time go, and which setting is most worth changing?

Three measurements: training as it is; the loader alone, drained as fast as it delivers; and training with an ideal
loader, which replays batches that lie in memory. Give a folder and a pipeline, or a function of yours that returns
`(loader, step)`, where `step(images, targets)` runs one training step.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median_low
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

import dali_mixup as dm
from bench.cpu import cores
from bench.feed import find_files, forever
from bench.measure import Result, Timing, synchronize
from bench.options import add_outputs, save
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_table, make_stamp

EXAMPLES = """examples:
  python -m bench.profile path/to/train
  python -m bench.profile path/to/train --pipeline pipelines.finetune:train --size 160 --batch-size 32 --steps 40
  python -m bench.profile --of my_training:build        # def build(): return loader, step
"""
Step = Callable[[torch.Tensor, torch.Tensor], object]
REPLAYED = 4  # batches kept in memory for the ideal loader
WAITING = 0.05  # a training that waits for less of its time than this has nothing to gain from its loader
WORTHWHILE = 1.03


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


def profile(loader: Any, step: Step, *, steps: int, progress: bool = True) -> Profile:
    """Measure a loader and a training step.

    Args:
        loader: re-iterable, yields (images, targets).
        step: runs one training step.
        steps: how many to time of each kind.
        progress: show a bar on stderr.
    """
    with tqdm(total=3 * steps, desc="profile", leave=False, disable=not progress) as bar:
        kept, waits, trains = _run(loader, step, steps, bar)
        ideal = _replay(kept, step, steps, bar)
        before = loader.stats() if isinstance(loader, dm.Loader) else None
        alone = _drain(loader, steps, bar)
        after = loader.stats() if isinstance(loader, dm.Loader) else None
    parts: dict[str, float | None] = dict.fromkeys(("decode", "resize", "stage"))
    if before is not None and after is not None:
        batches = max(1, after.batches - before.batches)
        parts = {name: (getattr(after, name) - getattr(before, name)) / batches for name in parts}
    return Profile(
        step=median_low([wait + train for wait, train in zip(waits, trains, strict=True)]),
        wait=median_low(waits),
        train=median_low(trains),
        ideal=ideal,
        loader=alone,
        **parts,
    )


def advise(measured: Profile, gains: dict[str, float]) -> str:
    """The one setting most worth changing.

    Args:
        measured: what `profile` gave.
        gains: how many times faster the loader alone ran with each change, by its description.
    """
    share = measured.wait / measured.step
    if share < WAITING:
        return (
            f"Training waits for data {share:.0%} of its time: the loader is fast enough; only a faster model "
            "or device helps."
        )
    best = max(gains, key=lambda change: gains[change], default="")
    if best and gains[best] >= WORTHWHILE:
        return f"Most worth changing: {best}. The loader alone then ran {gains[best]:.2f} times as fast."
    if measured.decode is None:
        return "Most worth changing: the loader itself; dali_mixup.Loader takes the same folder (see bench.throughput)."
    if measured.decode > (measured.resize or 0) + (measured.stage or 0):
        return (
            "Most worth changing: the files. Decoding bounds the loader: store images smaller, give it more "
            "cores, or decode on a GPU."
        )
    return "Most worth changing: the number of cores; resizing and mixing bound the loader."


def measure_changes(build: Callable[..., dm.Loader], steps: int, *, progress: bool = True) -> dict[str, float]:
    """How many times faster the loader runs alone with each of a few changes, in turns with the loader as it is."""
    changes: dict[str, dict[str, Any]] = {
        f"num_threads={count}": {"num_threads": count} for count in (cores(), cores() + 1, 2 * cores())
    }
    changes |= {
        "prefetch=4": {"prefetch": 4},
        "memory_format=torch.channels_last": {"memory_format": torch.channels_last},
        "dtype=torch.bfloat16": {"dtype": torch.bfloat16},
    }
    rates: dict[str, list[float]] = {name: [] for name in changes}
    with tqdm(total=3 * 2 * len(changes), desc="settings", leave=False, disable=not progress) as bar:
        for _ in range(3):
            for name, options in changes.items():
                seconds = [_drain(build(**kind), steps) for kind in ({}, options)]
                rates[name].append(seconds[0] / seconds[1])
                bar.update(2)
    return {name: median_low(values) for name, values in rates.items()}


def describe(measured: Profile, batch_size: int, advice: str, stamp: object) -> str:
    """A table of the parts, what training would gain, and the advice."""
    rows = [
        ["training step, as it is", measured.step],
        ["  waiting for data", measured.wait],
        ["  training", measured.train],
        ["training step, ideal loader", measured.ideal],
        ["loader alone, per batch", measured.loader],
        ["  read + decode", measured.decode],
        ["  resize / augment", measured.resize],
        ["  stage", measured.stage],
    ]
    cells = [
        [
            name,
            f"{seconds * 1e3:.1f}",
            f"{batch_size / seconds:.0f}" if not name.startswith(" ") else "",
            f"{seconds / measured.step:.0%}",
        ]
        for name, seconds in rows
        if seconds is not None
    ]
    table = format_table(["per step", "ms", "images/s", "of the step"], cells)
    gain = f"With an ideal loader training would run {measured.step / measured.ideal:.2f} times as fast."
    return f"{table}\n\n{gain}\n{advice}\n{stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    if (options.data is None) == (options.of is None):
        print("bench.profile: give DATA or --of module:function, one of the two", file=sys.stderr)
        return 2
    gains: dict[str, float] = {}
    if options.of:
        loader, step = _load(options.of)()
    else:
        build = _builder(options)
        loader = build()
        step = _small_network_step(max(loader.dataset.targets) + 1, loader.device)
    measured = profile(loader, step, steps=options.steps)
    if not options.of and measured.wait / measured.step >= WAITING:
        gains = measure_changes(_builder(options), max(4, options.steps // 4))
    advice, stamp = advise(measured, gains), make_stamp()
    batch_size = len(next(iter(loader))[0])
    print(describe(measured, batch_size, advice, stamp))
    settings = {name: getattr(options, name) for name in ("data", "of", "pipeline", "size", "steps")} | {
        "batch_size": batch_size
    }
    derived = {"seconds": asdict(measured), "gains": gains, "advice": advice}
    report = Report(benchmark="profile", unit="steps", settings=settings, stamp=stamp, results=(), derived=derived)
    save(report, options, lambda path: _plot(measured, path, str(stamp)))
    return 0


def _run(loader: Any, step: Step, steps: int, bar: tqdm) -> tuple[list, list[float], list[float]]:
    """Real training: the last batches, and seconds of waiting and of training for each step."""
    kept, waits, trains = [], [], []
    stream = forever(loader)
    for _ in range(steps + 2):  # the first ones warm up
        start = time.perf_counter()
        images, targets = next(stream)
        arrived = time.perf_counter()
        step(images, targets)
        synchronize(images.device)
        waits.append(arrived - start)
        trains.append(time.perf_counter() - arrived)
        kept = [*kept, (images.clone(), targets.clone())][-REPLAYED:]
        bar.update()
    stream.close()
    return kept, waits[2:], trains[2:]


def _replay(kept: list, step: Step, steps: int, bar: tqdm) -> float:
    seconds = []
    for i in range(steps):
        start = time.perf_counter()
        step(*kept[i % len(kept)])
        synchronize(kept[0][0].device)
        seconds.append(time.perf_counter() - start)
        bar.update()
    return median_low(seconds)


def _drain(loader: Any, steps: int, bar: tqdm | None = None) -> float:
    """Seconds per batch of the loader alone."""
    stream = forever(loader)
    device = next(stream)[0].device
    next(stream)
    start = time.perf_counter()
    for _ in range(steps):
        next(stream)
        if bar is not None:
            bar.update()
    synchronize(device)
    seconds = (time.perf_counter() - start) / steps
    stream.close()
    return seconds


def _builder(options: argparse.Namespace) -> Callable[..., dm.Loader]:
    paths, labels = find_files(options.data, None)
    dataset = dm.FileList(paths, labels)
    pipeline = _load(options.pipeline)(options.size)
    defaults = {"batch_size": options.batch_size, "shuffle": True, "drop_last": True, "mixup": dm.MixUp()}
    return lambda **changes: dm.Loader(dataset, pipeline, **(defaults | changes))


def _small_network_step(classes: int, device: torch.device) -> Step:
    """A training step of a small convolutional network, for want of the user's own."""
    layers = [
        nn.Conv2d(3, 16, 7, 4),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    model = nn.Sequential(*layers, nn.Linear(32, int(classes))).to(device)
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


def _plot(measured: Profile, path: str, title: str) -> None:
    rates = {"as it is": measured.step, "ideal loader": measured.ideal, "loader alone": measured.loader}
    bars = [
        Result(name=name, label=name, timings=(Timing(items=1, seconds=seconds),)) for name, seconds in rates.items()
    ]
    draw_bars(bars, path, axis="steps/s", title=title.split(";")[0], colors={"ideal loader": OURS_COLOR})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", nargs="?", help="a folder of images, or of one folder per class")
    parser.add_argument("--of", metavar="MODULE:FUNCTION", help="returns your loader and your training step")
    parser.add_argument(
        "--pipeline",
        default="pipelines.imagenet:train",
        metavar="MODULE:FUNCTION",
        help="of DATA (default %(default)s)",
    )
    parser.add_argument("--size", type=int, default=224, help="the pipeline's size (default 224)")
    parser.add_argument("--batch-size", type=int, default=64, help="images per batch (default 64)")
    parser.add_argument("--steps", type=int, default=30, help="steps to time of each kind (default 30)")
    add_outputs(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
