"""Mixup of word embeddings: which package of the standard library is this docstring from?

Words are numbers, and numbers of words don't mix; their embeddings do. Real text that every machine has.

    python examples/text_mix.py --seeds 10

`python -m bench.questions` varies dropout, weight decay and the loss of the same training.
"""

import argparse
import ast
import sysconfig
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import dali_mixup as dm

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml")
WORDS, LENGTH, WIDTH = 4096, 32, 64
CRITERION = dm.MixUpLoss(nn.CrossEntropyLoss())


def read_docstrings() -> tuple[torch.Tensor, torch.Tensor]:
    """Word numbers (N, LENGTH), hashed and padded with 0, and the packages' numbers (N,)."""
    words, labels = [], []
    for label, package in enumerate(PACKAGES):
        for file in sorted(Path(sysconfig.get_path("stdlib"), package).rglob("*.py")):
            if "test" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(errors="replace"))):
                if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                text = (ast.get_docstring(node) or "").lower().split()[:LENGTH]
                if len(text) >= 5:
                    numbers = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in text]
                    words.append(numbers + [0] * (LENGTH - len(numbers)))
                    labels.append(label)
    return torch.tensor(words), torch.tensor(labels)


def train(
    words: torch.Tensor,
    labels: torch.Tensor,
    mixup: dm.MixUp | None,
    seed: int,
    *,
    epochs: int = 12,
    dropout: float = 0.0,
    weight_decay: float = 0.01,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = CRITERION,
    outputs: int = len(PACKAGES),
) -> float:
    """Accuracy on a fifth of the docstrings that was held out."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(len(labels)))
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    embed = nn.Embedding(WORDS, WIDTH, padding_idx=0)
    head = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, outputs))
    optimizer = torch.optim.AdamW([*embed.parameters(), *head.parameters()], lr=3e-3, weight_decay=weight_decay)
    for _ in range(epochs):
        for batch in kept[torch.from_numpy(rng.permutation(len(kept)))].split(64):
            embedded, targets = embed(words[batch]), labels[batch]
            if mixup is not None and len(batch) > 1:
                embedded, targets = mixup(embedded, targets, generator=rng)
            optimizer.zero_grad()
            criterion(head(embedded.mean(1)), targets).backward()
            optimizer.step()
    head.eval()
    with torch.no_grad():
        found = head(embed(words[held]).mean(1))[:, : len(PACKAGES)].argmax(1)
    return (found == labels[held]).double().mean().item()


def main() -> None:
    """With and without mixup, paired by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--alpha", type=float, default=0.4)
    options = parser.parse_args()
    words, labels = read_docstrings()
    print(f"{len(labels)} docstrings of {len(PACKAGES)} packages, the largest of them {labels.bincount().max()}")
    mixers = {"without mixup": None, "with mixup": dm.MixUp(alpha=options.alpha)}
    found = {
        name: np.array([train(words, labels, mixer, seed, epochs=options.epochs) for seed in range(options.seeds)])
        for name, mixer in mixers.items()
    }
    for name, accuracies in found.items():
        print(f"{name:14} {100 * accuracies.mean():.2f} ± {100 * accuracies.std(ddof=1):.2f} %")
    gain = 100 * (found["with mixup"] - found["without mixup"])
    print(
        f"difference     {gain.mean():+.2f} ± {gain.std(ddof=1):.2f} points, {(gain > 0).sum()} of {len(gain)} above 0"
    )


if __name__ == "__main__":
    main()
