"""Forward and backward of `MixUpLoss(CrossEntropyLoss())` beside what else could score a mixed batch.

The baseline is plain cross-entropy on labels, which is what training without mixup pays. The others are torch's
cross-entropy on soft targets (B, C), given as they are and built from labels and lam in each step, and two
cross-entropies mixed by lam.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from torch import nn

import dali_mixup as dm
from bench.measure import Case, Result, measure_cases, speedup, time_calls
from bench.options import add_outputs, save
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table, make_stamp

EXAMPLES = """examples:
  python -m bench.loss
  python -m bench.loss --classes 1000 --batch-size 256 --rounds 40 --threads 1
  python -m bench.loss --json loss.json --plot loss.png
"""
BASELINE = "labels"


def build_losses(classes: int, batch_size: int, device: str, seed: int = 0) -> dict[str, Callable[[], None]]:
    """One training step of a loss each: forward from the same logits, and backward to them."""
    torch.manual_seed(seed)
    logits = torch.randn(batch_size, classes, device=device, requires_grad=True)
    labels = torch.randint(classes, (batch_size,), device=device)
    partner_labels, lam = labels.roll(1), torch.rand(batch_size, device=device)
    targets = dm.stack_targets(labels, partner_labels, lam)
    plain, each, mixed = (
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        dm.MixUpLoss(nn.CrossEntropyLoss()),
    )

    def soft() -> torch.Tensor:
        dense = torch.zeros(batch_size, classes, device=device).scatter_(1, labels[:, None], lam[:, None])
        return dense.scatter_add_(1, partner_labels[:, None], 1 - lam[:, None])

    ready = soft()
    losses = {
        BASELINE: lambda: plain(logits, labels),
        "MixUpLoss": lambda: mixed(logits, targets),
        "soft targets": lambda: plain(logits, ready),
        "soft targets, built": lambda: plain(logits, soft()),
        "two cross-entropies": lambda: (lam * each(logits, labels) + (1 - lam) * each(logits, partner_labels)).mean(),
    }

    def step(loss: Callable[[], torch.Tensor]) -> None:
        logits.grad = None
        loss().backward()

    return {name: lambda loss=loss: step(loss) for name, loss in losses.items()}


def measure_losses(classes: int, batch_size: int, *, rounds: int, device: str, progress: bool = True) -> list[Result]:
    """Time all losses side by side; a call of a round handles `batch_size` samples."""
    calls = min(50, max(1, round(2_000_000 / (classes * batch_size))))
    cases = [
        Case(
            name=f"{name}, {classes} classes",
            label=name,
            run=lambda step=step: time_calls(step, calls=calls, items=batch_size, device=device),
            options={"classes": classes},
        )
        for name, step in build_losses(classes, batch_size, device).items()
    ]
    return measure_cases(cases, rounds=rounds, warmup=2, progress=progress)


def describe(report: Report) -> str:
    """A table per number of classes: microseconds per batch, and the time relative to plain cross-entropy."""
    rows = []
    for classes in report.settings["classes"]:
        results = [result for result in report.results if result.options["classes"] == classes]
        base = next(result for result in results if result.label == BASELINE)
        for result in results:
            micro = report.settings["batch_size"] / result.rate.median * 1e6
            rows.append([result.label, str(classes), f"{micro:.0f}", format_spread(speedup(base, result), 2)])
    table = format_table(["loss", "classes", "us per batch", "x the time of plain cross-entropy"], rows)
    note = (
        f"Medians of {report.settings['rounds']} rounds, batches of {report.settings['batch_size']}, "
        f"{report.settings['threads']} threads."
    )
    return f"{table}\n\n{note}\n{report.stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.loss",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[10, 1000, 21841], help="numbers of classes (default 10 1000 21841)"
    )
    parser.add_argument("--batch-size", type=int, default=1024, help="samples per batch (default 1024)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default torch's own)")
    parser.add_argument(
        "--rounds", type=int, default=21, help="timed rounds, each of which runs every loss (default 21)"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: the GPU if there is one"
    )
    add_outputs(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    results = [
        result
        for classes in options.classes
        for result in measure_losses(classes, options.batch_size, rounds=options.rounds, device=options.device)
    ]
    settings = {name: getattr(options, name) for name in ("classes", "batch_size", "threads", "rounds", "device")}
    report = Report(benchmark="loss", unit="samples", settings=settings, stamp=make_stamp(), results=tuple(results))
    print(describe(report))
    save(report, options, lambda path: _plot(report, path))
    return 0


def _plot(report: Report, path: str) -> None:
    largest = [result for result in report.results if result.options["classes"] == report.settings["classes"][-1]]
    draw_bars(
        largest,
        path,
        axis=f"samples/s, forward and backward, {report.settings['classes'][-1]} classes",
        title=(
            f"{report.stamp.gpu or report.stamp.cpu}, {report.settings['threads']} threads; commit "
            f"{report.stamp.commit}"
        ),
        colors={result.name: OURS_COLOR for result in largest if result.label == "MixUpLoss"},
    )


if __name__ == "__main__":
    sys.exit(main())
