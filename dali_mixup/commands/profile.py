"""`dali-mixup profile`: whether a training waits for its data, why, and what to do about it."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import trange

from dali_mixup.commands.arguments import Commands, add_command, writable
from dali_mixup.commands.folders import find_splits, open_source
from dali_mixup.commands.text import draw_table
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.loader import Loader
from dali_mixup.mixing.loss import MixUpLoss
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.profiling.advice import WORTHWHILE, advise
from dali_mixup.profiling.measure import Profile, Step, drain, profile
from dali_mixup.profiling.timeline import draw_timeline
from dali_mixup.profiling.trace import save_chrome, trace

ROUNDS = 3  # of each change of a setting
TRACED = 12  # steps
PURPOSE = "is a training waiting for its data, and why"
EXAMPLES = """\
examples:
  dali-mixup profile photos                     a small network on them, for want of your own
  dali-mixup profile photos --pipeline dali_mixup.pipelines.finetune:train --size 160 --batch-size 32
  dali-mixup profile --of my_training:build     yours: def build(): return loader, step
                                                where step(images, targets) trains once, and the loader is any that
                                                can be iterated again and again, torch's DataLoader too
  dali-mixup profile --of my_training:build --plot timeline.png --trace trace.json
                                                what happens when, as a picture, and for ui.perfetto.dev

"""
TABLE = {
    "training step, as it is": "step",
    "  waiting for data": "wait",
    "  training": "train",
    "training step, ideal loader": "ideal",
    "loader alone, per batch": "loader",
    "  read + decode": "decode",
    "  resize / augment": "resize",
    "  stage": "stage",
}


def add_parser(commands: Commands) -> None:
    """The options of `profile`."""
    parser = add_command(commands, "profile", PURPOSE, examples=EXAMPLES, run=run)
    parser.add_argument(
        "data", type=Path, nargs="?", metavar="DATA", help="a folder of images per class, tars, or a pack"
    )
    parser.add_argument("--of", metavar="MODULE:FUNCTION", help="gives your loader and your training step")
    parser.add_argument(
        "--pipeline",
        metavar="MODULE:FUNCTION",
        default="dali_mixup.pipelines.imagenet:train",
        help="of DATA, called with --size (default: %(default)s)",
    )
    parser.add_argument("--size", type=int, default=224, help="of the pipeline, in pixels (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="of DATA (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="to time of each kind (default: %(default)s)")
    parser.add_argument("--plot", type=writable, metavar="FILE.png", help="draw what happens when")
    parser.add_argument("--trace", type=writable, metavar="FILE.json", help="write it for Chrome or ui.perfetto.dev")


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table and the verdict."""
    if (options.data is None) == (options.of is None):
        raise ValueError("profile takes DATA or --of MODULE:FUNCTION, one of the two")
    if options.steps < 1:
        raise ValueError(must_be("--steps", "at least 1", options.steps))
    gains: dict[str, float] = {}
    if options.of:
        loader, step = _built(options.of)
        measured = profile(loader, step, steps=options.steps)
    else:
        build = _builder(options)
        loader = build()
        step = _small_network_step(loader)
        measured = profile(loader, step, steps=options.steps)
        if measured.wait / measured.step >= WORTHWHILE:
            gains = _measure_changes(build, max(4, options.steps // 4), measured.cores)
    print(_as_table(measured, len(next(iter(loader))[0])))
    verdict = advise(measured, gains)
    print(f"\n{verdict}")
    if options.plot or options.trace:
        events = trace(loader, step, steps=min(TRACED, options.steps))
        if options.plot:
            draw_timeline(events, options.plot, title=verdict.finding)
            print(f"\nwrote {options.plot}")
        if options.trace:
            save_chrome(events, options.trace)
            print(f"wrote {options.trace}; open it in ui.perfetto.dev or chrome://tracing")
    return 0


def _as_table(measured: Profile, batch_size: int) -> str:
    rows = [["per step", "ms", "images/s", "of the step"]]
    for label, name in TABLE.items():
        each = getattr(measured, name)
        if each is not None:
            rate = "" if label.startswith(" ") else f"{batch_size / each:.0f}"
            rows.append([label, f"{each * 1e3:.1f}", rate, f"{each / measured.step:.0%}"])
    return draw_table(rows)


def _measure_changes(build: Callable[..., Loader], batches: int, cores: int) -> dict[str, float]:
    """How many times as fast the loader runs alone with each of a few changes, in turns with the loader as it is."""
    changed = {f"num_threads={n}": partial(build, num_threads=n) for n in (cores, cores + 1, 2 * cores)}
    changed["prefetch=4"] = partial(build, prefetch=4)
    changed["memory_format=torch.channels_last"] = partial(build, memory_format=torch.channels_last)
    changed["dtype=torch.bfloat16"] = partial(build, dtype=torch.bfloat16)
    rates: dict[str, list[float]] = {name: [] for name in changed}
    for _ in trange(ROUNDS, desc="settings", leave=False):
        for name, build_changed in changed.items():
            (before, _), (after, _) = drain(build(), batches), drain(build_changed(), batches)
            rates[name].append(before / after)
    return {name: median_low(values) for name, values in rates.items()}


def _builder(options: argparse.Namespace) -> Callable[..., Loader]:
    """Loaders over DATA, with settings of one's choice."""
    dataset = open_source(next(iter(find_splits(options.data).values())))
    pipeline = find_function(options.pipeline, "--pipeline")(options.size)
    batch_size = min(options.batch_size, len(dataset))
    mixup = MixUp() if dataset.targets.dtype == np.int64 else None
    return partial(Loader, dataset, pipeline, batch_size=batch_size, shuffle=True, drop_last=True, mixup=mixup)


def _small_network_step(loader: Loader) -> Step:
    """A training step of a small convolutional network, for want of the user's own."""
    device, labels = loader.device, loader.dataset.targets
    classes = int(labels.max()) + 1 if labels.dtype == np.int64 else int(np.prod(labels.shape[1:]))
    first, second = nn.Conv2d(3, 16, 7, 4), nn.Conv2d(16, 32, 3, 2)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes)]
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *head).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    criterion = MixUpLoss(nn.CrossEntropyLoss()) if labels.dtype == np.int64 else nn.BCEWithLogitsLoss()

    def step(images: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=images.dtype != torch.float32):
            logits = model(images)
            criterion(logits if labels.dtype == np.int64 else logits.view_as(targets), targets).backward()
        optimizer.step()

    return step


