"""A long run: does memory stay flat, does every thread end, is every file closed?

Each scenario runs in a process of its own. A first Loader is used and dropped, since DALI keeps some threads and files
for the whole process; then threads and open files are counted before the Loader is built, while it runs, and after it
is gone. Resident memory is sampled all the way. A scenario passes if memory grows by less than 1 KiB per batch after
the warm-up and nothing stays behind.

Without DATA, small images are drawn into a temporary folder.

Examples:
    python -m bench.soak
    python -m bench.soak path/to/images --batches 2000
    python -m bench.soak --batches 20000 --json soak.json --plot soak.png
"""

import gc
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice

import numpy as np

import dali_mixup as dm
from bench.command import Bench, Found, argument, option
from bench.feed import Batches, draw_jpegs, find_files
from bench.machine import open_files, resident_bytes, thread_names
from bench.measure import Result, Timing, timed
from bench.plots import draw_lines
from bench.report import Report, format_table
from bench.soak_scenarios import SCENARIOS, Scenario
from dali_mixup.commands.progress import open_bar

SLOPE_LIMIT = 1024.0  # bytes per batch
WARMUP = 0.1  # of the batches: allocators and caches fill
SAMPLES = 200  # of memory
FIRST_BATCHES = 40  # of the Loader that is thrown away
SETTLE_S = 5.0  # for threads that end on their own
DRAWN_FILES, DRAWN_SIDES = 1000, (32, 48)

Samples = Sequence[tuple[int, int]]  # (batches so far, bytes of resident memory) by rising number


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the process holds at a moment.

    Attributes:
        resident: bytes of memory.
        threads: names of all threads, Python's and others.
        files: what the open file descriptors lead to.
    """

    resident: int
    threads: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """One scenario, run to the end.

    Attributes:
        name: of the scenario.
        label: for people.
        batches: how many.
        timing: images and seconds.
        samples: of memory.
        before: before the Loader was built.
        during: in the middle.
        after: when the Loader was gone.
    """

    name: str
    label: str
    batches: int
    timing: Timing
    samples: Samples
    before: Usage
    during: Usage
    after: Usage

    @property
    def settled(self) -> Samples:
        """The samples after the warm-up."""
        return settled_samples(self.samples, self.batches)

    @property
    def slope(self) -> float:
        """Bytes per batch after the warm-up."""
        return robust_slope(self.settled)

    def faults(self) -> list[str]:
        """What is wrong, in words; nothing if all is well."""
        found = [f"memory grows by {self.slope:.0f} bytes per batch"] if self.slope >= SLOPE_LIMIT else []
        for what in ("threads", "files"):
            left = Counter(getattr(self.after, what)) - Counter(getattr(self.before, what))
            if left:
                found.append(f"{what} left: " + ", ".join(f"{count} x {name}" for name, count in sorted(left.items())))
        return found


def settled_samples(samples: Samples, batches: int) -> Samples:
    """Those after the warm-up."""
    return [(done, resident) for done, resident in samples if done > WARMUP * batches]


def robust_slope(samples: Samples) -> float:
    """The median of the slopes between all pairs of points (Theil and Sen): a burst or a step changes it little.

    >>> robust_slope([(0, 7), (1, 9), (2, 400), (3, 13), (4, 15)])
    2.0
    """
    if len(samples) < 2:
        return 0.0
    xs, ys = np.array(samples, np.float64).T
    first, second = np.triu_indices(len(xs), 1)
    return float(np.median((ys[second] - ys[first]) / (xs[second] - xs[first])))


def read_usage() -> Usage:
    """What this process holds now."""
    return Usage(resident=resident_bytes(), threads=thread_names(), files=open_files())


def settled_usage(before: Usage | None) -> Usage:
    """What is held once all garbage is collected, and threads that are about to end have ended.

    Args:
        before: wait until there are no more threads than here; None waits until their number stays for a second.
    """
    end = time.monotonic() + SETTLE_S
    gc.collect()
    usage = read_usage()
    while time.monotonic() < end:
        if before is not None and len(usage.threads) <= len(before.threads):
            break
        time.sleep(1.0 if before is None else 0.1)
        count = len(usage.threads)
        usage = read_usage()
        if before is None and len(usage.threads) == count:
            break
    return usage


def soak(name: str, scenario: Scenario, paths: Sequence[str], *, batches: int, batch_size: int) -> Soak:
    """Run one scenario in this process.

    Args:
        name: of the result.
        scenario: what to run.
        paths: image files.
        batches: how many, after those of a first Loader that is thrown away.
        batch_size: images per batch.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)

        def start() -> Batches:
            return scenario.run(lambda: scenario.build(paths, batch_size, folder))

        for _ in islice(start(), min(batches, FIRST_BATCHES)):
            pass
        before = settled_usage(None)
        timing, samples, during = _sampled(start(), batches, scenario.label)
        after = settled_usage(before)
    usages = {"before": before, "during": during, "after": after}
    return Soak(name=name, label=scenario.label, batches=batches, timing=timing, samples=samples, **usages)


