"""How long until the first batch, how long the index of many files takes, and what it keeps in memory.

The files are hard links to yours, as many as asked for, in a temporary folder beside them. Importing torch and DALI
does not count.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

import dali_mixup as dm
import dali_mixup.decode.graph  # its import of DALI does not count
from bench.feed import find_files
from bench.options import add_outputs, save
from bench.plots import Panel, draw_growth
from bench.report import Report, format_table, make_stamp
from dali_mixup.pipelines import imagenet

EXAMPLES = """examples:
  python -m bench.startup path/to/images
  python -m bench.startup path/to/images --files 1000 10000 100000 --json startup.json --plot startup.png
"""
PER_CLASS = 1000


def link_files(sources: Sequence[str], count: int, folder: str, *, progress: bool = True) -> str:
    """An ImageFolder of `count` hard links to `sources`, `PER_CLASS` in a class; returns its path."""
    root = os.path.join(folder, str(count))
    for i in tqdm(range(count), desc=f"linking {count} files", leave=False, disable=not progress):
        name = os.path.join(root, f"class{i // PER_CLASS:04}", f"{i:07}.jpg")
        if i % PER_CLASS == 0:
            os.makedirs(os.path.dirname(name))
        os.link(sources[i % len(sources)], name)
    return root


def first_batch(root: str, batch_size: int) -> float:
    """Seconds from an empty cache to the first mixed batch."""
    start = time.perf_counter()
    loader = dm.Loader(dm.ImageFolder(root), imagenet.train(), batch_size=batch_size, shuffle=True, mixup=dm.MixUp())
    batches = iter(loader)
    next(batches)
    seconds = time.perf_counter() - start
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]  it is a generator
    return seconds


def measure_index(root: str, batch_size: int) -> dict[str, float]:
    """Seconds and bytes for one folder.

    Index with an empty cache, with a full one, first batch, memory that stays per file.
    """
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DALI_MIXUP_CACHE"] = cache
        to_batch = first_batch(root, batch_size)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DALI_MIXUP_CACHE"] = cache
        start = time.perf_counter()
        dm.ImageFolder(root)
        cold = time.perf_counter() - start
        start = time.perf_counter()
        dataset = dm.ImageFolder(root)
        warm = time.perf_counter() - start
        del dataset
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


def describe(report: Report) -> str:
    """A row per number of files."""
    rows = [
        [str(count), *(f"{row[name]:.2f}" for name in list(row)[:3]), f"{row['bytes kept per file']:.0f}"]
        for count, row in report.derived.items()
    ]
    return f"{format_table(['files', *next(iter(report.derived.values()))], rows)}\n\n{report.stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.startup",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="a folder of images, or of one folder per class")
    parser.add_argument(
        "--files",
        type=int,
        nargs="+",
        default=[1000, 10_000, 100_000],
        help="numbers of files (default 1000 10000 100000)",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images per batch (default 64)")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    sources, _ = find_files(options.data, None)
    beside = Path(options.data).resolve().parent  # hard links must stay on one file system
    derived = {}
    with tempfile.TemporaryDirectory(dir=beside, prefix=".startup-") as folder:
        for count in options.files:
            derived[str(count)] = measure_index(link_files(sources, count, folder), options.batch_size)
    settings = {"files": options.files, "batch_size": options.batch_size}
    report = Report(
        benchmark="startup", unit="files", settings=settings, stamp=make_stamp(), results=(), derived=derived
    )
    print(describe(report))
    save(report, options, lambda path: _plot(report, path))
    return 0


def _plot(report: Report, path: str) -> None:
    names = list(next(iter(report.derived.values())))
    panels = [
        Panel(x="files", y=name, points=[(int(count), row[name]) for count, row in report.derived.items()])
        for name in names
    ]
    draw_growth(
        panels, path, rows=1, title=f"{report.stamp.cpu}, {report.stamp.cores} cores; commit {report.stamp.commit}"
    )


if __name__ == "__main__":
    sys.exit(main())
