"""What a pack costs and what it brings: time to pack, size, bytes read per epoch, and the speed of a Loader on it.

The files of a folder are packed as they are, shrunk to 400 pixels at quality 90, and as pixels of that size. One Loader
each, with a random resized crop, flip and mixup, walks through whole epochs of the files and of the packs in turns, in
this process; and so does a decoder alone, without resize, mixup and normalization. Bytes are those of the windows
that one epoch plans, and so is the time to cut them (the median of its batches, in one thread, reads included).

On a GPU each is measured with several shares of the JPEG engine. `--packed` takes packs that were made before.

Examples:
    python -m bench.pack path/to/images
    python -m bench.pack path/to/images --rounds 9 --json pack.json --plot pack.png
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

import dali_mixup as dm
from bench.command import DATA, Bench, Found, argument, best_device, option
from bench.feed import ALPHA, find_feed
from bench.measure import Case, Timing, measure_rounds, speedup
from bench.peers.ours import open_loader, time_batches, time_epoch
from bench.peers.packs import LONG_SIDE, QUALITY
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from dali_mixup.dataset.dataset import ImageDataset, PixelDataset
from dali_mixup.dataset.encoded_pack import EncodedPack
from dali_mixup.decode.open_decoder import open_decoder
from dali_mixup.plan.state import Cursor
from dali_mixup.threads import split_threads

FILES, LOSSLESS, SHRUNK, PIXELS = "files", "lossless pack", f"pack of {LONG_SIDE} px", f"pixels of {LONG_SIDE} px"
PLACES = {LOSSLESS: "lossless", SHRUNK: "shrunk", PIXELS: "pixels"}
DECODE = "decode: "  # before the name of what is decoded alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    files: int | None = option(None, "take the first so many files (default all)")
    batch_size: int = option(64, "images per batch")
    size: int = option(224, "height and width of the output in pixels")
    images: int | None = option(None, "of each per round, files again and again (default each file once)")
    rounds: int = option(7, "timed rounds")
    packed: str | None = option(
        None, "a folder with packs lossless/, shrunk/ and perhaps pixels/ of the images, which are made otherwise"
    )
    loads: tuple[float, ...] = option((0.65, 0.0, 1.0), "on a GPU, hardware decoder shares to try")
    device: str = option(best_device, "where batches must arrive (default the GPU if there is one)")


def measure(options: Options) -> Iterator[Found]:
    """Pack, then time epochs side by side."""
    feed = replace(
        find_feed(options.data, options.files), batch_size=options.batch_size, size=options.size, device=options.device
    )
    files = dm.FileList(feed.paths, feed.labels, cache=False, progress=False)
    on_gpu = torch.device(options.device).type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(options.packed or folder)
        packing = {} if options.packed else _pack(files, made)
        datasets: dict[str, ImageDataset] = {FILES: files}
        datasets |= {name: dm.PackedDataset(made / place) for name, place in PLACES.items() if (made / place).exists()}
        cases, loads = [], options.loads if on_gpu else (None,)
        for name, dataset in datasets.items():
            for load in loads:
                decode = None if load is None else dm.GpuDecode(hw_decoder_load=load)
                loader = open_loader(feed, dm.MixUp(alpha=ALPHA), decode, dataset=dataset, images=options.images)
                label = name if load is None else f"{name}, engine {load:g}"
                cases.append(Case(name=label, label=label, run=partial(time_epoch, loader)))
                if load == loads[0]:
                    cases.append(Case(name=DECODE + name, label=DECODE + name, run=_DecoderWalk(loader)))
                if name != FILES:
                    packing.setdefault(name, {}).update(_cut_epoch(loader, files.sizes.file_size))
        settings = {"files": len(files), "bytes": int(files.sizes.file_size.sum())}
        for results in measure_rounds(cases, rounds=options.rounds):
            yield Found(results=results, derived={"packing": packing}, settings=settings)


def _pack(files: dm.FileList, folder: Path) -> dict[str, dict[str, float]]:
    """Write the packs; by name what that took."""
    packing: dict[str, dict[str, float]] = {}
    small = dm.Shrink(max_size=LONG_SIDE, quality=QUALITY)
    for name, shrink in ((LOSSLESS, dm.Shrink()), (SHRUNK, small), (PIXELS, small)):
        start = time.perf_counter()
        report = dm.pack(files, folder / PLACES[name], shrink=shrink, pixels=name == PIXELS, progress=False)
        seconds = time.perf_counter() - start
        packing[name] = {
            "seconds per 1000 images": 1000 * seconds / report.samples,
            "size": report.bytes_after / report.bytes_before,
        }
    return packing


def describe(report: Report) -> str:
    """Time, size and bytes in shares of the files', and speed in multiples."""
    rows, by_name = [], {result.name: result for result in report.results}
    baseline = report.results[0]
    for name, result in by_name.items():
        if name.startswith(DECODE):
            continue
        packing = report.derived["packing"].get(name.partition(",")[0], {})
        keys = ("seconds per 1000 images", "size", "bytes read", "microseconds to cut")
        cells = [f"{packing[key]:.2f}" if key in packing else "" for key in keys]
        decode = by_name.get(DECODE + name.partition(",")[0])
        cells += [format_spread(result.rate), format_spread(speedup(result, baseline), 2)]
        rows.append([name, *cells, format_spread(decode.rate) if decode else ""])
    columns = ["images", "s to pack 1000", "size", "bytes read", "us to cut one", "images/s"]
    columns += [f"x {baseline.name}", "decoded alone/s"]
    settings = report.settings
    return (
        f"{format_table(columns, rows)}\n\nSize and bytes read in shares of the {settings['bytes'] / 1e6:.0f} MB of "
        f"{settings['files']} files. Median of {settings['rounds']} rounds; ratios are taken within a round."
    )


