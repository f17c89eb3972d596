"""How long until the first batch, how long the index of many files takes, and what it keeps in memory.

The files are hard links to yours, as many as asked for, in a temporary folder beside them. Importing torch and DALI
does not count.

Examples:
    python -m bench.startup path/to/images
    python -m bench.startup path/to/images --files 1000 10000 100000 --json startup.json --plot startup.png
"""

import gc
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dali_mixup as dm
import dali_mixup.decode.graph  # its import of DALI does not count
from bench.command import DATA, Bench, Found, argument, option
from bench.feed import find_files, linked
from bench.plots import Panel, draw_growth
from bench.report import Report, format_table
from dali_mixup.pipelines import imagenet


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    files: tuple[int, ...] = option((1000, 10_000, 100_000), "numbers of files")
    batch_size: int = option(64, "images per batch")


def measure(options: Options) -> Iterator[Found]:
    """A column of figures for each number of files."""
    sources, _ = find_files(options.data)
    derived: dict[str, dict[str, float]] = {}
    for count in options.files:
        with linked(sources, count, beside=Path(options.data).resolve().parent) as links:
            derived[str(count)] = measure_folder(str(Path(links[0]).parents[1]), options.batch_size)
        yield Found(derived=derived)


def measure_folder(root: str, batch_size: int) -> dict[str, float]:
    """Seconds and bytes: index with an empty cache, with a full one, first batch, memory that stays per file."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DALI_MIXUP_CACHE"] = cache
        to_batch, batches = _seconds(lambda: _first_batch(root, batch_size))
        batches.close()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DALI_MIXUP_CACHE"] = cache
        cold, _ = _seconds(lambda: dm.ImageFolder(root))
        warm, _ = _seconds(lambda: dm.ImageFolder(root))
        gc.collect()
        tracemalloc.start()
        dataset = dm.ImageFolder(root)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] / len(dataset)
        tracemalloc.stop()
    return {
        "index, empty cache (s)": cold,
        "index, full cache (s)": warm,
        "first batch, empty cache (s)": to_batch,
        "bytes kept per file": kept,
    }


def _first_batch(root: str, batch_size: int) -> Any:
    """A Loader's iterator that has given its first mixed batch."""
    loader = dm.Loader(dm.ImageFolder(root), imagenet.train(), batch_size=batch_size, shuffle=True, mixup=dm.MixUp())
    batches = iter(loader)
    next(batches)
    return batches


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def describe(report: Report) -> str:
    """A row per number of files."""
    rows = []
    for count, figures in report.derived.items():
        *seconds, size = figures.values()
        rows.append([count, *(f"{each:.2f}" for each in seconds), f"{size:.0f}"])
    return format_table(["files", *next(iter(report.derived.values()))], rows) + "\n"


def plot(report: Report, path: str) -> None:
    """A panel per figure."""
    by_count = report.derived.items()
    names = next(iter(report.derived.values()))
    panels = [Panel(x="files", y=y, points=[(int(count), row[y]) for count, row in by_count]) for y in names]
    draw_growth(panels, path, rows=1, title=report.stamp.title)


bench = Bench("startup", __doc__, Options, measure, describe, unit="files", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
