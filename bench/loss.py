"""Forward and backward of `MixUpLoss(CrossEntropyLoss())` beside what else could score a mixed batch.

The baseline is plain cross-entropy on labels, which is what training without mixup pays. The others are torch's
cross-entropy on soft targets (B, C), given as they are and built from labels and lam in each step, and two
cross-entropies mixed by lam.

Examples:
    python -m bench.loss
    python -m bench.loss --classes 1000 --batch-size 256 --rounds 40 --threads 1
    python -m bench.loss --json loss.json --plot loss.png
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

import dali_mixup as dm
from bench.command import Bench, Found, best_device, option
from bench.measure import Case, Result, measure_cases, speedup, time_calls
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table

BASELINE, OURS = "labels", "MixUpLoss"
ELEMENTS_PER_ROUND = 2_000_000  # of logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    classes: tuple[int, ...] = option((10, 1000, 21841), "numbers of classes")
    batch_size: int = option(1024, "samples per batch")
    threads: int = option(torch.get_num_threads, "of torch (default torch's own)")
    rounds: int = option(21, "timed rounds, each of which runs every loss")
    device: str = option(best_device, "where to compute (default the GPU if there is one)")


def build_losses(classes: int, batch_size: int, device: str, seed: int = 0) -> dict[str, Callable[[], None]]:
    """One training step of a loss each: forward from the same logits, and backward to them."""
    torch.manual_seed(seed)
    logits = torch.randn(batch_size, classes, device=device, requires_grad=True)
    labels = torch.randint(classes, (batch_size,), device=device)
    partner_labels, lam = labels.roll(1), torch.rand(batch_size, device=device)
    targets = dm.stack_targets(labels, partner_labels, lam)
    plain, each = nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")
    mixed = dm.MixUpLoss(nn.CrossEntropyLoss())

    def soft() -> torch.Tensor:
        dense = torch.zeros(batch_size, classes, device=device).scatter_(1, labels[:, None], lam[:, None])
        return dense.scatter_add_(1, partner_labels[:, None], 1 - lam[:, None])

    ready = soft()
    losses = {
        BASELINE: lambda: plain(logits, labels),
        OURS: lambda: mixed(logits, targets),
        "soft targets": lambda: plain(logits, ready),
        "soft targets, built": lambda: plain(logits, soft()),
        "two cross-entropies": lambda: (lam * each(logits, labels) + (1 - lam) * each(logits, partner_labels)).mean(),
    }

    def step(loss: Callable[[], torch.Tensor]) -> None:
        logits.grad = None
        loss().backward()

    return {name: partial(step, loss) for name, loss in losses.items()}


def measure(options: Options) -> Iterator[Found]:
    """Time all losses side by side, one number of classes after the other."""
    torch.set_num_threads(options.threads)
    results: list[Result] = []
    for classes in options.classes:
        calls = min(50, max(1, round(ELEMENTS_PER_ROUND / (classes * options.batch_size))))
        steps = build_losses(classes, options.batch_size, options.device)
        cases = []
        for name, step in steps.items():
            run = partial(time_calls, step, calls=calls, items=options.batch_size, device=options.device)
            cases.append(Case(name=f"{name}, {classes} classes", label=name, run=run, options={"classes": classes}))
        results += measure_cases(cases, rounds=options.rounds, warmup=2)
        yield Found(results=results)


def describe(report: Report) -> str:
    """A row per loss and number of classes: microseconds per batch, and the time relative to plain cross-entropy."""
    rows, settings = [], report.settings
    baselines = {result.options["classes"]: result for result in report.results if result.label == BASELINE}
    for result in report.results:
        classes, micro = result.options["classes"], settings["batch_size"] / result.rate.median * 1e6
        ratio = format_spread(speedup(baselines[classes], result), 2)
        rows.append([result.label, str(classes), f"{micro:.0f}", ratio])
    table = format_table(["loss", "classes", "us per batch", "x the time of plain cross-entropy"], rows)
    sizes = f"batches of {settings['batch_size']}, {settings['threads']} threads"
    return f"{table}\n\nMedians of {settings['rounds']} rounds, {sizes}."


def plot(report: Report, path: str) -> None:
    """Bars of the largest number of classes."""
    classes = report.settings["classes"][-1]
    largest = [result for result in report.results if result.options["classes"] == classes]
    axis = f"samples/s, forward and backward, {classes} classes"
    draw_bars(report, path, axis=axis, colors={OURS: OURS_COLOR}, only=largest)


bench = Bench("loss", __doc__, Options, measure, describe, unit="samples", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
