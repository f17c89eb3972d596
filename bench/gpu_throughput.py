"""Images per second on a GPU: first the decoder's settings, then this library beside what a user would pick instead.

All loaders but torchvision's DataLoader, which has processes, take turns in one process: each keeps its queues full
while the others run, and begins its turn with untimed batches that empty them. With the best settings ours, with mixup
and without, then meets DALI without mixup (the same threads and hardware share), torchvision's DataLoader and
torchvision's own decoder on the GPU.

Examples:
    python -m bench.gpu_throughput path/to/images --json throughput.json
    python -m bench.gpu_throughput path/to/images --batch-sizes 256 --threads 8 --loads 0 0.5 1
    python -m bench.gpu_throughput path/to/images --device cpu --batch-sizes 4 --loads 0     # to see that it runs
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

from bench.command import Bench, Found, argument, best_device, option
from bench.feed import ALPHA, Batches, Feed, endless, find_feed
from bench.measure import Result, measure_cases, speedup
from bench.peers import ours, raw_dali, torchvision_nvjpeg
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import GPU_PACKAGES, Report, format_spread, format_table
from bench.rivals import Rival, apart, started, within
from dali_mixup import GpuDecode, MixUp

LEAD = 4  # untimed batches: more than a loader prepares ahead
LEAST_S = 12.0  # what a group of loaders needs at least
SHORT_EPOCH = 16  # largest batches in an epoch of ours, which runs on into the next; the others' outlast a comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument("a folder of JPEGs, or of one folder per class")
    batch_sizes: tuple[int, ...] = option((256, 64, 1024), "images per batch")
    tuned_at: int = option(256, "images per batch while settings are tried, and for torchvision's DataLoader")
    threads: tuple[int, ...] = option((4, 8, 16), "DALI's threads to try")
    loads: tuple[float, ...] = option((0.0, 0.35, 0.65, 1.0), "hardware decoder shares to try")
    size: int = option(224, "height and width of the output in pixels")
    workers: int = option(16, "processes of torchvision's DataLoader")
    batches: int = option(12, "timed batches per turn")
    rounds: int = option(3, "timed rounds")
    seconds: float = option(170.0, f"begin no further comparison when less than {LEAST_S:.0f} of these are left")
    device: str = option(best_device, "where batches must arrive (default the GPU if there is one)")


@dataclass(slots=True, kw_only=True)
class Course:
    """What was measured so far, and until when there is time."""

    options: Options
    deadline: float
    files: int = 0
    results: list[Result] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    derived: dict[str, Any] = field(default_factory=dict)

    def run(self, group: str, rivals: Sequence[Rival]) -> dict[str, Result]:
        """Time loaders side by side, called "<group>: <name>" in the report; what doesn't start is noted as missing."""
        if time.monotonic() + LEAST_S > self.deadline:
            self.missing[group] = "no time was left"
            return {}
        named = [replace(rival, name=f"{group}: {rival.name}") for rival in rivals]
        with started(named, progress=False) as (cases, missing):
            found = measure_cases(cases, rounds=self.options.rounds, progress=False) if cases else []
        gc.collect()  # what loaders hold on the GPU
        self.results += found
        self.missing |= missing
        return {result.name.removeprefix(f"{group}: "): result for result in found}

    def rival(self, name: str, feed: Feed, start: Callable[[], Batches], **options: int) -> Rival:
        """A loader of this process."""
        run = partial(within, start, feed, lead=LEAD, batches=self.options.batches)
        return Rival(name=name, start=run, options=options)

    def ours(self, name: str, feed: Feed, decode: GpuDecode) -> Rival:
        """With mixup."""
        load, hints = round(100 * decode.hw_decoder_load), int(decode.size_hints)
        start = partial(ours.batches, feed, MixUp(alpha=ALPHA), decode)
        return self.rival(name, feed, start, threads=feed.threads or 0, load_percent=load, hints=hints)

    def found(self) -> Found:
        """So far."""
        derived, settings = dict(self.derived), {"files": self.files}
        passed = bool(derived["ratios"])
        return Found(results=self.results, missing=self.missing, derived=derived, settings=settings, passed=passed)


