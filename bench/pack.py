"""What a pack costs and what it brings: time to pack, size, bytes read per epoch, and the speed of a Loader on it.

The files of a folder are packed as they are, and shrunk to 400 pixels at quality 90. One Loader each, with a random
resized crop, flip and mixup, walks through whole epochs of the files and of both packs in turns, in this process. Bytes
are those of the windows that one epoch plans.

Examples:
    python -m bench.pack path/to/images
    python -m bench.pack path/to/images --rounds 9 --json pack.json --plot pack.png
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import dali_mixup as dm
from bench.command import DATA, Bench, Found, argument, best_device, option
from bench.feed import ALPHA, Feed, find_feed
from bench.measure import Case, measure_cases, speedup, timed
from bench.peers.ours import open_loader
from bench.peers.packs import LONG_SIDE, QUALITY
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from dali_mixup.dataset.dataset import ImageDataset

FILES, LOSSLESS, SHRUNK = "files", "lossless pack", f"pack of {LONG_SIDE} px"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    files: int | None = option(None, "take the first so many files (default all)")
    batch_size: int = option(64, "images per batch")
    size: int = option(224, "height and width of the output in pixels")
    rounds: int = option(7, "timed rounds, an epoch of each")
    device: str = option(best_device, "where batches must arrive (default the GPU if there is one)")


def measure(options: Options) -> Iterator[Found]:
    """Pack, then time epochs side by side."""
    found = find_feed(options.data, options.files)
    feed = Feed(
        paths=found.paths,
        labels=found.labels,
        classes=found.classes,
        batch_size=options.batch_size,
        size=options.size,
        device=options.device,
    )
    files = dm.FileList(feed.paths, feed.labels, cache=False, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        datasets: dict[str, ImageDataset] = {FILES: files}
        packing: dict[str, dict[str, float]] = {}
        for name, shrink in ((LOSSLESS, dm.Shrink()), (SHRUNK, dm.Shrink(max_size=LONG_SIDE, quality=QUALITY))):
            start = time.perf_counter()
            report = dm.pack(files, Path(folder) / name, shrink=shrink, progress=False)
            seconds = time.perf_counter() - start
            packing[name] = {
                "seconds per 1000 images": 1000 * seconds / report.samples,
                "size": report.bytes_after / report.bytes_before,
            }
            datasets[name] = dm.PackedDataset(Path(folder) / name)
        loaders = {name: open_loader(feed, dm.MixUp(alpha=ALPHA), dataset=each) for name, each in datasets.items()}
        whole = int(files.sizes.file_size.sum())
        for name in packing:
            packing[name]["bytes read"] = _bytes_of_an_epoch(loaders[name]) / whole
        cases = [
            Case(name=name, label=name, run=partial(timed, partial(_epoch, loader), options.device))
            for name, loader in loaders.items()
        ]
        results = measure_cases(cases, rounds=options.rounds)
    yield Found(results=results, derived={"packing": packing}, settings={"files": len(files), "bytes": whole})


def describe(report: Report) -> str:
    """Time, size and bytes in shares of the files', and speed in multiples."""
    by_name, rows = {result.name: result for result in report.results}, []
    for name, result in by_name.items():
        packing = report.derived["packing"].get(name)
        cells = [f"{packing[key]:.2f}" for key in packing] if packing else ["", "1", "1"]
        rows.append([name, *cells, format_spread(result.rate), format_spread(speedup(result, by_name[FILES]), 2)])
    columns = ["images", "s to pack 1000", "size", "bytes read", "images/s", f"x {FILES}"]
    settings = report.settings
    return (
        f"{format_table(columns, rows)}\n\nSize and bytes read in shares of the {settings['bytes'] / 1e6:.0f} MB of "
        f"{settings['files']} files. Median of {settings['rounds']} epochs; ratios are taken within a round."
    )


def _epoch(loader: dm.Loader) -> int:
    return sum(len(images) for images, _ in loader)


def _bytes_of_an_epoch(loader: dm.Loader) -> int:
    """What is read of a pack for the windows of an epoch."""
    plan, order, dataset = loader.plan, loader.plan.order(0), cast(dm.PackedDataset, loader.dataset)
    batches = (plan.batch(0, order, step) for step in plan.steps())
    read = (each for batch in batches for each in dataset.read(batch.indices.tolist(), batch.windows))
    return sum(len(each.data) for each in read if not isinstance(each, str))


plot = partial(draw_bars, axis="images/s", colors={LOSSLESS: OURS_COLOR, SHRUNK: OURS_COLOR})
bench = Bench("pack", __doc__, Options, measure, describe, unit="images", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
