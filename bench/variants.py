"""Mixup with a partner from the same batch, beside the paper's two loaders.

Both deliver the same number of mixed batches. Two loaders decode two images for each one that they deliver; the batch
mixed with itself decodes one.

Examples:
    python -m bench.variants path/to/images
    python -m bench.variants path/to/images --batch-size 128 --rounds 9 --json variants.json --plot variants.png
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import dali_mixup as dm
from bench.command import DATA, Bench, Found, argument, option
from bench.feed import Batches, find_files, forever
from bench.measure import Case, Timing, measure_cases, speedup, time_calls
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from dali_mixup.pipelines import imagenet

DECODED = "decoded per delivered"
IN_BATCH, TWO_LOADERS = "in the batch", "two loaders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    batch_size: int = option(64, "images per batch")
    size: int = option(224, "height and width of the output in pixels")
    threads: int | None = option(None, "num_threads of the Loaders (default their own choice)")
    batches: int = option(10, "timed batches per round")
    rounds: int = option(7, "timed rounds, each of which runs both")


def open_loader(dataset: dm.FileList, options: Options, mixup: dm.MixUp | None, seed: int = 0) -> dm.Loader:
    """One shuffled loader."""
    return dm.Loader(
        dataset,
        imagenet.train(options.size),
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
        mixup=mixup,
        seed=seed,
        num_threads=options.threads,
    )


def two_loaders(dataset: dm.FileList, options: Options) -> Batches:
    """The paper's form: two loaders in different order, and lam between their batches, without end."""
    rng, mixup = np.random.default_rng(0), dm.MixUp()
    loaders = [open_loader(dataset, options, None, seed) for seed in (0, 1)]
    for (images, labels), (others, other_labels) in zip(*map(forever, loaders), strict=True):
        lam = torch.from_numpy(mixup.draw_lam(len(images), rng)).to(images.device)
        yield torch.lerp(others, images, lam.view(-1, 1, 1, 1)), dm.stack_targets(labels, other_labels, lam)


def measure(options: Options) -> Iterator[Found]:
    """Time both forms side by side."""
    dataset = dm.FileList(*find_files(options.data))

    def round_of(stream: Batches) -> Timing:
        next(stream)  # what was prepared while the other form had its turn
        next(stream)
        return time_calls(lambda: next(stream), calls=options.batches, items=options.batch_size)

    mixed, two = forever(open_loader(dataset, options, dm.MixUp())), two_loaders(dataset, options)
    with closing(mixed), closing(two):
        cases = [
            Case(name=name, label=name, run=partial(round_of, stream), options={DECODED: decoded})
            for name, stream, decoded in ((IN_BATCH, mixed, 1), (TWO_LOADERS, two, 2))
        ]
        yield Found(results=measure_cases(cases, rounds=options.rounds))


def describe(report: Report) -> str:
    """A row per form."""
    base = next(result for result in report.results if result.name == TWO_LOADERS)
    rows = []
    for result in report.results:
        milliseconds = 1e3 * report.settings["batch_size"] / result.rate.median
        cells = [format_spread(result.rate), f"{milliseconds:.1f}", format_spread(speedup(result, base), 2)]
        rows.append([result.label, str(result.options[DECODED]), *cells])
    table = format_table(["partner from", DECODED, "images/s", "ms per batch", f"x {TWO_LOADERS}"], rows)
    return f"{table}\n\nMedians of {report.settings['rounds']} rounds; ratios within a round."


plot = partial(draw_bars, axis="mixed images/s", colors={IN_BATCH: OURS_COLOR})
bench = Bench("variants", __doc__, Options, measure, describe, unit="images", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
