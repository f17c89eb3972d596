"""Mixup with a partner from the same batch, beside the paper's two loaders.

Both deliver the same number of mixed batches. Two loaders decode two images for each one that they deliver; the batch
mixed with itself decodes one.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch

import dali_mixup as dm
from bench.feed import find_files
from bench.measure import Case, Result, Timing, measure_cases, speedup, time_calls
from bench.options import add_outputs, save
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table, make_stamp
from dali_mixup.pipelines import imagenet

EXAMPLES = """examples:
  python -m bench.variants path/to/images
  python -m bench.variants path/to/images --batch-size 128 --rounds 9 --json variants.json --plot variants.png
"""
Batch = tuple[torch.Tensor, torch.Tensor]


def in_batch(dataset: dm.FileList, batch_size: int, size: int, threads: int | None) -> Iterator[Batch]:
    """One loader that mixes each batch with itself, without end."""
    loader = dm.Loader(
        dataset,
        imagenet.train(size),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        mixup=dm.MixUp(),
        num_threads=threads,
    )
    while True:
        yield from loader


def two_loaders(dataset: dm.FileList, batch_size: int, size: int, threads: int | None) -> Iterator[Batch]:
    """The paper's form: two loaders in different order, and lam between their batches, without end."""
    rng, mixup = np.random.default_rng(0), dm.MixUp()
    loaders = [
        dm.Loader(
            dataset,
            imagenet.train(size),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            seed=seed,
            num_threads=threads,
        )
        for seed in (0, 1)
    ]
    while True:
        for (images, labels), (others, other_labels) in zip(*loaders, strict=True):
            lam = torch.from_numpy(mixup.draw_lam(batch_size, rng)).to(images.device)
            yield torch.lerp(others, images, lam.view(-1, 1, 1, 1)), dm.stack_targets(labels, other_labels, lam)


def measure_variants(
    dataset: dm.FileList,
    *,
    batch_size: int,
    size: int,
    threads: int | None,
    batches: int,
    rounds: int,
    progress: bool = True,
) -> list[Result]:
    """Time both forms side by side."""

    def case(name: str, decoded: int, stream: Iterator[Batch]) -> Case:
        def run() -> Timing:
            next(stream)  # what was prepared while the other form had its turn
            next(stream)
            return time_calls(lambda: next(stream), calls=batches, items=batch_size)

        return Case(name=name, label=name, run=run, options={"decoded per delivered": decoded})

    streams = [make(dataset, batch_size, size, threads) for make in (in_batch, two_loaders)]
    try:
        cases = [case("in the batch", 1, streams[0]), case("two loaders", 2, streams[1])]
        return measure_cases(cases, rounds=rounds, progress=progress)
    finally:
        for stream in streams:
            stream.close()  # pyright: ignore[reportAttributeAccessIssue]  they are generators


def describe(report: Report) -> str:
    """A row per form."""
    base = next(result for result in report.results if result.name == "two loaders")
    rows = [
        [
            result.label,
            str(result.options["decoded per delivered"]),
            format_spread(result.rate),
            f"{report.settings['batch_size'] / result.rate.median * 1e3:.1f}",
            format_spread(speedup(result, base), 2),
        ]
        for result in report.results
    ]
    table = format_table(["partner from", "decoded per delivered", "images/s", "ms per batch", "x two loaders"], rows)
    return f"{table}\n\nMedians of {report.settings['rounds']} rounds; ratios within a round.\n{report.stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.variants",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="a folder of images, or of one folder per class")
    parser.add_argument("--batch-size", type=int, default=64, help="images per batch (default 64)")
    parser.add_argument("--size", type=int, default=224, help="height and width of the output in pixels (default 224)")
    parser.add_argument("--threads", type=int, help="num_threads of the Loaders (default their own choice)")
    parser.add_argument("--batches", type=int, default=10, help="timed batches per round (default 10)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds, each of which runs both (default 7)")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    paths, labels = find_files(options.data, None)
    dataset = dm.FileList(paths, labels)
    settings = {name: getattr(options, name) for name in ("batch_size", "size", "threads", "batches", "rounds")}
    results = measure_variants(dataset, **settings)
    report = Report(benchmark="variants", unit="images", settings=settings, stamp=make_stamp(), results=tuple(results))
    print(describe(report))
    save(report, options, lambda path: _plot(report, path))
    return 0


def _plot(report: Report, path: str) -> None:
    title = f"{report.stamp.gpu or report.stamp.cpu}, {report.stamp.cores} cores; commit {report.stamp.commit}"
    draw_bars(report.results, path, axis="mixed images/s", title=title, colors={"in the batch": OURS_COLOR})


if __name__ == "__main__":
    sys.exit(main())
