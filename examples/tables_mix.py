"""Mixup of tables: columns and targets with one draw, for classes and for a regression, on scikit-learn's own data.

python examples/tables_mix.py --seeds 10
python examples/tables_mix.py --seeds 10 --bins 8      # columns of categories, whose embeddings are mixed
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from sklearn import datasets
from torch import nn

import dali_mixup as dm

TABLES = {
    "breast cancer (classes)": datasets.load_breast_cancer,
    "wine (classes)": datasets.load_wine,
    "digits (classes)": datasets.load_digits,
    "diabetes (regression)": datasets.load_diabetes,
}
WIDTH = 8  # of a category's embedding


def prepare(columns: np.ndarray, kept: np.ndarray, bins: int | None) -> tuple[torch.Tensor, nn.Module, int]:
    """What a network reads of each row, what is mixed of that, and how wide it is.

    Numbers are standardized by the kept rows and mixed themselves. With `bins` each column holds one of so many
    categories, its quantiles; the numbers of categories don't mix, but their embeddings do.
    """
    if bins is None:
        mean, std = columns[kept].mean(0), columns[kept].std(0) + 1e-6
        return torch.from_numpy((columns - mean) / std).float(), nn.Identity(), columns.shape[1]
    edges = np.quantile(columns[kept], np.linspace(0, 1, bins + 1)[1:-1], axis=0)
    which = np.stack([np.searchsorted(edges[:, k], columns[:, k]) for k in range(columns.shape[1])], 1)
    numbers = torch.from_numpy(which + bins * np.arange(columns.shape[1]))  # each column has categories of its own
    return numbers, nn.Sequential(nn.Embedding(bins * columns.shape[1], WIDTH), nn.Flatten()), columns.shape[1] * WIDTH


def train(
    columns: np.ndarray,
    target: np.ndarray,
    mixup: dm.MixUp | None,
    seed: int,
    *,
    epochs: int = 60,
    bins: int | None = None,
    dropout: float = 0.0,
    weight_decay: float = 0.01,
    classify: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    heads: int = 1,
) -> float:
    """On a third of the rows that was held out: accuracy, or for a regression the variance explained (R²)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(target))
    held, kept = order[: len(order) // 3], order[len(order) // 3 :]
    x, embed, width = prepare(columns, kept, bins)
    regression = target.dtype.kind == "f"
    if regression:
        target = ((target - target[kept].mean()) / target[kept].std()).astype(np.float32)
    y, outputs = torch.from_numpy(target), 1 if regression else int(target.max()) + 1
    layers = [nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(dropout)]
    model = nn.Sequential(*layers, nn.Linear(64, outputs * heads))
    optimizer = torch.optim.AdamW([*embed.parameters(), *model.parameters()], lr=3e-3, weight_decay=weight_decay)
    classify = classify or dm.MixUpLoss(nn.CrossEntropyLoss())
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(kept), max(1, len(kept) // 32)):
            batch, targets = embed(x[rows]), y[rows]
            if mixup is not None:
                draw = mixup.draw(len(rows), rng)
                if regression:  # a number mixes as a column does
                    mixed = dm.mix({"columns": batch, "target": targets}, draw)
                    batch, targets = mixed["columns"], mixed["target"]
                else:
                    batch, targets = mixup(batch, targets, draw=draw)
            optimizer.zero_grad()
            output = model(batch)
            loss = nn.functional.mse_loss(output[:, 0], targets) if regression else classify(output, targets)
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(embed(x[held]))[:, :outputs]
    if regression:
        return 1 - ((output[:, 0] - y[held]) ** 2).mean().item() / y[held].var(unbiased=False).item()
    return (output.argmax(1) == y[held]).double().mean().item()


def main() -> None:
    """With and without mixup, paired by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--alpha", type=float, default=0.4)
    parser.add_argument("--bins", type=int, help="cut each column into so many categories (default: numbers)")
    options = parser.parse_args()
    print(f"{'':25} {'without':>15} {'with mixup':>15} {'difference':>15}  seeds above 0")
    for name, load in TABLES.items():
        columns, target = load(return_X_y=True)
        without, mixed = (
            np.array([train(columns, target, mixer, seed, epochs=options.epochs, bins=options.bins)
                      for seed in range(options.seeds)])
            for mixer in (None, dm.MixUp(alpha=options.alpha))
        )  # fmt: skip
        gain = mixed - without
        cells = [f"{100 * each.mean():.2f} ± {100 * each.std(ddof=1):.2f}" for each in (without, mixed, gain)]
        print(f"{name:25} {cells[0]:>15} {cells[1]:>15} {cells[2]:>15}  {(gain > 0).sum()} of {len(gain)}")


if __name__ == "__main__":
    main()
