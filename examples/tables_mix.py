"""Mixup of tables: columns and targets with one draw, for classes and for a regression, on scikit-learn's own data.

python examples/tables_mix.py --seeds 10
"""

import argparse

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


def train(columns: np.ndarray, target: np.ndarray, mixup: dm.MixUp | None, seed: int, epochs: int) -> float:
    """On a third of the rows that was held out: accuracy, or for a regression the variance explained (R²)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(target))
    held, kept = order[: len(order) // 3], order[len(order) // 3 :]
    mean, std = columns[kept].mean(0), columns[kept].std(0) + 1e-6
    x = torch.from_numpy((columns - mean) / std).float()
    regression = target.dtype.kind == "f"
    y = (
        torch.from_numpy((target - target[kept].mean()) / target[kept].std()).float()
        if regression
        else torch.from_numpy(target)
    )
    outputs = 1 if regression else int(target.max()) + 1
    model = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    classify = dm.MixUpLoss(nn.CrossEntropyLoss())
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(kept), max(1, len(kept) // 32)):
            batch, targets = x[rows], y[rows]
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
    with torch.no_grad():
        output = model(x[held])
    if regression:
        return 1 - ((output[:, 0] - y[held]) ** 2).mean().item() / y[held].var(unbiased=False).item()
    return (output.argmax(1) == y[held]).double().mean().item()


def main() -> None:
    """With and without mixup, paired by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--alpha", type=float, default=0.4)
    options = parser.parse_args()
    print(f"{'':25} {'without':>15} {'with mixup':>15} {'difference':>15}  seeds above 0")
    for name, load in TABLES.items():
        columns, target = load(return_X_y=True)
        without, mixed = (
            np.array([train(columns, target, mixer, seed, options.epochs) for seed in range(options.seeds)])
            for mixer in (None, dm.MixUp(alpha=options.alpha))
        )
        gain = mixed - without
        cells = [f"{100 * each.mean():.2f} ± {100 * each.std(ddof=1):.2f}" for each in (without, mixed, gain)]
        print(f"{name:25} {cells[0]:>15} {cells[1]:>15} {cells[2]:>15}  {(gain > 0).sum()} of {len(gain)}")


if __name__ == "__main__":
    main()
