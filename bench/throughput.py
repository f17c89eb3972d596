"""Images per second of this library beside what a user would pick instead, on the same files.

Every loader delivers float32 batches with a random resized crop, flip, normalization and mixup (except for
`ours_plain`, without mixup, and `decode`, DALI's decoder alone, which is the bound for all that decode with it). Each
runs in a process of its own, and they take turns (see `bench.isolated` and `bench.measure`); the files come from the
page cache.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from tqdm import tqdm

from bench.cpu import cores
from bench.feed import Feed, endless, find_files
from bench.isolated import LoaderFailedError, isolated
from bench.measure import Case, Result, Spread, measure_cases, speedup, spread
from bench.options import add_outputs, save
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table, make_stamp

EXAMPLES = """examples:
  python -m bench.throughput path/to/images
  python -m bench.throughput path/to/images --variants ours,torchvision,decode --rounds 5
  python -m bench.throughput path/to/images --threads 2,3,4 --json results/throughput.json --plot results/throughput.png
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One loader: what `--variants` and the table call it, its function, and whether it has threads to choose."""

    name: str
    label: str
    source: str
    threaded: bool = False


VARIANTS = (
    Variant(name="ours", label="dali_mixup", source="bench.peers.ours:with_mixup", threaded=True),
    Variant(
        name="ours_plain", label="dali_mixup without mixup", source="bench.peers.ours:without_mixup", threaded=True
    ),
    Variant(name="torchvision", label="torchvision, Pillow", source="bench.peers.torchvision_pillow:batches"),
    Variant(name="turbojpeg", label="torchvision, PyTurboJPEG", source="bench.peers.torchvision_turbojpeg:batches"),
    Variant(name="timm", label="timm", source="bench.peers.timm_peer:batches"),
    Variant(name="raw_dali", label="DALI + v2.MixUp", source="bench.peers.raw_dali:batches", threaded=True),
    Variant(name="spdl", label="SPDL", source="bench.peers.spdl_peer:batches", threaded=True),
    Variant(name="ffcv", label="FFCV, same JPEGs", source="bench.peers.ffcv_peer:batches"),
    Variant(name="ffcv_encoded", label="FFCV, encoded anew", source="bench.peers.ffcv_peer:encoded_batches"),
    Variant(name="ffcv_400", label="FFCV, shrunk to 400 px", source="bench.peers.ffcv_peer:shrunk_batches"),
    Variant(name="ffcv_raw", label="FFCV, 500 px, half uncompressed", source="bench.peers.ffcv_peer:half_raw_batches"),
    Variant(name="decode", label="DALI's window decode alone", source="bench.peers.decode_only:batches", threaded=True),
)
LEFT_OUT = ("ffcv_encoded", "ffcv_raw")
DEFAULT = [variant.name for variant in VARIANTS if variant.name not in LEFT_OUT]
OURS, BASELINE, BOUND = "ours", "torchvision", "decode"
PACKAGES = ("torchvision", "pillow", "PyTurboJPEG", "timm", "ffcv", "spdl")


def measure_throughput(
    feed: Feed,
    variants: Sequence[Variant],
    threads: Sequence[int | None],
    *,
    batches: int,
    rounds: int,
    patience_s: float = 0.0,
    progress: bool = True,
) -> tuple[list[Result], dict[str, str]]:
    """Time the variants side by side; one with threads to choose once for each of `threads`.

    Args:
        feed: the job; its files are repeated so that no epoch ends while it is timed.
        variants: what to time.
        threads: numbers to try; None is the loader's own choice, and for `decode` as many as cores and one more.
        batches: timed batches per round.
        rounds: timed rounds.
        patience_s: see `measure_cases`.
        progress: show bars on stderr.

    Returns:
        Results of all that ran, and why the others did not.
    """
    lead = 2 * (feed.workers or cores()) + 2
    paths, labels = endless(list(feed.paths), list(feed.labels), (rounds + 2) * (lead + batches) * feed.batch_size)
    feed = replace(feed, paths=paths, labels=labels)
    cases, missing = [], {}
    with ExitStack() as running:
        for variant in tqdm(variants, desc="starting", leave=False, disable=not progress):
            for count in _thread_counts(variant, threads):
                loader = isolated(variant.source, replace(feed, threads=count), lead=lead, batches=batches)
                try:
                    run = running.enter_context(loader)
                except LoaderFailedError as error:
                    missing[variant.name] = str(error)
                    break
                options = {} if count is None else {"threads": count}
                cases.append(Case(name=variant.name, label=variant.label, run=run, options=options))
        results = measure_cases(cases, rounds=rounds, patience_s=patience_s, progress=progress)
    return results, missing


def best_of_each(results: Sequence[Result]) -> list[Result]:
    """Of each variant the result with the highest median."""
    best: dict[str, Result] = {}
    for result in results:
        if result.name not in best or result.rate.median > best[result.name].rate.median:
            best[result.name] = result
    return list(best.values())


def compare(results: Sequence[Result]) -> dict[str, dict[str, Spread]]:
    """By loader its speed in multiples of the torchvision baseline and of decoding alone, and ours in multiples."""
    best = {result.name: result for result in best_of_each(results)}
    ratios: dict[str, dict[str, Spread]] = {name: {} for name in best}
    for name, result in best.items():
        for base in (BASELINE, BOUND):
            if base in best:
                ratios[name][f"x {base}"] = speedup(result, best[base])
        if OURS in best:
            ratios[name]["ours is x"] = speedup(best[OURS], result)
    return ratios


def describe(report: Report) -> str:
    """The table of a report, best first, and what it was taken with."""
    best, ratios = best_of_each(report.results), compare(report.results)
    columns = list(ratios[best[0].name])
    rows = [
        [
            result.label,
            format_spread(result.rate),
            *(format_spread(ratios[result.name][column], 2) for column in columns),
            str(result.options.get("threads", "")),
        ]
        for result in sorted(best, key=lambda result: -result.rate.median)
    ]
    labels = {variant.name: variant.label for variant in VARIANTS}
    others = spread([timing.others for result in best for timing in result.timings])
    settings = report.settings
    lines = [
        format_table(["loader", "images/s", *columns, "threads"], rows),
        *(f"{labels[name]}: {reason}" for name, reason in report.missing.items()),
        "",
        f"Median of {settings['rounds']} rounds of {settings['batches']} batches of "
        f"{settings['batch_size']} x 3 x {settings['size']} x "
        f"{settings['size']}; in brackets the middle half; ratios are taken within a round.",
        f"{settings['files']} files from {settings['data']}; other processes kept "
        f"{format_spread(others, 2)} cores busy.",
        str(report.stamp),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    stamp = make_stamp(PACKAGES)  # before the run: files may change meanwhile
    paths, labels = find_files(options.data, options.files)
    feed = Feed(
        paths=tuple(paths),
        labels=tuple(labels),
        classes=max(labels) + 1,
        batch_size=options.batch_size,
        size=options.size,
        device=options.device,
        workers=options.workers,
    )
    chosen = [variant for variant in VARIANTS if variant.name in options.variants]
    results, missing = measure_throughput(
        feed, chosen, options.threads, batches=options.batches, rounds=options.rounds, patience_s=options.patience
    )
    shown = ("data", "batch_size", "size", "device", "workers", "batches", "rounds")
    report = Report(
        benchmark="throughput",
        unit="images",
        settings={name: getattr(options, name) for name in shown} | {"files": len(paths)},
        stamp=stamp,
        results=tuple(results),
        missing=missing,
        derived={
            name: {column: asdict(ratio) for column, ratio in row.items()} for name, row in compare(results).items()
        },
    )
    if not results:
        print("\n".join(f"{name}: {reason}" for name, reason in missing.items()), file=sys.stderr)
        return 1
    print(describe(report))
    save(report, options, partial(_plot, report))
    return 0


def _thread_counts(variant: Variant, threads: Sequence[int | None]) -> Sequence[int | None]:
    if not variant.threaded:
        return (None,)
    if variant.name == BOUND and list(threads) == [None]:
        return cores(), cores() + 1  # the bound is the better of both
    return threads


def _plot(report: Report, path: str) -> None:
    settings, stamp = report.settings, report.stamp
    highlights = dict.fromkeys(("ours", "ours_plain"), OURS_COLOR) | {BOUND: BOUND_COLOR}
    draw_bars(
        best_of_each(report.results),
        path,
        axis=f"images/s in batches of {settings['batch_size']} x 3 x {settings['size']} x {settings['size']}",
        title=f"{stamp.gpu or stamp.cpu}, {stamp.cores} cores; commit {stamp.commit}",
        colors=highlights,
    )


def _parser() -> argparse.ArgumentParser:
    names = ",".join(variant.name for variant in VARIANTS)
    parser = argparse.ArgumentParser(
        prog="python -m bench.throughput",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="a folder of images, or of one folder per class")
    add("--batch-size", type=int, default=64, help="images per batch (default 64)")
    add("--size", type=int, default=224, help="height and width of the output in pixels (default 224)")
    add("--files", type=int, help="take the first so many files (default all)")
    add(
        "--threads",
        type=_threads,
        default=[None],
        help="of the threaded loaders; of several, such as 2,3, the best one counts",
    )
    add("--workers", type=int, help="processes of torchvision and timm, threads of FFCV (default one per core)")
    add("--rounds", type=int, default=7, help="timed rounds, each of which runs every variant (default 7)")
    add("--batches", type=int, default=15, help="timed batches per round and variant (default 15)")
    add(
        "--variants",
        type=_variants,
        default=DEFAULT,
        help=f"comma-separated, of {names} (default all but {' and '.join(LEFT_OUT)})",
    )
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
    add_outputs(parser)
    return parser


def _threads(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"must be positive numbers, got {text!r}")
    return counts


def _variants(text: str) -> list[str]:
    names = text.split(",")
    known = [variant.name for variant in VARIANTS]
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"must be of {','.join(known)}, got {','.join(unknown)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
