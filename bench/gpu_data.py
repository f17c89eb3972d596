"""What `bench.gpu_check` needs on a machine that has neither a network nor jpegtran, in one small folder.

`photos/` holds some of the photos, `packs/` a lossless pack and a shrunk one of them, and `cifar10/` all of CIFAR-10,
whose images stand side by side on two large JPEGs of quality 90 without chroma subsampling: that moves levels by 3 on
average and takes a fifth of the PNGs' bytes. As many photos are taken as the size allows, evenly over all of them.

Examples:
    python -m bench.gpu_check prepare path/to/photos --cifar path/to/cifar10 --out prepared
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.command import DATA, argument, build_parser, make_options, option
from bench.feed import find_files
from bench.peers.packs import LONG_SIDE, QUALITY

SIDE = 32  # pixels of CIFAR's images, a multiple of a JPEG's blocks
PER_ROW = 100
SHEET_QUALITY = 90
SPLITS = ("train", "test")
MB = 10**6
COPIES = 2.5  # what a photo takes with its places in the packs, in its own bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to write."""

    photos: str = argument(DATA)
    out: str = option(..., "the folder to write; it must not exist")
    cifar: str | None = option(None, "CIFAR-10, train/ and test/ with one folder per class; left out without")
    megabytes: float = option(58.0, "that the folder may have in all")

    def __post_init__(self):
        if Path(self.out).exists():
            raise ValueError(f"{self.out} exists; remove it, or name another folder")


def run(arguments: Sequence[str]) -> int:
    """The command line of `prepare`."""
    parser = build_parser(Options, "gpu_check prepare", __doc__)
    options = make_options(Options, parser, vars(parser.parse_args(arguments)))
    out = Path(options.out)
    prepare(options.photos, out, cifar=options.cifar, megabytes=options.megabytes)
    sizes = ", ".join(f"{part.name} {_size(part) / MB:.1f}" for part in sorted(out.iterdir()))
    print(f"{out}: {_size(out) / MB:.1f} MB ({sizes})")
    return 0


def prepare(photos: str, out: Path, *, cifar: str | None, megabytes: float) -> None:
    """Write the folder.

    Args:
        photos: a folder of JPEGs, or of one folder per class.
        out: where to; it must not exist.
        cifar: CIFAR-10 as `bench.cifar10` takes it; None leaves it out.
        megabytes: that it may take in all.

    Raises:
        FileExistsError: `out` exists.
        SystemExit: it takes more.
    """
    out.mkdir(parents=True)
    for split in SPLITS if cifar else ():
        write_sheet(dm.ImageFolder(Path(str(cifar)) / split, cache=False, progress=False), out / "cifar10" / split)
    left = MB * megabytes - _size(out)
    paths, labels = find_files(photos)
    total = COPIES * sum(Path(path).stat().st_size for path in paths)
    count = int(min(len(paths), max(1, len(paths) * left / total)))
    for i in np.linspace(0, len(paths) - 1, count).astype(int).tolist():
        folder = out / "photos" / f"{labels[i]:04}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths[i], folder)
    files = dm.ImageFolder(out / "photos", cache=False, progress=False)
    for name, shrink in (("lossless", dm.Shrink()), ("shrunk", dm.Shrink(max_size=LONG_SIDE, quality=QUALITY))):
        dm.pack(files, out / "packs" / name, shrink=shrink, progress=False)
    if _size(out) > MB * megabytes:
        raise SystemExit(f"{out} takes {_size(out) / MB:.1f} MB with {count} photos; --megabytes must be more")


def write_sheet(files: dm.ImageFolder, folder: Path) -> None:
    """Images of `SIDE` pixels on one JPEG, and their labels."""
    folder.mkdir(parents=True)
    rows = -(-len(files) // PER_ROW)
    sheet = np.zeros((rows, SIDE, PER_ROW, SIDE, 3), np.uint8)
    for number in range(len(files)):
        sheet[number // PER_ROW, :, number % PER_ROW] = files.pixels(number)
    image = Image.fromarray(sheet.reshape(rows * SIDE, PER_ROW * SIDE, 3))
    image.save(folder / "sheet.jpg", quality=SHEET_QUALITY, subsampling=0, optimize=True)
    np.save(folder / "labels.npy", files.targets.astype(np.uint8))


def read_sheet(folder: Path, device: str, limit: int | None = None) -> dm.ArrayDataset:
    """The images (N, 32, 32, 3) and labels that `write_sheet` wrote, or some of each class; the images on a device."""
    labels = np.load(folder / "labels.npy").astype(np.int64)
    chosen = slice(None, None, -(-len(labels) // (limit or len(labels))))
    with Image.open(folder / "sheet.jpg") as image:
        sheet = np.asarray(image.convert("RGB")).reshape(-1, SIDE, PER_ROW, SIDE, 3)
    images = sheet.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)[: len(labels)]
    classes = [str(number) for number in range(labels.max() + 1)]
    return dm.ArrayDataset(torch.from_numpy(np.ascontiguousarray(images[chosen])).to(device), labels[chosen], classes)


def _size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