def _sampled(stream: Batches, batches: int, label: str) -> tuple[Timing, Samples, Usage]:
    """Consume batches: how long they took, memory over them, and what was held in the middle."""
    every, samples, held = max(1, batches // SAMPLES), [], []

    def consume() -> int:
        seen = 0
        with open_bar(label, batches, "batches") as bar:
            for done in range(1, batches + 1):
                seen += len(next(stream)[0])
                bar.update()
                if done % every == 0:
                    samples.append((done, resident_bytes()))
                if done == (batches + 1) // 2:
                    held.append(read_usage())
        return seen

    timing = timed(consume)
    return replace(timing, peak_bytes=max(resident for _, resident in samples)), tuple(samples), held[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run."""

    data: str | None = argument("a folder of images; without it small ones are drawn", optional=True)
    batches: int = option(20_000, "per scenario")
    batch_size: int = option(16, "images per batch")
    scenarios: tuple[str, ...] = option(tuple(SCENARIOS), "which", choices=tuple(SCENARIOS))

    def __post_init__(self):
        if self.batches < 2 or self.batch_size < 1:
            raise ValueError("--batches must be at least 2 and --batch-size at least 1")


def measure(options: Options) -> Iterator[Found]:
    """Each scenario in a process of its own."""
    soaks: list[Soak] = []
    with tempfile.TemporaryDirectory(prefix="dali_mixup-soak-") as folder:
        paths = find_files(options.data)[0] if options.data else draw_jpegs(folder, DRAWN_FILES, DRAWN_SIDES)
        for name in options.scenarios:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                soaks.append(pool.submit(_soak_by_name, name, paths, options.batches, options.batch_size).result())
            yield found(soaks, files=len(paths))


def found(soaks: Sequence[Soak], *, files: int) -> Found:
    """All scenarios, with their samples."""
    results = [Result(name=each.name, label=each.label, timings=(each.timing,)) for each in soaks]
    derived, passed = {each.name: record(each) for each in soaks}, not any(each.faults() for each in soaks)
    return Found(results=results, derived=derived, settings={"files": files}, passed=passed)


def _soak_by_name(name: str, paths: Sequence[str], batches: int, batch_size: int) -> Soak:
    return soak(name, SCENARIOS[name], paths, batches=batches, batch_size=batch_size)


def record(soak: Soak) -> dict[str, object]:
    """For JSON; the folders of open files are the machine's own business."""
    kept = asdict(soak)
    for moment in ("before", "during", "after"):
        kept[moment]["files"] = tuple(map(os.path.basename, kept[moment]["files"]))
    return {**kept, "slope": soak.slope, "faults": soak.faults()}


def describe(report: Report) -> str:
    """A row per scenario, then every fault in words."""
    rows, faults = [], []
    for result in report.results:
        kept = report.derived[result.name]
        usages = [kept[moment] for moment in ("before", "during", "after")]
        settled = [resident for _, resident in settled_samples(kept["samples"], kept["batches"])]
        levels = f"{settled[0] / 2**20:.1f} - {settled[-1] / 2**20:.1f}"
        counts = ["/".join(str(len(usage[what])) for usage in usages) for what in ("threads", "files")]
        figures = [f"{kept['batches']:,}", f"{result.rate.median:,.0f}", levels, f"{kept['slope']:+.0f}", *counts]
        rows.append([result.label, *figures, "FAILED" if kept["faults"] else "flat"])
        faults += [f"{result.name}: {fault}" for fault in kept["faults"]]
    header = ["scenario", "batches", "images/s", "MiB after warm-up - end", "bytes/batch"]
    header += ["threads", "files", "verdict"]
    note = "Threads and open files: before / while / after the Loader."
    return "\n".join([format_table(header, rows), "", note, *faults])


def plot(report: Report, path: str) -> None:
    """Memory over batches, a line per scenario, from its level after the warm-up; the limit as a dashed line."""
    lines, settled = {}, []
    for name, kept in report.derived.items():
        done, resident = zip(*kept["samples"], strict=True)
        settled = settled_samples(kept["samples"], kept["batches"])
        over = [(held - settled[0][1]) / 2**20 for held in resident]
        lines[f"{name}: {kept['slope']:+.0f} bytes per batch"] = done, over
    start, end = settled[0][0], settled[-1][0]
    limit = f"limit: {SLOPE_LIMIT:.0f} bytes per batch"
    lines[limit] = (start, end), (0, (end - start) * SLOPE_LIMIT / 2**20)
    title = report.stamp.title
    draw_lines(lines, path, x="batches", y="MiB above the level after the warm-up", title=title, limit=limit)


bench = Bench("soak", __doc__, Options, measure, describe, unit="images", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
