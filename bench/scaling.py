"""How the cost of this library grows with batch size, image size and number of files.

Each point runs in a fresh process: images per second once the loader runs, and the memory that loading adds to the
process at its peak. For numbers of files, which are hard links to the given ones, reading all headers without a cache
is timed as well. The exponent k of cost ~ x^k is fitted over the points: 1 is proportional, 0 constant.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from bench.cpu import cores_of_others, read_cpu
from bench.feed import Feed, find_files
from bench.measure import Case, Result, Timing, measure_cases, synchronize
from bench.options import add_outputs, save
from bench.plots import Panel, draw_growth
from bench.report import Report, format_spread, format_table, make_stamp
from dali_mixup import FileList

EXAMPLES = """examples:
  python -m bench.scaling path/to/images
  python -m bench.scaling path/to/images --batch-sizes 32,64,128 --sizes 112,224 --files 1000,10000 --rounds 1
  python -m bench.scaling path/to/images --json results/scaling.json --plot results/scaling.png
"""
LEAD = 6  # batches: more than the loader prepares ahead
TIMES = {"batch": "time per batch", "size": "time per image", "files": "time per image", "index": "time"}
AXES = {"batch": "images per batch", "size": "pixels per side", "files": "files", "index": "files indexed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one fresh process does.

    Attributes:
        axis: which quantity grows.
        value: how large it is here.
        feed: the job, which has that value.
        images: how many images to time, at least.
    """

    axis: Literal["batch", "size", "files", "index"]
    value: int
    feed: Feed
    images: int


def measure_point(point: Point) -> Timing:
    """Time one point in a fresh process."""
    work = _index if point.axis == "index" else _load
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, point).result()


def fit_exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """The k of cost ~ value^k, by least squares on logarithms.

    >>> round(fit_exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def list_points(
    feed: Feed,
    *,
    batch_sizes: Sequence[int],
    sizes: Sequence[int],
    files: Sequence[int],
    links: Sequence[str],
    images: int,
) -> list[Point]:
    """All points: each quantity grows by itself, the others stay as in `feed`."""

    def first(count: int) -> Feed:
        labels = tuple(feed.labels[i % len(feed.labels)] for i in range(count))
        return replace(feed, paths=tuple(links[:count]), labels=labels)

    return [
        *(
            Point(axis="batch", value=value, feed=replace(feed, batch_size=value), images=images)
            for value in batch_sizes
        ),
        *(Point(axis="size", value=value, feed=replace(feed, size=value), images=images) for value in sizes),
        *(Point(axis="files", value=value, feed=first(value), images=images) for value in files),
        *(Point(axis="index", value=value, feed=first(value), images=images) for value in files),
    ]


def link_files(paths: Sequence[str], count: int, folder: Path) -> list[str]:
    """Hard links to the files again and again, `count` in all."""
    links = [str(folder / f"{i:07}{Path(paths[i % len(paths)]).suffix}") for i in range(count)]
    for i, link in enumerate(links):
        os.link(paths[i % len(paths)], link)
    return links


def by_axis(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by the quantity that grows, in the order of `AXES`; only those that were measured."""
    groups = {axis: [result for result in results if result.name.startswith(f"{axis} ")] for axis in AXES}
    return {axis: group for axis, group in groups.items() if group}


