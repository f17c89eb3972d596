"""Trainings that are done: kept in a JSON file that later trainings add to, as a table, and as curves."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.plots import draw_curves
from bench.report import Report, format_table, make_stamp, read_json, write_json

CURVES = {"train_loss": "train loss, as trained on", "test_loss": "test loss", "test_accuracy": "test accuracy"}
NOTE = (
    "Means and standard deviations over seeds. Averaged: over flips and shifts by a pixel along the diagonal, at test "
    "time."
)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass left.

    Attributes:
        train_loss: mean over the steps, with mixup and smoothing as they are trained on.
        test_loss: cross-entropy on the test images, in nats.
        test_accuracy: from 0 to 1, without averaging.
        seconds: of training.
        waiting: seconds of them that waited for the next batch.
    """

    train_loss: float
    test_loss: float
    test_accuracy: float
    seconds: float
    waiting: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A trained network's figures.

    Attributes:
        epochs: one by one.
        accuracy: on the test images, from 0 to 1.
        averaged: the same with test-time averaging.
        ece: expected calibration error without averaging, 15 bins, from 0 to 1.
        images_per_second: of training.
        waiting: the part of the training's time that waited for the next batch.
    """

    epochs: tuple[Epoch, ...]
    accuracy: float
    averaged: float
    ece: float
    images_per_second: float
    waiting: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of an outcome: what the table calls it, how it is read, and its digits there."""

    header: str
    of: Callable[[dict[str, Any]], float]
    digits: int
    percent: bool = False

    def show(self, outcomes: Sequence[dict[str, Any]]) -> str:
        """Mean and standard deviation."""
        values = [(100 if self.percent else 1) * self.of(outcome) for outcome in outcomes]
        return plus_minus(values, self.digits) + (" %" if self.percent else "")


FIGURES = {
    "accuracy": Figure("accuracy", lambda outcome: outcome["accuracy"], 2, percent=True),
    "averaged": Figure("averaged", lambda outcome: outcome["averaged"], 2, percent=True),
    "train_loss": Figure("train loss", lambda outcome: outcome["epochs"][-1]["train_loss"], 3),
    "test_loss": Figure("test loss", lambda outcome: outcome["epochs"][-1]["test_loss"], 3),
    "ece": Figure("ECE", lambda outcome: outcome["ece"], 4),
    "images_per_second": Figure("images/s", lambda outcome: outcome["images_per_second"], 0),
    "waiting": Figure("waiting", lambda outcome: outcome["waiting"], 2, percent=True),
    "seconds": Figure("s of training", lambda outcome: sum(epoch["seconds"] for epoch in outcome["epochs"]), 0),
}


class Runs:
    """All trainings of a benchmark, those of an earlier call included.

    Args:
        benchmark: its name.
        path: the JSON file, written anew after each training; None for none.
    """

    def __init__(self, benchmark: str, path: str | None):
        self.benchmark, self.path = benchmark, path
        self.stamp = make_stamp()  # before the first training: files may change meanwhile
        earlier = read_json(path).derived["runs"] if path and Path(path).exists() else []
        self.done: list[dict[str, Any]] = earlier

    def holds(self, name: str, seed: int) -> bool:
        """Is this training done?"""
        return seed in self.by_seed(name)

    def add(self, name: str, recipe: Any, outcome: Outcome) -> None:
        """Keep one training, in the place of an earlier one of the same name and seed."""
        run = {"name": name, "recipe": asdict(recipe), "outcome": asdict(outcome), "stamp": asdict(self.stamp)}
        self.done = [run for run in self.done if (run["name"], run["recipe"]["seed"]) != (name, recipe.seed)] + [run]
        if self.path:
            derived, stamp = {"runs": self.done, "summary": self.summary()}, self.stamp
            report = Report(
                benchmark=self.benchmark, unit="images", settings={}, stamp=stamp, results=(), derived=derived
            )
            write_json(report, self.path)

    def by_seed(self, name: str) -> dict[int, dict[str, Any]]:
        """Outcomes of one name."""
        return {run["recipe"]["seed"]: run["outcome"] for run in self.done if run["name"] == name}

    def by_name(self) -> dict[str, list[dict[str, Any]]]:
        """Outcomes by name, in the order of their first."""
        return {name: list(self.by_seed(name).values()) for name in dict.fromkeys(run["name"] for run in self.done)}

    def summary(self) -> dict[str, dict[str, float]]:
        """By name: means and, from two seeds on, standard deviations (n - 1)."""
        return {name: _summarize(outcomes) for name, outcomes in self.by_name().items()}

    def describe(self) -> str:
        """A row per name."""
        header = ["", "seeds", *(figure.header for figure in FIGURES.values())]
        rows = [
            [name, str(len(outcomes)), *(figure.show(outcomes) for figure in FIGURES.values())]
            for name, outcomes in self.by_name().items()
        ]
        return f"{format_table(header, rows)}\n\n{NOTE}\n{self.stamp}"

    def show(self, plot: str | None) -> None:
        """Print the table; draw losses and accuracy by epoch into the file `plot`, if any."""
        print(self.describe())
        if plot:
            panels = {label: self._curves(key) for key, label in CURVES.items()}
            draw_curves(panels, plot, x="epoch", title=self.stamp.title)

    def _curves(self, key: str) -> dict[str, list[list[float]]]:
        by_name = self.by_name().items()
        return {name: [[epoch[key] for epoch in run["epochs"]] for run in outcomes] for name, outcomes in by_name}


def calibration_error(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017): how far confidence and accuracy lie apart, over equal bins."""
    confidence, predicted = logits.double().softmax(1).max(1)
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.double, device=logits.device)
    gaps.index_add_(0, bin_of, (predicted == labels).double() - confidence)
    return gaps.abs().sum().item() / len(labels)


def plus_minus(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation.

    >>> plus_minus([1.0, 2.0, 3.0], 1), plus_minus([1.0], 1)
    ('2.0 ± 1.0', '1.0')
    """
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _summarize(outcomes: Sequence[dict[str, Any]]) -> dict[str, float]:
    summary = {"seeds": float(len(outcomes))}
    for key, figure in FIGURES.items():
        values = [figure.of(outcome) for outcome in outcomes]
        summary[key] = statistics.mean(values)
        if len(values) > 1:
            summary[f"{key}_sd"] = statistics.stdev(values)
    return summary
