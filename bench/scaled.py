"""What `decode="scaled"` brings on photos of many megapixels: exact and scaled decode of files and of their pack.

One Loader each walks through whole epochs in turns, in this process: `imagenet.val` and `imagenet.train`, with exact
and with scaled decode, of the files and of a lossless pack of them, and with exact decode of a pack that is shrunk to
twice the output's height; the packs are written beforehand. `bits` decodes every file at an eighth of its size in as
many threads, which is little but reading its entropy-coded bits: who decodes whole files by libjpeg-turbo can't be
faster.

Examples:
    python -m bench.scaled path/to/large/photos
    python -m bench.scaled path/to/large/photos --rounds 9 --json scaled.json
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

import dali_mixup as dm
from bench.command import DATA, Bench, Found, argument, option
from bench.feed import ALPHA, find_feed
from bench.measure import Case, measure_rounds, speedup, timed
from bench.peers.ours import list_files, open_loader, time_epoch
from bench.report import Report, format_spread, format_table
from dali_mixup.decode.scaled import ACCURATE_DCT, scales_of
from dali_mixup.decode.turbojpeg import PIXEL_FORMAT_RGB, open_turbojpeg
from dali_mixup.pipelines import imagenet
from dali_mixup.threads import split_threads

BITS, SHRUNK = "bits", "shrunk pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    files: int | None = option(None, "take the first so many files (default all)")
    batch_size: int = option(8, "images per batch")
    size: int = option(224, "height and width of the output in pixels")
    images: int = option(160, "of each per round, files again and again")
    rounds: int = option(7, "timed rounds")


def measure(options: Options) -> Iterator[Found]:
    """Pack the files, then time epochs side by side."""
    feed = replace(find_feed(options.data, options.files), batch_size=options.batch_size, size=options.size)
    files = list_files(feed)
    pipelines = {"val": imagenet.val(options.size), "train": imagenet.train(options.size)}
    shares: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        small = dm.Shrink(short_side=2 * options.size)
        for name, shrink in (("pack", dm.Shrink()), (SHRUNK, small)):
            dm.pack(files, Path(folder) / name, shrink=shrink, progress=False)
        datasets = {"files": files} | {name: dm.PackedDataset(Path(folder) / name) for name in ("pack", SHRUNK)}
        cases = [Case(name=BITS, label=BITS, run=partial(timed, partial(_decode_bits, feed.paths), "cpu"))]
        for kind, pipeline in pipelines.items():
            for place, dataset in datasets.items():
                for decode in ("exact",) if place == SHRUNK else ("exact", "scaled"):
                    made = replace(pipeline, decode=decode)
                    loader = open_loader(
                        feed, dm.MixUp(alpha=ALPHA), dataset=dataset, images=options.images, pipeline=made
                    )
                    name = f"{kind}, {place}, {decode}"
                    cases.append(Case(name=name, label=name, run=partial(time_epoch, loader)))
            shares[kind] = _share_by_scale(files, pipeline)
        pixels = files.heights.astype(np.int64) * files.widths
        settings = {"files": len(files), "megapixels": float(pixels.mean() / 1e6)}
        for results in measure_rounds(cases, rounds=options.rounds):
            yield Found(results=results, derived={"windows by scale": shares}, settings=settings)


def describe(report: Report) -> str:
    """Images per second, in multiples of the exact decode of the files, and how many windows are decoded how small."""
    by_name, rows = {result.name: result for result in report.results}, []
    for name, result in by_name.items():
        cells = [format_spread(result.rate)]
        for kind in ("val", "train"):
            is_of = name == BITS or name.startswith(kind)
            cells.append(format_spread(speedup(result, by_name[f"{kind}, files, exact"]), 2) if is_of else "")
        rows.append([name, *cells])
    table = format_table(["decode", "images/s", "x val, files, exact", "x train, files, exact"], rows)
    settings = report.settings
    notes = [
        f"Windows of {kind}: "
        + ", ".join(f"{share:.0%} at 1/{scale}" for scale, share in shares.items()).replace("at 1/1", "whole")
        for kind, shares in report.derived["windows by scale"].items()
    ]
    text = f"Median of {settings['rounds']} rounds; ratios are taken within a round."
    return "\n".join(
        [table, "", *notes, f"{settings['files']} photos of {settings['megapixels']:.1f} megapixels. {text}"]
    )


def _decode_bits(paths: Sequence[str]) -> int:
    jpeg = open_turbojpeg()

    def decode(path: str) -> None:
        jpeg.decode(Path(path).read_bytes(), PIXEL_FORMAT_RGB, scaling_factor=(1, 8), flags=ACCURATE_DCT)

    with ThreadPoolExecutor(split_threads(None).decode) as pool:
        return len(list(pool.map(decode, paths)))


def _share_by_scale(files: dm.FileList, pipeline: dm.ImagePipeline) -> dict[int, float]:
    """Of the windows of an epoch, by what their size is divided."""
    plan = dm.Loader(files, pipeline, batch_size=len(files), device="cpu").plan
    (step,) = plan.steps()
    scales = scales_of(plan.batch(0, plan.order(0), step).windows)
    return {scale: float((scales == scale).mean()) for scale in np.unique(scales).tolist()}


bench = Bench("scaled", __doc__, Options, measure, describe, unit="images")
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
