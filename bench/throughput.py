"""Images per second of this library beside what a user would pick instead, on the same files.

Every loader delivers float32 batches with a random resized crop, flip, normalization and mixup (except for
`ours_plain`, without mixup, and `decode`, DALI's decoder alone, which is the bound for all that decode with it);
`ours_tar` and FFCV read the files from one that is written beforehand. Each
runs in a process of its own, and they take turns (see `bench.rivals` and `bench.measure`); the files come from the
page cache. With `--arrays` the images lie in memory as pixels, and are cropped up to 4 pixels beyond their edges
instead; `pixels` maps them from a pack that is written beforehand. With `--recipe deit` timm's loader with
DeiT's augmentations (bicubic crops, `rand-m9-mstd0.5-inc1`, erasing with noise, mixup or CutMix) stands beside the same
loader swapped by `from_dataloader`.

Examples:
    python -m bench.throughput path/to/images
    python -m bench.throughput path/to/images --variants ours,torchvision,decode --rounds 5
    python -m bench.throughput path/to/images --threads 2,3,4 --json throughput.json --plot throughput.png
    python -m bench.throughput path/to/images --recipe deit
    python -m bench.throughput path/to/cifar10/train --arrays --size 32 --batch-size 500 --batches 100
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from bench.command import DATA, PATIENCE, Bench, Found, argument, best_device, numbers, option
from bench.feed import Feed, endless, find_feed
from bench.machine import cores
from bench.measure import Result, Spread, measure_cases, speedup, spread
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from bench.rivals import Rival, apart, started


@dataclass(frozen=True, slots=True)
class Variant:
    """One loader: what `--variants` and the table call it, its function, and whether it has threads to choose."""

    name: str
    label: str
    source: str
    threaded: bool = False


VARIANTS = (
    Variant("ours", "dali_mixup", "bench.peers.ours:with_mixup", threaded=True),
    Variant("ours_plain", "dali_mixup without mixup", "bench.peers.ours:without_mixup", threaded=True),
    Variant("ours_tar", "dali_mixup, files in a tar", "bench.peers.ours:from_tar", threaded=True),
    Variant("ours_pack", "dali_mixup, lossless pack", "bench.peers.packs:lossless", threaded=True),
    Variant("ours_400", "dali_mixup, pack shrunk to 400 px", "bench.peers.packs:shrunk", threaded=True),
    Variant("torchvision", "torchvision, Pillow", "bench.peers.torchvision_pillow:batches"),
    Variant("turbojpeg", "torchvision, PyTurboJPEG", "bench.peers.torchvision_turbojpeg:batches"),
    Variant("timm", "timm", "bench.peers.timm_peer:batches"),
    Variant("raw_dali", "DALI + v2.MixUp", "bench.peers.raw_dali:batches", threaded=True),
    Variant("spdl", "SPDL", "bench.peers.spdl_peer:batches", threaded=True),
    Variant("ffcv", "FFCV, same JPEGs", "bench.peers.ffcv_peer:batches"),
    Variant("ffcv_encoded", "FFCV, encoded anew", "bench.peers.ffcv_peer:encoded_batches"),
    Variant("ffcv_400", "FFCV, shrunk to 400 px", "bench.peers.ffcv_peer:shrunk_batches"),
    Variant("ffcv_raw", "FFCV, 500 px, half uncompressed", "bench.peers.ffcv_peer:half_raw_batches"),
    Variant("decode", "DALI's window decode alone", "bench.peers.decode_only:batches", threaded=True),
)
VARIANTS_OF_ARRAYS = (
    Variant("ours", "dali_mixup", "bench.peers.arrays:with_mixup", threaded=True),
    Variant("ours_plain", "dali_mixup without mixup", "bench.peers.arrays:without_mixup", threaded=True),
    Variant("pixels", "dali_mixup, pack of pixels", "bench.peers.arrays:from_pack", threaded=True),
    Variant("files", "dali_mixup from the files", "bench.peers.arrays:from_files", threaded=True),
    Variant("torchvision", "torchvision", "bench.peers.arrays:torchvision"),
    Variant("ffcv", "FFCV, raw pixels", "bench.peers.ffcv_peer:raw_batches"),
)
VARIANTS_OF_DEIT = (
    Variant("ours", "dali_mixup", "bench.peers.deit:ours", threaded=True),
    Variant("timm", "timm", "bench.peers.deit:timm"),
    Variant("decode", "DALI's window decode alone", "bench.peers.decode_only:batches", threaded=True),
)
NAMES = tuple(dict.fromkeys(variant.name for variant in (*VARIANTS, *VARIANTS_OF_ARRAYS)))
RECIPES = ("plain", "deit")
LEFT_OUT = ("ffcv_encoded", "ffcv_raw")
OURS, BASELINE, BOUND = "ours", "torchvision", "decode"


def known_names(text: str) -> tuple[str, ...]:
    """Names of variants with commas between them."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"must be of {','.join(NAMES)}, got {','.join(unknown)}")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    batch_size: int = option(64, "images per batch")
    size: int = option(224, "height and width of the output in pixels")
    files: int | None = option(None, "take the first so many files (default all)")
    threads: tuple[int, ...] = option(
        (), "of the threaded loaders; of several, such as 2,3, the best counts", parse=numbers
    )
    workers: int | None = option(None, "processes of torchvision and timm, threads of FFCV (default one per core)")
    rounds: int = option(7, "timed rounds, each of which runs every variant")
    batches: int = option(15, "timed batches per round and variant")
    arrays: bool = option(False, "of images that lie in memory as pixels")
    recipe: str = option("plain", 'or "deit": bicubic, RandAugment, erasing, mixup or CutMix', choices=RECIPES)
    variants: tuple[str, ...] = option(
        (), f"comma-separated, of {','.join(NAMES)} (default all but {','.join(LEFT_OUT)})", parse=known_names
    )
    device: str = option(best_device, "where batches must arrive (default the GPU if there is one)")
    patience: float = option(0.0, PATIENCE)

    def __post_init__(self) -> None:
        if self.arrays and self.recipe != "plain":
            raise ValueError("--arrays has the plain recipe alone")