def measure(options: Options) -> Iterator[Found]:
    """First the settings, then each batch size."""
    deadline = time.monotonic() + options.seconds
    folder = replace(find_feed(options.data), size=options.size, device=options.device, workers=options.workers)
    course = Course(options=options, deadline=deadline, files=len(folder.paths))
    largest = max(*options.batch_sizes, options.tuned_at)
    most = largest * (options.batches + LEAD + 2 * options.workers) * (options.rounds + 2)
    feed = replace(endless(folder, SHORT_EPOCH * largest), batch_size=options.tuned_at)
    feed, decode = sweep(course, feed)
    course.derived = {"best": asdict(decode) | {"threads": feed.threads}, "ratios": {}}
    yield course.found()
    for batch_size in options.batch_sizes:
        mine, group = replace(feed, batch_size=batch_size), f"batch {batch_size}"
        longer = replace(endless(folder, most), batch_size=batch_size, threads=feed.threads)
        found = compare(course, group, mine, longer, decode)
        if "ours" in found:
            others = {name: asdict(speedup(found["ours"], result)) for name, result in found.items() if name != "ours"}
            course.derived["ratios"] |= {group: others}
        yield course.found()


def sweep(course: Course, feed: Feed) -> tuple[Feed, GpuDecode]:
    """Find the best number of threads and hardware share, then whether size hints help.

    Returns:
        The feed with the best number of threads, and the best settings.
    """
    options = course.options
    rivals = [
        course.ours(f"{count} threads, load {load:g}", replace(feed, threads=count), GpuDecode(hw_decoder_load=load))
        for count, load in product(options.threads, options.loads)
    ]
    tried = course.run("settings", rivals)
    if not tried:
        return replace(feed, threads=options.threads[-1]), GpuDecode()
    best = max(tried.values(), key=lambda result: result.rate.median).options
    feed, chosen = replace(feed, threads=best["threads"]), GpuDecode(hw_decoder_load=best["load_percent"] / 100)
    hinted = {f"size hints {name}": replace(chosen, size_hints=name == "on") for name in ("off", "on")}
    found = course.run("hints", [course.ours(name, feed, decode) for name, decode in hinted.items()])
    if len(found) == len(hinted) and speedup(found["size hints on"], found["size hints off"]).low > 1:
        chosen = hinted["size hints on"]
    return feed, chosen


def compare(course: Course, group: str, feed: Feed, longer: Feed, decode: GpuDecode) -> dict[str, Result]:
    """Ours beside the others at the feed's batch size; by name what was measured.

    Args:
        course: where the results go.
        group: what they are called by.
        feed: the job.
        longer: the same with more files, for those whose epochs end with a pause.
        decode: settings of ours, whose share DALI gets, too.
    """
    options = course.options
    plain = partial(raw_dali.plain_batches, longer, decode.hw_decoder_load)
    rivals = [
        course.ours("ours", feed, decode),
        course.rival("ours without mixup", feed, partial(ours.batches, feed, None, decode)),
        course.rival("DALI without mixup", feed, plain),
        course.rival("torchvision decode_jpeg", feed, partial(torchvision_nvjpeg.batches, feed)),
    ]
    if feed.batch_size == options.tuned_at:
        source, lead = "bench.peers.torchvision_pillow:batches", 2 * options.workers + 2
        start = partial(apart, source, longer, lead=lead, batches=options.batches)
        rivals.append(Rival(name="torchvision DataLoader", start=start))
    return course.run(group, rivals)


def describe(report: Report) -> str:
    """A table of all rates, and the ratios."""
    rates = [[result.name, format_spread(result.rate)] for result in report.results]
    ratios = [
        f"{group}: ours with mixup is {ratio['median']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f}) x {name}"
        for group, row in report.derived["ratios"].items()
        for name, ratio in row.items()
    ]
    missing = [f"{name}: {' '.join(reason.split())}" for name, reason in report.missing.items()]
    chosen = ", ".join(f"{name} = {value}" for name, value in report.derived["best"].items())
    notes = [f"best settings: {chosen}", f"torchvision's DataLoader had {report.settings['workers']} workers"]
    return "\n".join([format_table(["loader", "images/s"], rates), "", *notes, *ratios, *missing])


plot = partial(draw_bars, axis="images/s", colors={"without mixup": BOUND_COLOR, "": OURS_COLOR})
bench = Bench("gpu_throughput", __doc__, Options, measure, describe, unit="images", plot=plot, packages=GPU_PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