class _DecoderWalk:
    """Reads and decodes epoch after epoch, or copies their pixels, as a Loader has it done."""

    def __init__(self, loader: dm.Loader):
        self.plan, self.epochs = loader.plan, 0
        self.decoder = open_decoder(
            loader.plan,
            device=torch.device(loader.device),
            num_threads=split_threads(loader.num_threads).decode,
            prefetch=loader.prefetch,
            gpu_decode=loader.gpu_decode,
            max_pixels=loader.max_pixels,
            max_bad_fraction=None,
        )

    def __call__(self) -> Timing:
        """Time an epoch."""
        self.decoder.seek(Cursor(self.epochs, 0))
        self.epochs += 1
        return time_batches(self._decode(), self.decoder.device)

    def _decode(self) -> Iterator[int]:
        for _ in self.plan.steps():
            images = len(self.decoder.next().plan.indices)
            self.decoder.release()
            yield images


def _cut_epoch(loader: dm.Loader, sizes: np.ndarray) -> dict[str, float]:
    """Cut the windows of an epoch in one thread, without decoding: bytes in shares of the files' `sizes`, and time."""
    plan, order, dataset = loader.plan, loader.plan.order(0), loader.dataset
    read = whole = 0
    microseconds = []
    for step in plan.steps():
        batch = plan.batch(0, order, step)
        start = time.perf_counter()
        if isinstance(dataset, PixelDataset):
            lengths = [window.nbytes for window in dataset.cut(batch.indices, batch.windows)]
        else:
            pieces = cast(EncodedPack, dataset).read(batch.indices.tolist(), batch.windows)
            lengths = [len(piece.data) for piece in pieces if not isinstance(piece, str)]
        microseconds.append(1e6 * (time.perf_counter() - start) / len(batch.indices))
        read += sum(lengths)
        whole += int(sizes[batch.indices].sum())
    return {"bytes read": read / whole, "microseconds to cut": statistics.median(microseconds)}


plot = partial(draw_bars, axis="images/s", colors=dict.fromkeys(PLACES, OURS_COLOR))
bench = Bench("pack", __doc__, Options, measure, describe, unit="images", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