def _built(name: str) -> tuple[Any, Step]:
    """What a user's function gives."""
    made = find_function(name, "--of")()
    if not isinstance(made, tuple) or len(made) != 2 or not callable(made[1]):
        raise DatasetError(must_be(f"what {name} returns", "a loader and a function step(images, targets)", made))
    if not hasattr(made[0], "__iter__"):
        raise DatasetError(must_be(f"the loader that {name} returns", "one that can be iterated", made[0]))
    return made


def find_function(name: str, option: str) -> Callable[..., Any]:
    """The function MODULE:FUNCTION, of modules that are installed or lie in the current folder.

    Raises:
        ValueError: there is no such module or function.
    """
    module, colon, function = name.partition(":")
    if not module or not colon or not function:
        raise ValueError(must_be(option, "MODULE:FUNCTION", name))
    with _current_folder_first():
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise ValueError(f"{option}: {module} needs {error.name}, which isn't installed") from error
            remedy = f"it is neither installed nor in {os.getcwd()}"
            raise ValueError(must_be(option, "MODULE:FUNCTION of a module that exists", name, remedy)) from error
    if not callable(getattr(found, function, None)):
        names = [each for each, value in vars(found).items() if callable(value) and not each.startswith("_")]
        remedy = f"{module} has {', '.join(names[:8]) or 'none'}"
        raise ValueError(must_be(option, "MODULE:FUNCTION of a function that exists", name, remedy))
    return getattr(found, function)


@contextmanager
def _current_folder_first():  # noqa: ANN202  a generator
    """As `python -m` finds modules; an installed command doesn't look there."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
