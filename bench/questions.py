"""What mixup brings where nothing is an image: words and tables, over seeds, paired; and the questions around it.

The trainings are those of examples/text_mix.py and examples/tables_mix.py: small networks on docstrings of Python's
standard library and on scikit-learn's own tables, with columns as numbers or as categories. Beside "with and without
mixup" it varies the length, dropout and weight decay, and gives each mixed pair two softmaxes, one per label, in the
place of one.

Examples:
    python -m bench.questions
    python -m bench.questions --seeds 10 --json questions.json
    python -m bench.questions --seeds 2 --epochs 1 --only words
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import dali_mixup as dm
from bench.command import Bench, Found, option
from bench.report import Report, format_table
from examples import tables_mix, text_mix

BINS = 8
REGULARIZED = ("words", "breast cancer", "diabetes")
TWO_SOFTMAXES = ("words", "breast cancer", "wine", "digits")
LENGTHS = {
    "words": 36,
    "breast cancer": 6,
    "digits": 6,
    "diabetes": 6,
}  # epochs, instead of 12 of words and 60 of tables
SETTINGS = {"dropout": 0.5, "weight_decay": 1.0}  # instead of 0 and 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to train."""

    seeds: int = option(10, "trainings of each kind")
    epochs: int | None = option(None, "of all trainings (default 12 of words, 60 of tables)")
    alpha: float = option(0.4, "of mixup")
    only: str | None = option(None, "those rows whose name holds this text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of training, with mixup and without, by seed.

    Attributes:
        question: which one it is part of.
        data: what was learnt.
        change: from the plain training, in words.
        without: accuracies, or for a regression the variance explained, from 0 to 1.
        mixed: likewise, of the same seeds with mixup.
    """

    question: str
    data: str
    change: str
    without: list[float]
    mixed: list[float]

    @property
    def gains(self) -> np.ndarray:
        """Points that mixup brings, by seed."""
        return 100 * (np.array(self.mixed) - np.array(self.without))


class TwoSoftmaxes(nn.Module):
    """One softmax for an image's own label and one for its partner's, each with its share of the loss.

    Logits are (B, 2 C): the own label's and the partner's. What isn't mixed has no partner.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of logits (B, 2 C) and stacked targets (B, 3) or labels (B,)."""
        own, other = logits.chunk(2, dim=1)
        if targets.ndim == 1:
            return nn.functional.cross_entropy(own, targets)
        labels, partner_labels, lam = dm.unstack_targets(targets)
        losses = [
            nn.functional.cross_entropy(*pair, reduction="none") for pair in ((own, labels), (other, partner_labels))
        ]
        return (lam * losses[0] + (1 - lam) * losses[1]).mean()


Train = Callable[..., float]


@cache
def build_trainings() -> dict[str, Train]:
    """A function for each data set: (mixup, seed, **settings) gives what is reached on what was held out."""
    found: dict[str, Train] = {"words": partial(text_mix.train, *text_mix.read_docstrings())}
    for name, load in tables_mix.TABLES.items():
        found[name.partition(" (")[0]] = partial(tables_mix.train, *load(return_X_y=True))
    return found


def list_rows() -> list[tuple[str, str, str, dict, dict]]:
    """(question, data, change, settings of both trainings, those of the mixed one alone)."""
    rows = [("plain", data, "", {}, {}) for data in build_trainings()]
    rows += [
        ("categories", data, f"{BINS} categories a column", {"bins": BINS}, {}) for data in tuple(build_trainings())[1:]
    ]
    rows += [("length", data, f"{epochs} epochs", {"epochs": epochs}, {}) for data, epochs in LENGTHS.items()]
    for data in TWO_SOFTMAXES:
        rows.append(("two softmaxes", data, "two softmaxes with mixup", {}, _two_heads(data)))
    for data in REGULARIZED:
        for names in (("dropout",), ("weight_decay",), ("dropout", "weight_decay")):
            words = ", ".join(f"{name.replace('_', ' ')} {SETTINGS[name]}" for name in names)
            rows.append(("regularization", data, words, {name: SETTINGS[name] for name in names}, {}))
    return rows


def _two_heads(data: str) -> dict:
    if data == "words":
        return {"criterion": TwoSoftmaxes(), "outputs": 2 * len(text_mix.PACKAGES)}
    return {"classify": TwoSoftmaxes(), "heads": 2}


def measure(options: Options) -> Iterator[Found]:
    """A row after the other."""
    torch.set_num_threads(1)  # the networks are tiny
    rows: list[Row] = []
    chosen = [row for row in list_rows() if options.only is None or options.only in " ".join(row[:3])]
    for question, data, change, both, mixed in tqdm(chosen, desc="rows", leave=False):
        train, settings = build_trainings()[data], both | ({} if options.epochs is None else {"epochs": options.epochs})
        rows.append(
            Row(
                question=question,
                data=data,
                change=change,
                without=[train(None, seed, **settings) for seed in range(options.seeds)],
                mixed=[train(dm.MixUp(options.alpha), seed, **settings, **mixed) for seed in range(options.seeds)],
            )
        )
        yield Found(derived={"rows": [asdict(row) for row in rows]})


def describe(report: Report) -> str:
    """A row for each kind of training: without, with mixup, and the gain, in points."""
    cells = []
    for row in (Row(**each) for each in report.derived["rows"]):
        shown = [100 * np.array(row.without), 100 * np.array(row.mixed), row.gains]
        figures = [f"{each.mean():.2f} ± {each.std(ddof=1):.2f}" for each in shown]
        cells.append(
            [f"{row.data}, {row.change}".rstrip(", "), *figures, f"{(row.gains > 0).sum()} of {len(row.gains)}"]
        )
    table = format_table(["training", "without", "with mixup", "points gained", "seeds above 0"], cells)
    return f"{table}\n\nAccuracy in %, of diabetes the variance explained; means and standard deviations of seeds."


bench = Bench("questions", __doc__, Options, measure, describe, unit="trainings", packages=("scikit-learn",))
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
