"""`bench.cifar10` on the CIFAR-10 that `python -m bench.gpu_check prepare` packed, from arrays, with mixup.

Examples:
    python -m bench.gpu_cifar10 prepared/cifar10 --json cifar10.json
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dali_mixup as dm
from bench.cifar10 import Recipe, train
from bench.command import Bench, Found, argument, best_device, option
from bench.gpu_data import SPLITS, read_sheet
from bench.report import GPU_PACKAGES, Report, format_table

GOAL = 0.94
IMAGES = 50_000  # fewer are no CIFAR-10, and can't reach it


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to train."""

    data: str = argument("the folder cifar10 that `prepare` made")
    epochs: int = option(Recipe().epochs, "of each training")
    seeds: tuple[int, ...] = option((0, 1), "one training each; the first one also compiles")
    batch_size: int = option(Recipe().batch_size, "images per step")
    alpha: float = option(0.2, "of mixup")
    images: int | None = option(None, "so many of each split, evenly over the classes (default all)")
    device: str = option(best_device, "where the images lie")


def measure(options: Options) -> Iterator[Found]:
    """One training after the other."""
    root = Path(options.data)
    train_images, test_images = (read_sheet(root / split, options.device, options.images) for split in SPLITS)
    runs = []
    for seed in options.seeds:
        mixup = dm.MixUp(alpha=options.alpha)
        recipe = replace(Recipe(), mixup=mixup, epochs=options.epochs, batch_size=options.batch_size, seed=seed)
        outcome = asdict(train(train_images, test_images, recipe, f"seed {seed}"))
        seconds = time_to(GOAL, outcome["epochs"], outcome["averaged"])
        runs.append({"name": f"seed {seed}", "outcome": outcome, "seconds_to_goal": seconds})
        yield Found(derived={"images": len(train_images), "runs": list(runs)})


def time_to(goal: float, epochs: list[dict[str, float]], averaged: float) -> float | None:
    """Seconds of training to a test accuracy without averaging, else with it at the end; None if it never came."""
    seconds = 0.0
    for epoch in epochs:
        seconds += epoch["seconds"]
        if epoch["test_accuracy"] >= goal:
            return seconds
    return seconds if averaged >= goal else None


def describe(report: Report) -> str:
    """How long each training took to 94%."""
    rows = []
    for run in report.derived["runs"]:
        outcome, there = run["outcome"], run["seconds_to_goal"]
        total = sum(epoch["seconds"] for epoch in outcome["epochs"])
        accuracies = [f"{outcome['accuracy']:.4f}", f"{outcome['averaged']:.4f}"]
        seconds = ["never" if there is None else f"{there:.1f}", f"{total:.1f}"]
        rows.append([run["name"], *accuracies, *seconds, f"{outcome['waiting']:.3f}"])
    return format_table(["", "accuracy", "averaged", "s of training to 94%", "s in all", "waiting for data"], rows)


bench = Bench("gpu_cifar10", __doc__, Options, measure, describe, unit="", packages=GPU_PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
