"""`dali-mixup pack`: a data set as tar shards of which only the bytes of a window are read and decoded."""

import argparse
from pathlib import Path

import numpy as np

from dali_mixup.commands.arguments import Commands, add_command, at_least, writable
from dali_mixup.commands.folders import find_splits, open_source
from dali_mixup.commands.progress import run_in_threads
from dali_mixup.commands.text import plural, printable
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.dataset.packed import PackedDataset
from dali_mixup.dataset.packing import PackReport, pack
from dali_mixup.dataset.quarantine import write_quarantine
from dali_mixup.dataset.repack import Shrink
from dali_mixup.errors import BadSample, BadSampleError

BAD = 1  # exit code

PURPOSE = "write images as tar shards that load faster than their files"
EXAMPLES = """\
examples:
  dali-mixup pack photos packed                     lossless: dm.PackedDataset("packed") gives the batches of the folder
  dali-mixup pack photos packed --verify            and decode both to compare them
  dali-mixup pack imagenet packed --max-size 400    shrink what is larger, once and for all
  dali-mixup pack cifar10 packed --pixels           small images as pixels, which need no decoding
  dali-mixup pack photos packed --skip-bad --quarantine bad.jsonl
                                                    leave out what can't be read, and list it

Stopped at any time, the same command goes on after the last whole shard. Any reader of WebDatasets reads the shards.

"""


def add_parser(commands: Commands) -> None:
    """The options of `pack`."""
    parser = add_command(commands, "pack", PURPOSE, examples=EXAMPLES, run=run)
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="one folder of images per class, one that holds train/, val/, test/, a list (.txt: a file and its label "
        "on each line), a pack, tars, an .npz of arrays, or what Hugging Face's save_to_disk wrote",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write; it must not be there yet")
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument("--max-size", type=at_least(1), metavar="PIXELS", help="shrink longer sides to this")
    sides.add_argument("--short-side", type=at_least(1), metavar="PIXELS", help="shrink shorter sides to this")
    parser.add_argument(
        "--quality", type=at_least(1), default=90, metavar="Q", help="of shrunk JPEGs, 1 to 100 (default: %(default)s)"
    )
    parser.add_argument(
        "--pixels", action="store_true", help="write raw pixels, which are mapped to memory: for small images"
    )
    parser.add_argument(
        "--shard-mb", type=at_least(1), default=512, metavar="MB", help="size of a shard (default: %(default)s)"
    )
    parser.add_argument("--verify", action="store_true", help="decode originals and pack, and compare their pixels")
    parser.add_argument("--skip-bad", action="store_true", help="leave out what can't be read as an image")
    parser.add_argument("--quarantine", type=writable, metavar="LIST", help="write what can't be read to a list")


def run(options: argparse.Namespace) -> int:
    """Pack each ImageFolder of `options.source`; the exit code is 1 if something is bad, or differs."""
    shrink = Shrink(max_size=options.max_size, short_side=options.short_side, quality=options.quality)
    bad: list[BadSample] = []
    differing: list[str] = []
    try:
        for split, root in find_splits(options.source).items():
            out = options.out / split
            dataset = open_source(root)
            report = pack(
                dataset,
                out,
                shrink=shrink,
                pixels=options.pixels,
                shard_mb=options.shard_mb,
                skip_bad=options.skip_bad,
            )
            bad += report.bad
            print(_describe(out, report))
            if options.verify:
                differing += find_differing(dataset, PackedDataset(out), report.bad, shrink)
    except BadSampleError as error:
        bad += error.samples
        raise
    finally:
        if options.quarantine:
            write_quarantine(options.quarantine, bad)
    if options.verify:
        print("\n".join(differing) or "verified: all images decode to the pixels of their originals")
    return BAD if bad or differing else 0


def find_differing(dataset: ImageDataset, packed: ImageDataset, bad: list[BadSample], shrink: Shrink) -> list[str]:
    """Decode both in threads; a line for each image whose pixels differ, or of a shrunk one the size."""
    left_out = {sample.number for sample in bad}
    numbers = [number for number in range(len(dataset)) if number not in left_out]

    def compare(place: int) -> str:
        number = numbers[place]
        size = int(dataset.heights[number]), int(dataset.widths[number])
        new_size = shrink.shrunk(*size)
        try:
            found = packed.pixels(place)
            shrunk = new_size != size
            same = found.shape[:2] == new_size and (shrunk or np.array_equal(dataset.pixels(number), found))
        except BadSampleError as error:
            ((_, name, reason),) = error.samples
            return f"{name}: {reason}"
        return "" if same else f"{packed.name(place)}: its pixels differ from those of {dataset.name(number)}"

    return [printable(line) for line in run_in_threads(compare, range(len(numbers)), "verifying") if line]


def _describe(out: Path, report: PackReport) -> str:
    before, after = report.bytes_before / 1e6, report.bytes_after / 1e6
    lines = [
        f"{printable(str(out))}: {plural(report.samples, 'image')}, {before:,.1f} MB before, {after:,.1f} MB now, "
        f"{report.cuttable:,} of which windows can be read alone"
    ]
    lines += [f"  left out: {printable(name)}: {reason}" for _, name, reason in report.bad]
    return "\n".join(lines)
