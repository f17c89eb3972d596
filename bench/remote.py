"""How fast a Loader is fed from packs and tars that lie far away, beside the same ones here.

The files of a folder are packed, and written to a tar. One Loader each, with a random resized crop, flip and mixup,
walks through whole epochs in turns, in this process: of the pack and the tar here; at a store that answers each request
after `--latency`, with 128 requests at once and with fewer; and of that store behind a cache folder that is full.
`late` is a file system of fsspec's in this process: it shows what the waiting costs. `http` is a server on this
machine, which shares its cores with the Loader, as one far away doesn't: it shows what the protocol costs, too.

Examples:
    python -m bench.remote path/to/images
    python -m bench.remote path/to/images --rounds 9 --json remote.json --plot remote.png
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import dali_mixup as dm
from bench.command import DATA, Bench, Found, argument, option
from bench.feed import ALPHA, find_feed
from bench.late import register, serve_late
from bench.measure import Case, Timing, measure_rounds, speedup, spread
from bench.peers.ours import READY, open_loader, time_epoch, write_tar
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from dali_mixup.dataset.dataset import ImageDataset

PACK, TAR = "pack", "tar"
HERE, LATE, HTTP, CACHED = "here", "late", "http", "late, cached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    files: int | None = option(None, "take the first so many files (default all)")
    batch_size: int = option(64, "images per batch")
    size: int = option(224, "height and width of the output in pixels")
    latency: float = option(0.05, "seconds until a store answers")
    requests: tuple[int, ...] = option((128, 64, 8), "requests at once; the first is that of all rows but its own")
    rounds: int = option(7, "timed rounds, an epoch of each")


def measure(options: Options) -> Iterator[Found]:
    """Write a pack and a tar, then time epochs side by side."""
    feed = replace(find_feed(options.data, options.files), batch_size=options.batch_size, size=options.size)
    register()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        files = dm.FileList(feed.paths, feed.labels, cache=False, progress=False)
        dm.pack(files, Path(folder) / PACK, progress=False)
        write_tar(f"{folder}/{TAR}.tar", zip(feed.paths, feed.labels, strict=True))
        url = stack.enter_context(serve_late(folder, options.latency))
        cases, scans, busy = [], {}, {}
        for name, place, requests, cache in _places(options, folder, url):
            for kind in (PACK, TAR):
                begin = time.perf_counter()
                dataset = _open(
                    kind, place, dm.Remote(requests=requests, storage_options=_storage(options, place)), cache
                )
                label = f"{kind}, {name}"
                scans[label] = time.perf_counter() - begin
                loader = open_loader(feed, dm.MixUp(alpha=ALPHA), dataset=dataset)
                cases.append(Case(name=label, label=label, run=partial(_walk, loader, busy.setdefault(label, []))))
        settings = {"images": len(files), "bytes": int(files.sizes.file_size.sum())}
        for results in measure_rounds(cases, rounds=options.rounds):
            yield Found(results=results, derived={"seconds to open": scans, "ms of cores": busy}, settings=settings)


def _places(options: Options, folder: str, url: str) -> Iterator[tuple[str, str, int, str | None]]:
    """Name, place, requests at once and cache folder of each row."""
    first, *others = options.requests
    yield HERE, folder, first, None
    yield LATE, f"late://{folder}", first, None
    for requests in others:
        yield f"{LATE}, {requests} requests", f"late://{folder}", requests, None
    yield HTTP, url, first, None
    yield CACHED, f"late://{folder}", first, f"{folder}/cache"


def _open(kind: str, place: str, remote: dm.Remote, cache: str | None) -> ImageDataset:
    if kind == PACK:
        return dm.PackedDataset(f"{place}/{PACK}", cache_dir=cache, remote=remote)
    return dm.TarDataset(f"{place}/{TAR}.tar", cache_dir=cache, cache=cache is not None, remote=remote, progress=False)


def _storage(options: Options, place: str) -> dict[str, float]:
    return {"latency": options.latency} if place.startswith(LATE) else {}


def _walk(loader: dm.Loader, milliseconds: list[float]) -> Timing:
    """Time an epoch, and add what an image took of this process's cores."""
    busy, timing = time.process_time(), time_epoch(loader)
    images = timing.items * len(loader) / (len(loader) - READY)
    milliseconds.append(1000 * (time.process_time() - busy) / images)
    return timing


def describe(report: Report) -> str:
    """Speed, and its ratio to the same data set here; the same of the time of cores."""
    rows, settings = [], report.settings
    by_name = {result.name: result for result in report.results}
    for result in report.results:
        here = by_name[f"{result.name.partition(',')[0]}, {HERE}"]
        busy, busy_here = (
            report.derived["ms of cores"][name][-len(result.timings) :] for name in (result.name, here.name)
        )
        ratios = [mine / other for mine, other in zip(busy, busy_here, strict=True)]
        cells = [format_spread(result.rate), format_spread(speedup(result, here), 2)]
        cells += [f"{spread(busy).median:.2f}", f"{spread(ratios).median:.2f}"]
        rows.append([result.label, f"{report.derived['seconds to open'][result.name]:.2f}", *cells])
    columns = ["data set", "s to open", "images/s", "x here", "ms of cores per image", "x here"]
    return (
        f"{format_table(columns, rows)}\n\n{settings['images']} files of {settings['bytes'] / 1e6:.0f} MB; answers "
        f"after {1000 * settings['latency']:.0f} ms; {settings['requests'][0]} requests at once unless a row says "
        f"otherwise. Median of {settings['rounds']} rounds; ratios are taken within a round."
    )


plot = partial(draw_bars, axis="images/s", colors={f"{kind}, {LATE}": OURS_COLOR for kind in (PACK, TAR)})
bench = Bench("remote", __doc__, Options, measure, describe, unit="images", plot=plot, packages=("fsspec", "aiohttp"))
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
