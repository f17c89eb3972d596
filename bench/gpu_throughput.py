"""Images per second on a GPU: first the decoder's settings, then this library beside what a user would pick instead.

All loaders but torchvision's DataLoader, which has processes, take turns in one process: each keeps its queues full
while the others run, and begins its turn with untimed batches that empty them. With the best settings ours, with mixup
and without, then meets DALI without mixup (the same threads and hardware share), torchvision's DataLoader and
torchvision's own decoder on the GPU.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import product

import torch

from bench.feed import ALPHA, Batches, Feed, endless, find_files
from bench.gpu_stamp import make_gpu_stamp
from bench.isolated import isolated
from bench.measure import Case, Result, measure_cases, speedup, time_calls
from bench.options import add_outputs, save
from bench.peers import ours, raw_dali, torchvision_nvjpeg
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from dali_mixup import GpuDecode, MixUp

EXAMPLES = """examples:
  python -m bench.gpu_throughput path/to/images --json throughput.json
  python -m bench.gpu_throughput path/to/images --batch-sizes 256 --threads 8 --loads 0 0.5 1
  python -m bench.gpu_throughput path/to/images --device cpu --batch-sizes 4 --threads 2 --loads 0 --workers 1     # to
  see that it runs
"""
LEAD = 4  # untimed batches: more than a loader prepares ahead
TUNED_AT = 256  # images per batch, for the settings and for torchvision's DataLoader
LEAST_S = 12.0  # what a group of loaders needs at least
SHORT_EPOCH = (
    16  # largest batches in an epoch of ours, which runs on into the next; the others' epochs outlast a comparison
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A loader of a comparison: `open` starts it."""

    name: str
    open: Callable[[], Batches]
    options: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Course:
    """What was measured so far, and until when there is time."""

    batches: int
    rounds: int
    deadline: float
    results: list[Result] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def run(
        self, group: str, rivals: Sequence[Rival], feed: Feed, processes: Sequence[tuple[str, str]] = ()
    ) -> list[Result]:
        """Time loaders side by side; each result is called "<group>: <name>".

        What doesn't start is noted with its error.

        Args:
            group: what they have in common.
            rivals: loaders of this process.
            feed: the job.
            processes: (name, "module:function") of loaders that get processes of their own.
        """
        if time.monotonic() + LEAST_S > self.deadline:
            self.missing[group] = "no time was left"
            return []
        cases, lead = [], 2 * (feed.workers or 1) + 2
        with ExitStack() as running:
            for rival in rivals:
                try:
                    stream = rival.open()
                    next(stream)
                except Exception as error:  # noqa: BLE001  whatever a foreign loader raises becomes a line of the report
                    self.missing[f"{group}: {rival.name}"] = f"{type(error).__name__}: {error}".strip()[:500]
                else:
                    cases.append(
                        Case(
                            name=f"{group}: {rival.name}", run=_turn(stream, self.batches, feed), options=rival.options
                        )
                    )
            for name, source in processes:
                try:
                    run = running.enter_context(isolated(source, feed, lead=lead, batches=self.batches))
                except Exception as error:  # noqa: BLE001
                    self.missing[f"{group}: {name}"] = str(error)[:500]
                else:
                    cases.append(Case(name=f"{group}: {name}", run=run))
            found = measure_cases(cases, rounds=self.rounds, progress=False) if cases else []
        self.results += found
        return found


def _turn(stream: Iterator, batches: int, feed: Feed) -> Callable:
    def run():  # noqa: ANN202
        for _ in range(LEAD):
            next(stream)
        return time_calls(lambda: next(stream), calls=batches, items=feed.batch_size, device=feed.device)

    return run


def sweep(course: Course, feed: Feed, threads: Sequence[int], loads: Sequence[float]) -> tuple[Feed, GpuDecode]:
    """Find the best number of threads and hardware share, then whether size hints help.

    Returns:
        The feed with the best number of threads, and the best settings.
    """
    rivals = [
        _ours(replace(feed, threads=count), GpuDecode(hw_decoder_load=load), f"{count} threads, load {load:g}")
        for count, load in product(threads, loads)
    ]
    tried = course.run("settings", rivals, feed)
    gc.collect()
    if not tried:
        return replace(feed, threads=threads[-1]), GpuDecode()
    best = max(tried, key=lambda result: result.rate.median)
    feed, chosen = (
        replace(feed, threads=best.options["threads"]),
        GpuDecode(hw_decoder_load=best.options["load_percent"] / 100),
    )
    hinted = [
        _ours(feed, replace(chosen, size_hints=hints), f"size hints {'on' if hints else 'off'}")
        for hints in (False, True)
    ]
    without_and_with = course.run("hints", hinted, feed)
    gc.collect()
    if len(without_and_with) == 2 and speedup(without_and_with[1], without_and_with[0]).low > 1:
        chosen = replace(chosen, size_hints=True)
    return feed, chosen