def measure(options: Options) -> Iterator[Found]:
    """Time the variants side by side; one with threads to choose once for each number of them."""
    found = find_feed(options.data, options.files)
    job = replace(found, batch_size=options.batch_size, size=options.size, device=options.device)
    lead = 2 * (options.workers or cores()) + 2
    job = endless(job, (options.rounds + 2) * (lead + options.batches) * options.batch_size)
    job = replace(job, workers=options.workers)
    known = variants_of(options.arrays, options.recipe)
    variants = [variant for variant in known if variant.name in options.variants]
    variants = variants or [variant for variant in known if variant.name not in LEFT_OUT]
    rivals = [_rival(each, job, n, lead, options.batches) for each in variants for n in _threads(each, options.threads)]
    with started(rivals) as (cases, missing):
        results = measure_cases(cases, rounds=options.rounds, patience_s=options.patience)
    if not results:
        raise SystemExit("\n".join(f"{name}: {reason}" for name, reason in missing.items()))
    ratios = {name: {column: asdict(ratio) for column, ratio in row.items()} for name, row in compare(results).items()}
    yield Found(results=results, missing=missing, derived=ratios, settings={"files": len(found.paths)})


def variants_of(arrays: bool, recipe: str) -> Sequence[Variant]:
    """All that can be compared."""
    if recipe == "deit":
        return VARIANTS_OF_DEIT
    return VARIANTS_OF_ARRAYS if arrays else VARIANTS


def best_of_each(results: Sequence[Result]) -> list[Result]:
    """Of each variant the result with the highest median."""
    best: dict[str, Result] = {}
    for result in sorted(results, key=lambda result: result.rate.median):
        best[result.name] = result
    return [best[name] for name in dict.fromkeys(result.name for result in results)]


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
    """The table, best first, and what it was taken with."""
    best, ratios, settings = best_of_each(report.results), compare(report.results), report.settings
    columns = list(ratios[best[0].name])
    labels = {
        variant.name: variant.label
        for variant in variants_of(settings.get("arrays", False), settings.get("recipe", "plain"))
    }
    rows = []
    for result in sorted(best, key=lambda result: -result.rate.median):
        cells = [format_spread(ratios[result.name][column], 2) for column in columns]
        rows.append([result.label, format_spread(result.rate), *cells, str(result.options.get("threads", ""))])
    others = spread([timing.others for result in best for timing in result.timings])
    lines = [
        format_table(["loader", "images/s", *columns, "threads"], rows),
        *(f"{labels[name]}: {reason}" for name, reason in report.missing.items()),
        "",
        f"Median of {settings['rounds']} rounds of {settings['batches']} batches of {_shape(report)}; in brackets the "
        "middle half; ratios are taken within a round.",
        f"{settings['files']} files from {settings['data']}; others kept {format_spread(others, 2)} cores busy.",
    ]
    return "\n".join(lines)


def plot(report: Report, path: str) -> None:
    """Bars."""
    draw_bars(
        report, path, axis=f"images/s in batches of {_shape(report)}", colors=COLORS, only=best_of_each(report.results)
    )


COLORS = {OURS: OURS_COLOR, BOUND: BOUND_COLOR}


def _shape(report: Report) -> str:
    return f"{report.settings['batch_size']} x 3 x {report.settings['size']} x {report.settings['size']}"


def _threads(variant: Variant, asked: Sequence[int]) -> Sequence[int | None]:
    """Numbers to try: None is the loader's own choice; the bound without a choice is the better of two."""
    if not variant.threaded:
        return (None,)
    return asked or ((cores(), cores() + 1) if variant.name == BOUND else (None,))


def _rival(variant: Variant, job: Feed, threads: int | None, lead: int, batches: int) -> Rival:
    start = partial(apart, variant.source, replace(job, threads=threads), lead=lead, batches=batches)
    options = {} if threads is None else {"threads": threads}
    return Rival(name=variant.name, label=variant.label, start=start, options=options)


PACKAGES = ("torchvision", "pillow", "PyTurboJPEG", "timm", "ffcv", "spdl")
bench = Bench("throughput", __doc__, Options, measure, describe, unit="images", plot=plot, packages=PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
