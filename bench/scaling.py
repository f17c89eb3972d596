"""How the cost of this library grows with batch size, image size and number of files.

Each point runs in a fresh process: images per second once the loader runs, and the memory that loading adds to the
process at its peak. For numbers of files, which are hard links to the given ones, reading all headers without a cache
is timed as well. The exponent k of cost ~ x^k is fitted over the points: 1 is proportional, 0 constant.

Examples:
    python -m bench.scaling path/to/images
    python -m bench.scaling path/to/images --batch-sizes 32,64,128 --sizes 112,224 --files 1000,10000 --rounds 1
    python -m bench.scaling path/to/images --json results/scaling.json --plot results/scaling.png
"""

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from bench.command import DATA, PATIENCE, Bench, Found, argument, best_device, numbers, option
from bench.feed import Feed, endless, find_feed, linked
from bench.machine import peak_bytes, reset_peak
from bench.measure import Case, Result, Timing, measure_cases, timed
from bench.plots import Panel, draw_growth
from bench.report import Report, format_spread, format_table
from dali_mixup import FileList

Axis = Literal["batch", "size", "files", "index"]
LEAD = 6  # batches: more than the loader prepares ahead
TIMES = {"batch": "time per batch", "size": "time per image", "files": "time per image", "index": "time"}
AXES = {"batch": "images per batch", "size": "pixels per side", "files": "files", "index": "files indexed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    batch_sizes: tuple[int, ...] = option((16, 32, 64, 128, 256), "images per batch", parse=numbers)
    sizes: tuple[int, ...] = option((56, 112, 224, 448), "height and width in pixels", parse=numbers)
    files: tuple[int, ...] = option((1000, 10_000, 100_000), "numbers of files", parse=numbers)
    images: int = option(1500, "images to time at each point")
    rounds: int = option(3, "how often each point is measured")
    threads: int | None = option(None, "of the loader (default its own choice)")
    device: str = option(best_device, "where batches must arrive (default the GPU if there is one)")
    patience: float = option(0.0, PATIENCE)
    scratch: str | None = option(None, "a folder on the file system of DATA for links (default beside DATA)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one fresh process does.

    Attributes:
        axis: which quantity grows.
        value: how large it is here.
        feed: the job, which has that value.
        images: how many images to time, at least.
    """

    axis: Axis
    value: int
    feed: Feed
    images: int


def measure(options: Options) -> Iterator[Found]:
    """All points, in turns."""
    feed = replace(find_feed(options.data), device=options.device, threads=options.threads)
    beside = options.scratch or Path(options.data).resolve().parent
    with linked(feed.paths, max(options.files, default=0), beside) as links:
        points = list_points(feed, links, options)
        cases = [
            Case(name=f"{point.axis} {point.value}", run=partial(measure_point, point), options={"value": point.value})
            for point in points
        ]
        results = measure_cases(cases, rounds=options.rounds, warmup=0, patience_s=options.patience)
    yield Found(results=results, derived=growth(results))


def list_points(feed: Feed, links: Sequence[str], options: Options) -> list[Point]:
    """All points: each quantity grows by itself, the others stay as in `feed`."""

    def of_links(count: int) -> Feed:
        return replace(feed, paths=tuple(links[:count]), labels=endless(feed, count).labels[:count])

    grown: list[tuple[Axis, int, Feed]] = [
        *(("batch", value, replace(feed, batch_size=value)) for value in options.batch_sizes),
        *(("size", value, replace(feed, size=value)) for value in options.sizes),
        *(("files", value, of_links(value)) for value in options.files),
        *(("index", value, of_links(value)) for value in options.files),
    ]
    return [Point(axis=axis, value=value, feed=job, images=options.images) for axis, value, job in grown]


def measure_point(point: Point) -> Timing:
    """Time one point in a fresh process."""
    work = _index if point.axis == "index" else _load
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, point).result()


def _load(point: Point) -> Timing:
    """In the fresh process: batches of a running loader."""
    import nvidia.dali  # noqa: F401  so that its import is not counted

    from bench.peers.ours import with_mixup

    batches = max(2, -(-point.images // point.feed.batch_size))
    feed = endless(
        point.feed, (LEAD + batches) * point.feed.batch_size
    )  # a batch may be larger than the files are many
    before = reset_peak()
    stream = with_mixup(feed)
    for _ in range(LEAD):
        next(stream)
    timing = timed(lambda: sum(len(images) for images, _ in islice(stream, batches)), feed.device)
    return replace(timing, peak_bytes=peak_bytes() - before)


def _index(point: Point) -> Timing:
    """In the fresh process: read all headers, as the first epoch over new files does."""
    before = reset_peak()
    timing = timed(lambda: len(FileList(point.feed.paths, point.feed.labels, cache=False, progress=False)))
    return replace(timing, peak_bytes=peak_bytes() - before)


def by_axis(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by the quantity that grows, in the order of `AXES`; only those that were measured."""
    groups = {axis: [result for result in results if result.name.startswith(f"{axis} ")] for axis in AXES}
    return {axis: group for axis, group in groups.items() if group}


def fit_exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """The k of cost ~ value^k, by least squares on logarithms.

    >>> round(fit_exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def growth(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """By axis the exponents of time (see `TIMES`) and of memory, and the bytes of one more image, pixel or file."""
    exponents = {}
    for axis, group in by_axis(results).items():
        if len(group) > 1:
            values = [result.options["value"] for result in group]
            whole = [value if axis in ("batch", "index") else 1 for value in values]  # else time per image
            times = [count / result.rate.median for count, result in zip(whole, group, strict=True)]
            memory = [max(1, _memory(result)) for result in group]
            each = float(np.polyfit(values, memory, 1)[0])
            fitted = {"time": fit_exponent(values, times), "memory": fit_exponent(values, memory)}
            exponents[axis] = fitted | {"bytes_each": each}
    return exponents


def describe(report: Report) -> str:
    """A table per axis, with the exponents below."""
    lines = []
    for axis, group in by_axis(report.results).items():
        rows = [[str(r.options["value"]), format_spread(r.rate), f"{_memory(r) / 1e6:.0f}"] for r in group]
        lines.append(format_table([AXES[axis], _unit(axis), "peak memory, MB"], rows))
        if fitted := report.derived.get(axis):
            growing = f"memory ~ x^{fitted['memory']:.2f}, {fitted['bytes_each']:,.0f} bytes for each more"
            lines.append(f"{TIMES[axis]} ~ x^{fitted['time']:.2f}; {growing}")
        lines.append("")
    rounds = f"Median of {report.settings['rounds']} rounds, in brackets the middle half"
    return "\n".join([*lines, f"{rounds}; memory is what loading adds to the process."])


def plot(report: Report, path: str) -> None:
    """Rates above, memory below."""
    rates, memory = [], []
    for axis, group in by_axis(report.results).items():
        speeds = [(result.options["value"], result.rate.median) for result in group]
        held = [(result.options["value"], _memory(result) / 1e6) for result in group]
        rates.append(Panel(x=AXES[axis], y=_unit(axis), points=speeds))
        memory.append(Panel(x=AXES[axis], y="peak memory, MB", points=held))
    draw_growth([*rates, *memory], path, rows=2, title=report.stamp.title)


def _memory(result: Result) -> int:
    return int(np.median([timing.peak_bytes or 0 for timing in result.timings]))


def _unit(axis: str) -> str:
    return "files/s" if axis == "index" else "images/s"


bench = Bench("scaling", __doc__, Options, measure, describe, unit="images", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
