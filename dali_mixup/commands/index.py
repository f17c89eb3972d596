"""`dali-mixup index`: what a folder of images, tars, a pack or arrays hold, and which of the images are bad."""

import argparse
from pathlib import Path

import numpy as np

from dali_mixup.commands.arguments import Commands, add_command, writable
from dali_mixup.commands.folders import find_splits, open_source
from dali_mixup.commands.text import draw_table, plural, printable
from dali_mixup.commands.verify import find_damaged
from dali_mixup.dataset.dataset import EncodedDataset, ImageDataset
from dali_mixup.dataset.files import ImageFolder
from dali_mixup.dataset.quarantine import write_quarantine
from dali_mixup.errors import BadSample, DatasetError, describe, must_be

CLASSES_SHOWN = 20
QUANTILES: dict[str, float] = {"min": 0, "25%": 0.25, "median": 0.5, "75%": 0.75, "max": 1}
BAD = 1  # exit code

PURPOSE = "count files per class, measure their sizes, name bad files"
EXAMPLES = """\
examples:
  dali-mixup index photos                       from the files' headers, remembered for the next time
  dali-mixup index photos --verify              decode each file to its end
  dali-mixup index photos --verify --quarantine bad.jsonl
                                                and list the bad ones for ImageFolder("photos", exclude="bad.jsonl")
  dali-mixup index imagenet --all > report.txt
  dali-mixup index "train-{000000..000146}.tar"
  dali-mixup index digits.npz                   of arrays: np.savez("digits.npz", images=images, targets=labels)

"""


def add_parser(commands: Commands) -> None:
    """The options of `index`."""
    parser = add_command(commands, "index", PURPOSE, examples=EXAMPLES, run=run)
    parser.add_argument(
        "folder",
        type=Path,
        metavar="SOURCE",
        help="one folder of images per class, tars (a folder of them or a pattern), a list (.txt: a file and its label "
        "on each line), a pack, an .npz file of arrays, what Hugging Face's save_to_disk wrote, or a folder that holds "
        "train/, val/, test/",
    )
    parser.add_argument("--verify", action="store_true", help="decode each file to its end")
    parser.add_argument(
        "--quarantine",
        type=writable,
        metavar="LIST",
        help="write the bad files to a list that ImageFolder(exclude=LIST) leaves out",
    )
    parser.add_argument("--all", action="store_true", help="list all classes")
    parser.add_argument(
        "--no-cache", dest="cache", action="store_false", help="read all headers anew and remember nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Print the report of each source in `options.folder`; the exit code is 1 if there are bad files."""
    bad: list[BadSample] = []
    for root in find_splits(options.folder).values():
        dataset = open_source(root, cache=options.cache)
        if not isinstance(dataset, EncodedDataset):
            _print_contents(root, dataset, "image", show_all=options.all)
            continue
        if options.quarantine and not isinstance(dataset, ImageFolder):
            remedy = f"a {type(dataset).__name__} takes no exclude="
            raise DatasetError(must_be("--quarantine", "for folders of images", str(options.quarantine), remedy))
        reasons = dict(dataset.bad_files)
        if options.verify:
            reasons |= find_damaged(dataset)
        _print_contents(root, dataset, "file", show_all=options.all)
        print(_list_bad(dataset, reasons, verified=options.verify), end="\n\n")
        bad += [BadSample(i, dataset.name(i), reason) for i, reason in sorted(reasons.items())]
    if options.quarantine:
        write_quarantine(options.quarantine, bad)
        print(f"{plural(len(bad), 'file')} listed in {printable(str(options.quarantine))}")
    return BAD if bad else 0


def _print_contents(root: Path, dataset: ImageDataset, noun: str, *, show_all: bool) -> None:
    counted = f"{plural(len(dataset), noun)}{_count_classes(dataset, noun, show_all=show_all)}"
    print(f"{printable(str(root))}: {counted}\n\n{_measure_sizes(dataset)}\n")


def _count_classes(dataset: ImageDataset, noun: str, *, show_all: bool) -> str:
    """How many classes there are, and samples per class; of many classes the first and the last ones."""
    if dataset.targets.dtype != np.int64:
        return f", targets: {describe(dataset.targets)}"
    labels, counts = np.unique(dataset.targets, return_counts=True)
    names = [f"class {label}" for label in labels.tolist()]
    if dataset.classes is not None:
        names, counts = dataset.classes, np.bincount(dataset.targets, minlength=len(dataset.classes))
    rows = [(printable(name), f"{count:,}") for name, count in zip(names, counts, strict=True)]
    if len(rows) > CLASSES_SHOWN and not show_all:
        half = CLASSES_SHOWN // 2
        rows = [*rows[:half], (f"... {len(rows) - 2 * half} more (--all)", ""), *rows[-half:]]
    spread = f"{counts.min():,} to {counts.max():,}, median {np.median(counts):,.0f}"
    table = draw_table([("class", f"{noun}s"), *rows])
    return f" in {plural(len(names), 'class')}\n\n{table}\n{noun}s per class: {spread}"


def _measure_sizes(dataset: ImageDataset) -> str:
    """Quantiles over the good samples."""
    good = np.setdiff1d(np.arange(len(dataset)), list(dataset.bad_files))
    if not len(good):
        return "no file is an image"
    height, width = dataset.heights[good].astype(np.int64), dataset.widths[good].astype(np.int64)
    columns = {
        "height": (height, ".0f"),
        "width": (width, ".0f"),
        "megapixels": (height * width / 1e6, ".3f"),
    }
    if isinstance(dataset, EncodedDataset):
        columns["kB"] = (dataset.sizes.file_size[good] / 1000, ",.1f")
    rows = [
        (name, *(format(value, form) for value in np.quantile(values, list(QUANTILES.values()), method="nearest")))
        for name, (values, form) in columns.items()
    ]
    return draw_table([("size", *QUANTILES), *rows])


def _list_bad(dataset: EncodedDataset, reasons: dict[int, str], *, verified: bool) -> str:
    looked = "each file was decoded" if verified else "headers only; --verify decodes each file"
    if not reasons:
        return f"bad files: none ({looked})"
    lines = [f"  {printable(dataset.name(i))}: {reason}" for i, reason in sorted(reasons.items())]
    return "\n".join([f"bad files: {len(lines):,} ({looked})", *lines])