def compare(
    course: Course, feed: Feed, longer: Feed, chosen: GpuDecode, *, processes: bool
) -> dict[str, dict[str, dict]]:
    """Ours beside the others at the feed's batch size.

    Args:
        course: where the results go.
        feed: the job.
        longer: the same with more files, for those whose epochs end with a pause.
        chosen: the decoder's settings.
        processes: take torchvision's DataLoader along.

    Returns:
        Ratios of ours with mixup to each of the others, by the group's name.
    """
    rivals = [
        _ours(feed, chosen, "ours"),
        Rival(name="ours without mixup", open=lambda: ours.batches(feed, None, chosen)),
        Rival(name="DALI without mixup", open=lambda: raw_dali.plain_batches(longer, chosen.hw_decoder_load)),
        Rival(name="torchvision decode_jpeg", open=lambda: torchvision_nvjpeg.batches(feed)),
    ]
    separate = [("torchvision DataLoader", "bench.peers.torchvision_pillow:batches")] if processes else []
    group = f"batch {feed.batch_size}"
    found = {result.name.removeprefix(f"{group}: "): result for result in course.run(group, rivals, longer, separate)}
    gc.collect()
    if "ours" not in found:
        return {}
    return {group: {name: asdict(speedup(found["ours"], result)) for name, result in found.items() if name != "ours"}}


def describe(report: Report) -> str:
    """A table of all rates, and the ratios."""
    rows = [[result.name, format_spread(result.rate)] for result in report.results]
    ratios = [
        f"{group}: ours with mixup is {ratio['median']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f}) x {name}"
        for group, row in report.derived.get("ratios", {}).items()
        for name, ratio in row.items()
    ]
    best = [f"best settings: {report.derived['best']}"] if "best" in report.derived else []
    missing = [f"{name}: {reason}" for name, reason in report.missing.items()]
    return "\n".join([format_table(["loader", "images/s"], rows), "", *best, *ratios, *missing, str(report.stamp)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    stamp = make_gpu_stamp()
    paths, labels = find_files(options.data)
    course = Course(batches=options.batches, rounds=options.rounds, deadline=time.monotonic() + options.seconds)
    most = (
        max(*options.batch_sizes, options.tuned_at)
        * (options.batches + LEAD + 2 * options.workers)
        * (options.rounds + 2)
    )
    short = endless(paths, labels, SHORT_EPOCH * max(*options.batch_sizes, options.tuned_at))
    long = endless(paths, labels, most)
    common = {"classes": max(labels) + 1, "size": options.size, "device": options.device, "workers": options.workers}
    feed = Feed(paths=short[0], labels=short[1], batch_size=options.tuned_at, **common)
    derived: dict = {}

    def save_so_far() -> Report:
        shown = ("data", "batch_sizes", "threads", "loads", "size", "device", "workers", "batches", "rounds")
        settings = {name: getattr(options, name) for name in shown} | {"files": len(paths)}
        report = Report(
            benchmark="gpu_throughput",
            unit="images",
            settings=settings,
            stamp=stamp,
            results=tuple(course.results),
            missing=course.missing,
            derived=derived,
        )
        save(report, options, lambda path: _plot(report, path))
        return report

    feed, chosen = sweep(course, feed, options.threads, options.loads)
    derived |= {"best": asdict(chosen) | {"threads": feed.threads}, "ratios": {}}
    report = save_so_far()
    for batch_size in options.batch_sizes:
        mine = replace(feed, batch_size=batch_size)
        longer = replace(mine, paths=long[0], labels=long[1])
        derived["ratios"] |= compare(course, mine, longer, chosen, processes=batch_size == options.tuned_at)
        report = save_so_far()
    print(describe(report))
    return 0 if derived["ratios"] else 1


def _ours(feed: Feed, gpu_decode: GpuDecode, name: str) -> Rival:
    options = {
        "threads": feed.threads or 0,
        "load_percent": round(100 * gpu_decode.hw_decoder_load),
        "hints": int(gpu_decode.size_hints),
    }
    return Rival(name=name, open=lambda: ours.batches(feed, MixUp(alpha=ALPHA), gpu_decode), options=options)


def _plot(report: Report, path: str) -> None:
    colors = {result.name: BOUND_COLOR if "without mixup" in result.name else OURS_COLOR for result in report.results}
    draw_bars(
        report.results,
        path,
        axis="images/s",
        title=f"{report.stamp.gpu or report.stamp.cpu}; {report.stamp.commit}",
        colors=colors,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_throughput",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="a folder of JPEGs, or of one folder per class")
    add("--batch-sizes", type=int, nargs="+", default=[256, 64, 1024], help="images per batch (default 256 64 1024)")
    add(
        "--tuned-at", type=int, default=TUNED_AT, help=f"images per batch while settings are tried (default {TUNED_AT})"
    )
    add("--threads", type=int, nargs="+", default=[4, 8, 16], help="DALI's threads to try (default 4 8 16)")
    add(
        "--loads",
        type=float,
        nargs="+",
        default=[0.0, 0.35, 0.65, 1.0],
        help="hardware decoder shares to try (default 0 0.35 0.65 1)",
    )
    add("--size", type=int, default=224, help="height and width of the output in pixels (default 224)")
    add("--workers", type=int, default=16, help="processes of torchvision's DataLoader (default 16)")
    add("--batches", type=int, default=12, help="timed batches per turn (default 12)")
    add("--rounds", type=int, default=3, help="timed rounds (default 3)")
    add(
        "--seconds",
        type=float,
        default=170.0,
        help="begin no further comparison when less than 12 of these are left (default 170)",
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default the GPU")
    add_outputs(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
