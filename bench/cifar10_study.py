"""What the post about mixup on CIFAR-10 claims, tested.

Five ways of mixing, paired by seed, over a shorter and a longer training.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dali_mixup as dm
from bench.cifar10_runs import FIGURES, Outcome, Runs, plus_minus
from bench.report import format_table

ALPHA = 0.4
VARIANTS = {
    "no mixup": None,
    "one lam per batch": dm.MixUp(ALPHA, per_sample=False, fold=False, partner="permutation"),
    "lam per image": dm.MixUp(ALPHA, fold=False, partner="permutation"),
    "lam per image, fold": dm.MixUp(ALPHA, partner="permutation"),
    "lam per image, fold, cycle": dm.MixUp(ALPHA),
}
SEEDS = (0, 1, 2)
LENGTHS = (3, 10)  # epochs
THRESHOLDS = (0.8, 0.9)  # of accuracy
SMALL = {"channels": (32, 96, 96), "batch_size": 500, "smoothing": 0.0}  # a third of the time, for thirty trainings
COMPARED = (  # what differs, one way of mixing, the other
    ("mixup against none", "lam per image, fold, cycle", "no mixup"),
    ("lam per image against per batch", "lam per image", "one lam per batch"),
    ("fold against none", "lam per image, fold", "lam per image"),
    ("cycle against permutation", "lam per image, fold, cycle", "lam per image, fold"),
)


DIFFERENCES = {  # of outcomes: (the figure's name, its factor)
    "accuracy (points)": ("accuracy", 100),
    "averaged (points)": ("averaged", 100),
    "train loss": ("train_loss", 1),
    "test loss": ("test_loss", 1),
    "ECE (points)": ("ece", 100),
}


def run(train: Callable[[Any, str], Outcome], recipe: Any, json: str | None, plot: str | None) -> int:
    """Train what `json` doesn't hold yet, then print tables and draw curves.

    Args:
        train: trains from the beginning, from a recipe and a name for people.
        recipe: a dataclass with `epochs`, `mixup`, `seed`, `channels`, `batch_size` and `smoothing`.
        json: the file of all trainings.
        plot: the file of the chart.
    """
    runs = Runs("cifar10_study", json)
    for seed in SEEDS:
        for epochs in LENGTHS:
            for variant, mixup in VARIANTS.items():
                name = f"{variant}, {epochs} epochs"
                if not runs.holds(name, seed):
                    chosen = replace(recipe, epochs=epochs, mixup=mixup, seed=seed, **SMALL)
                    runs.add(name, chosen, train(chosen, f"{name}, seed {seed}"))
    print(f"{describe_differences(runs)}\n\n{describe_speed(runs)}\n")
    runs.show(plot)
    return 0


def describe_differences(runs: Runs) -> str:
    """Each comparison's difference within a seed, which shares initial weights, order and crops."""
    rows = []
    for epochs in LENGTHS:
        for label, one, other in COMPARED:
            ones, others = runs.by_seed(f"{one}, {epochs} epochs"), runs.by_seed(f"{other}, {epochs} epochs")
            both, cells = sorted(ones.keys() & others.keys()), []
            for name, factor in DIFFERENCES.values():
                of = FIGURES[name].of
                cells.append(plus_minus([factor * (of(ones[seed]) - of(others[seed])) for seed in both], 3))
            rows.append([label, str(epochs), str(len(both)), *cells])
    note = "Differences within a seed: mean and standard deviation."
    return f"{format_table(['', 'epochs', 'seeds', *DIFFERENCES], rows)}\n\n{note}"


def describe_speed(runs: Runs) -> str:
    """After how many epochs each variant's test accuracy reached the thresholds."""
    rows = []
    for name, outcomes in runs.by_name().items():
        row = [name]
        for threshold in THRESHOLDS:
            reached = [n for n in (epochs_to(threshold, outcome) for outcome in outcomes) if n < math.inf]
            row += [f"{len(reached)} of {len(outcomes)}", plus_minus(reached, 2) if reached else "-"]
        rows.append(row)
    header = [text for threshold in THRESHOLDS for text in (f"seeds that reach {threshold:.0%}", "epochs until then")]
    return format_table(["", *header], rows)


def epochs_to(threshold: float, outcome: dict[str, Any]) -> float:
    """The first epoch whose test accuracy is `threshold`, between two by a straight line; infinite if there is none."""
    before = 0.0
    for number, epoch in enumerate(outcome["epochs"]):
        after = epoch["test_accuracy"]
        if after >= threshold:
            return number + (threshold - before) / (after - before)
        before = after
    return math.inf