def growth(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """By axis the exponents of time (see `TIMES`) and of memory, and the bytes of one more image, pixel or file."""
    exponents = {}
    for axis, group in by_axis(results).items():
        if len(group) > 1:
            values = [result.options["value"] for result in group]
            whole = [value if axis in ("batch", "index") else 1 for value in values]  # else time per image
            times = [count / result.rate.median for count, result in zip(whole, group, strict=True)]
            memory = [max(1, _memory(result)) for result in group]
            exponents[axis] = {
                "time": fit_exponent(values, times),
                "memory": fit_exponent(values, memory),
                "bytes_each": float(np.polyfit(values, memory, 1)[0]),
            }
    return exponents


def describe(report: Report) -> str:
    """A table per axis, with the exponents below."""
    lines = []
    for axis, group in by_axis(report.results).items():
        rows = [[str(r.options["value"]), format_spread(r.rate), f"{_memory(r) / 1e6:.0f}"] for r in group]
        lines.append(format_table([AXES[axis], "files/s" if axis == "index" else "images/s", "peak memory, MB"], rows))
        if axis in report.derived:
            fitted = report.derived[axis]
            growing = f"memory ~ x^{fitted['memory']:.2f}, {fitted['bytes_each']:,.0f} bytes for each more"
            lines.append(f"{TIMES[axis]} ~ x^{fitted['time']:.2f}; {growing}")
        lines.append("")
    lines.append(
        f"Median of {report.settings['rounds']} rounds, in brackets the middle half; memory is what loading "
        "adds to the process."
    )
    return "\n".join([*lines, str(report.stamp)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    stamp = make_stamp()  # before the run: files may change meanwhile
    paths, labels = find_files(options.data)
    feed = Feed(
        paths=tuple(paths),
        labels=tuple(labels),
        classes=max(labels) + 1,
        device=options.device,
        threads=options.threads,
    )
    with tempfile.TemporaryDirectory(
        dir=options.scratch or Path(options.data).resolve().parent, prefix="scaling-"
    ) as folder:
        links = link_files(paths, max(options.files, default=0), Path(folder))
        points = list_points(
            feed,
            batch_sizes=options.batch_sizes,
            sizes=options.sizes,
            files=options.files,
            links=links,
            images=options.images,
        )
        cases = [
            Case(name=f"{p.axis} {p.value}", run=partial(measure_point, p), options={"value": p.value}) for p in points
        ]
        results = measure_cases(cases, rounds=options.rounds, warmup=0, patience_s=options.patience)
    shown = ("data", "batch_sizes", "sizes", "files", "images", "rounds", "threads", "device")
    report = Report(
        benchmark="scaling",
        unit="images",
        settings={name: getattr(options, name) for name in shown},
        stamp=stamp,
        results=tuple(results),
        derived=growth(results),
    )
    print(describe(report))
    save(report, options, partial(_plot, report))
    return 0


def _load(point: Point) -> Timing:
    """In the fresh process: batches of a running loader."""
    import nvidia.dali  # noqa: F401 -- so that its import is not counted

    from bench.peers.ours import with_mixup

    batches = max(2, -(-point.images // point.feed.batch_size))
    times = -(
        -(LEAD + batches) * point.feed.batch_size // len(point.feed.paths)
    )  # a batch may be larger than the number of files
    feed = replace(point.feed, paths=point.feed.paths * times, labels=point.feed.labels * times)
    before = _reset_peak()
    stream = with_mixup(feed)
    for _ in islice(stream, LEAD):
        pass
    synchronize(feed.device)
    cpu = read_cpu()
    items = sum(len(images) for images, _ in islice(stream, batches))
    synchronize(feed.device)
    end = read_cpu()
    return Timing(
        items=items,
        seconds=end.wall - cpu.wall,
        others=cores_of_others(cpu, end),
        peak_bytes=_memory_bytes("VmHWM") - before,
    )


def _index(point: Point) -> Timing:
    """In the fresh process: read all headers, as the first epoch over new files does."""
    before = _reset_peak()
    cpu = read_cpu()
    dataset = FileList(point.feed.paths, point.feed.labels, cache=False, progress=False)
    end = read_cpu()
    peak = _memory_bytes("VmHWM") - before
    return Timing(items=len(dataset), seconds=end.wall - cpu.wall, others=cores_of_others(cpu, end), peak_bytes=peak)


def _reset_peak() -> int:
    """Start a new peak of this process's memory from what it holds now, which is returned."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_bytes("VmRSS")


def _memory_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def _memory(result: Result) -> int:
    return int(np.median([timing.peak_bytes or 0 for timing in result.timings]))


def _plot(report: Report, path: str) -> None:
    rates, memory = [], []
    for axis, group in by_axis(report.results).items():
        values = [result.options["value"] for result in group]
        unit = "files/s" if axis == "index" else "images/s"
        rates.append(Panel(x=AXES[axis], y=unit, points=list(zip(values, [r.rate.median for r in group], strict=True))))
        memory.append(
            Panel(
                x=AXES[axis],
                y="peak memory, MB",
                points=list(zip(values, [_memory(r) / 1e6 for r in group], strict=True)),
            )
        )
    stamp = report.stamp
    draw_growth(
        [*rates, *memory], path, rows=2, title=f"{stamp.gpu or stamp.cpu}, {stamp.cores} cores; commit {stamp.commit}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="a folder of images, or of one folder per class")
    add(
        "--batch-sizes",
        type=_numbers,
        default=[16, 32, 64, 128, 256],
        help="images per batch (default 16,32,64,128,256)",
    )
    add(
        "--sizes",
        type=_numbers,
        default=[56, 112, 224, 448],
        help="height and width in pixels (default 56,112,224,448)",
    )
    add("--files", type=_numbers, default=[1000, 10_000, 100_000], help="numbers of files (default 1000,10000,100000)")
    add("--images", type=int, default=1500, help="images to time at each point (default 1500)")
    add("--rounds", type=int, default=3, help="how often each point is measured (default 3)")
    add("--threads", type=int, help="of the loader (default its own choice)")
    add(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where batches must arrive (default the GPU)",
    )
    add(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait while others use the machine, so long in all (default 0)",
    )
    add(
        "--scratch",
        metavar="FOLDER",
        help="where links are made for a while, on the file system of DATA (default beside DATA)",
    )
    add_outputs(parser)
    return parser


def _numbers(text: str) -> list[int]:
    numbers = sorted(int(part) for part in text.split(",") if part)
    if numbers and numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"must be positive numbers, got {text!r}")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
