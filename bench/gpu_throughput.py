"""Images per second on a GPU: this library beside what a user would pick instead, and the decoder's settings.

First raw DALI without mixup, ours with and without, then torchvision's DataLoader, and torchvision's own decoder on the
GPU. All but the DataLoader, which has processes, take turns in one process: each keeps its queues full while the others
run, and begins its turn with untimed batches that empty them. DALI has ours' threads, hardware share and chroma, smooth
and rough. With `--sweep` numbers of threads, hardware shares and size hints are tried before, and the best ones taken.

Examples:
    python -m bench.gpu_throughput path/to/images --json throughput.json
    python -m bench.gpu_throughput path/to/images --sweep --batch-sizes 64 1024 --threads 8 --loads 0 0.5 1
    python -m bench.gpu_throughput path/to/images --device cpu --batch-sizes 4     # to see that it runs
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
from bench.measure import Result, measure_rounds, speedup
from bench.peers import ours, raw_dali, torchvision_nvjpeg
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import GPU_PACKAGES, Report, format_spread, format_table
from bench.rivals import Rival, apart, started, within
from dali_mixup import GpuDecode, MixUp

LEAD = 4  # untimed batches: more than a loader prepares ahead
LEAST_S = 12.0  # what a group of loaders needs at least
TURNS_OF_WORKERS = 4  # that are timed: batches of processes come in bursts of as many as there are
ROUGH = "fancy_upsampling=False"
DALI, TORCHVISION = "DALI without mixup", "torchvision DataLoader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument("a folder of JPEGs, or of one folder per class")
    batch_sizes: tuple[int, ...] = option((256,), "images per batch")
    sweep: bool = option(False, "try settings at the first batch size before, and leave torchvision out")
    threads: tuple[int, ...] = option((8, 4, 16), "DALI's threads; the first, or those to try")
    loads: tuple[float, ...] = option((0.65, 0.0, 0.35, 1.0), "hardware decoder shares; the first, or those to try")
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

    def run(self, group: str, rivals: Sequence[Rival]) -> Iterator[dict[str, Result]]:
        """Time loaders side by side, called "<group>: <name>" in the report: by name what is known after each round.

        What doesn't start is noted as missing.
        """
        if time.monotonic() + LEAST_S > self.deadline:
            self.missing[group] = "no time was left"
            return
        named = [replace(rival, name=f"{group}: {rival.name}") for rival in rivals]
        before = self.results
        with started(named, progress=False) as (cases, missing):
            self.missing |= missing
            rounds = measure_rounds(cases, rounds=self.options.rounds, progress=False) if cases else iter(())
            for found in rounds:
                self.results = [*before, *found]
                yield {result.name.removeprefix(f"{group}: "): result for result in found}
        gc.collect()  # what loaders hold on the GPU

    def rival(self, name: str, feed: Feed, start: Callable[[], Batches], **options: int) -> Rival:
        """A loader of this process."""
        run = partial(within, start, feed, lead=LEAD, batches=self.options.batches)
        return Rival(name=name, start=run, options=options)

    def ours(self, name: str, feed: Feed, decode: GpuDecode) -> Rival:
        """With mixup."""
        load, hints = round(100 * decode.hw_decoder_load), int(decode.size_hints)
        start = partial(ours.batches, feed, MixUp(alpha=ALPHA), decode)
        return self.rival(name, feed, start, threads=feed.threads or 0, load_percent=load, hints=hints)

    def outlasting(self, feed: Feed, lead: int = LEAD, batches: int = 0) -> Feed:
        """The feed with so many files that no epoch ends within a comparison."""
        timed = batches or self.options.batches
        return endless(feed, feed.batch_size * (timed + lead) * (self.options.rounds + 2))

    def found(self) -> Found:
        """So far."""
        passed = bool(self.derived["ratios"])
        settings = {"files": self.files}
        return Found(results=self.results, missing=self.missing, derived=self.derived, settings=settings, passed=passed)


def measure(options: Options) -> Iterator[Found]:
    """The settings, if they are to be tried, then each batch size; all that is known after each round."""
    deadline = time.monotonic() + options.seconds
    folder = replace(find_feed(options.data), size=options.size, device=options.device, workers=options.workers)
    course = Course(options=options, deadline=deadline, files=len(folder.paths))
    feed = replace(folder, threads=options.threads[0])
    decode = GpuDecode(hw_decoder_load=options.loads[0])
    course.derived = {"settings": asdict(decode) | {"threads": feed.threads}, "ratios": {}}
    if options.sweep:
        for best in sweep(course, feed, decode):
            course.derived["settings"] = asdict(best[1]) | {"threads": best[0].threads}
            feed, decode = replace(feed, threads=best[0].threads), best[1]
            yield course.found()
    for batch_size in options.batch_sizes:
        for group, rivals in groups_at(course, replace(feed, batch_size=batch_size), decode).items():
            for found in course.run(group, rivals):
                if "ours" in found:
                    mine = found["ours"]
                    others = {name: asdict(speedup(mine, each)) for name, each in found.items() if name != "ours"}
                    course.derived["ratios"] |= {group: others}
                yield course.found()


def sweep(course: Course, feed: Feed, decode: GpuDecode) -> Iterator[tuple[Feed, GpuDecode]]:
    """The best number of threads and hardware share so far, then also whether size hints help."""
    options = course.options
    feed = course.outlasting(replace(feed, batch_size=options.batch_sizes[0]))
    rivals = [
        course.ours(f"{count} threads, load {load:g}", replace(feed, threads=count), GpuDecode(hw_decoder_load=load))
        for count, load in product(options.threads, options.loads)
    ]
    for tried in course.run("settings", rivals):
        best = max(tried.values(), key=lambda result: result.rate.median).options
        feed, decode = replace(feed, threads=best["threads"]), GpuDecode(hw_decoder_load=best["load_percent"] / 100)
        yield feed, decode
    hinted = {f"size hints {name}": replace(decode, size_hints=name == "on") for name in ("off", "on")}
    for tried in course.run("hints", [course.ours(name, feed, each) for name, each in hinted.items()]):
        if len(tried) == len(hinted) and speedup(tried["size hints on"], tried["size hints off"]).low > 1:
            decode = hinted["size hints on"]
        yield feed, decode


def groups_at(course: Course, feed: Feed, decode: GpuDecode) -> dict[str, list[Rival]]:
    """Ours beside the others at the feed's batch size; `decode` is ours', and DALI gets its share."""
    options, longer = course.options, course.outlasting(feed)
    group = f"batch {feed.batch_size}"
    ours_mixed = course.ours("ours", longer, decode)
    rough = replace(decode, fancy_upsampling=False)
    groups = {
        group: [
            course.rival(DALI, feed, partial(raw_dali.plain_batches, longer, decode)),
            ours_mixed,
            course.rival("ours without mixup", feed, partial(ours.batches, longer, None, decode)),
        ],
        f"{group}, {ROUGH}": [
            course.rival(DALI, feed, partial(raw_dali.plain_batches, longer, rough)),
            course.ours("ours", longer, rough),
        ],
    }
    if not options.sweep:
        source, lead = "bench.peers.torchvision_pillow:batches", 2 * options.workers + 2
        batches = max(options.batches, TURNS_OF_WORKERS * options.workers)
        start = partial(apart, source, course.outlasting(feed, lead, batches), lead=lead, batches=batches)
        nvjpeg = course.rival("torchvision decode_jpeg", feed, partial(torchvision_nvjpeg.batches, feed))
        groups[f"{group}, torchvision"] = [ours_mixed, Rival(name=TORCHVISION, start=start), nvjpeg]
    return groups


def describe(report: Report) -> str:
    """A table of all rates, and the ratios."""
    rates = [[result.name, format_spread(result.rate)] for result in report.results]
    ratios = [
        f"{group}: ours with mixup is {ratio['median']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f}) x {name}"
        for group, row in report.derived["ratios"].items()
        for name, ratio in row.items()
    ]
    missing = [f"{name}: {' '.join(reason.split())}" for name, reason in report.missing.items()]
    chosen = ", ".join(f"{name} = {value}" for name, value in report.derived["settings"].items())
    notes = [f"settings: {chosen}", f"torchvision's DataLoader had {report.settings['workers']} workers"]
    return "\n".join([format_table(["loader", "images/s"], rates), "", *notes, *ratios, *missing])


plot = partial(draw_bars, axis="images/s", colors={"without mixup": BOUND_COLOR, "": OURS_COLOR})
bench = Bench("gpu_throughput", __doc__, Options, measure, describe, unit="images", plot=plot, packages=GPU_PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
