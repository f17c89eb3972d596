"""Trainings that are done: kept in a JSON file that later trainings add to, as a table, and as curves."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.plots import draw_curves
from bench.report import Report, format_table, make_stamp, read_json, write_json

CURVES = {"train_loss": "train loss, as trained on", "test_loss": "test loss", "test_accuracy": "test accuracy"}


@dataclass(frozen=True, slots=True, kw_only=True)
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
        return any(run["name"] == name and run["recipe"]["seed"] == seed for run in self.done)

    def add(self, name: str, recipe: Any, outcome: Any) -> None:
        """Keep one training, in the place of an earlier one of the same name and seed."""
        run = {"name": name, "recipe": asdict(recipe), "outcome": asdict(outcome), "stamp": asdict(self.stamp)}
        self.done = [run for run in self.done if (run["name"], run["recipe"]["seed"]) != (name, recipe.seed)] + [run]
        if self.path:
            write_json(self.report(), self.path)

    def report(self) -> Report:
        """What the JSON file holds."""
        derived = {"runs": self.done, "summary": self.summary()}
        return Report(
            benchmark=self.benchmark, unit="images", settings={}, stamp=self.stamp, results=(), derived=derived
        )

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
        header = [
            "",
            "seeds",
            "accuracy",
            "averaged",
            "train loss",
            "test loss",
            "ECE",
            "images/s",
            "waiting",
            "s of training",
        ]
        rows = []
        for name, outcomes in self.by_name().items():
            cells = [_percent([run[key] for run in outcomes]) for key in ("accuracy", "averaged")]
            cells += [
                plus_minus([run["epochs"][-1][key] for run in outcomes], 3) for key in ("train_loss", "test_loss")
            ]
            cells += [
                plus_minus([run["ece"] for run in outcomes], 4),
                plus_minus([run["images_per_second"] for run in outcomes], 0),
            ]
            cells += [_percent([run["waiting"] for run in outcomes])]
            cells += [plus_minus([sum(epoch["seconds"] for epoch in run["epochs"]) for run in outcomes], 0)]
            rows.append([name, str(len(outcomes)), *cells])
        note = (
            "Means and standard deviations over seeds. Averaged: over flips and shifts by a pixel along the "
            "diagonal, at test time."
        )
        return f"{format_table(header, rows)}\n\n{note}\n{self.stamp}"

    def show(self, plot: str | None) -> None:
        """Print the table; draw losses and accuracy by epoch into the file `plot`, if any."""
        print(self.describe())
        if not plot:
            return
        panels = {
            label: {
                name: [[epoch[key] for epoch in run["epochs"]] for run in outcomes]
                for name, outcomes in self.by_name().items()
            }
            for key, label in CURVES.items()
        }
        draw_curves(
            panels,
            plot,
            x="epoch",
            title=f"{self.stamp.gpu or self.stamp.cpu}, {self.stamp.cores} cores; commit {self.stamp.commit}",
        )


def accuracy_of(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """From 0 to 1."""
    return (logits.argmax(1) == labels).double().mean().item()


def calibration_error(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017).

    How far confidence and accuracy lie apart, over bins of equal width.
    """
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


def _percent(values: Sequence[float]) -> str:
    return f"{plus_minus([100 * value for value in values], 2)} %"


def _summarize(outcomes: Sequence[dict[str, Any]]) -> dict[str, float]:
    figures = {
        key: [run[key] for run in outcomes] for key in ("accuracy", "averaged", "ece", "images_per_second", "waiting")
    }
    figures |= {key: [run["epochs"][-1][key] for run in outcomes] for key in ("train_loss", "test_loss")}
    summary = {"seeds": float(len(outcomes))}
    for key, values in figures.items():
        summary[key] = statistics.mean(values)
        if len(values) > 1:
            summary[f"{key}_sd"] = statistics.stdev(values)
    return summary
