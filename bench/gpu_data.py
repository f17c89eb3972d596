"""What `bench.gpu_check` needs on a machine that has neither a network nor jpegtran, in one small folder.

`photos/` holds some of the photos, `packs/` a lossless pack and a shrunk one of them, and `cifar10/` all of CIFAR-10:
some 57 megabytes at the defaults. CIFAR's images stand side by side on two large JPEGs of quality 90 without chroma
subsampling, which moves levels by 3 on average and takes a fifth of the PNGs' bytes.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.feed import find_files
from bench.peers.packs import LONG_SIDE, QUALITY

SIDE = 32  # pixels of CIFAR's images, a multiple of a JPEG's blocks
PER_ROW = 100
SHEET_QUALITY = 90
SPLITS = ("train", "test")
MB = 10**6


def prepare(photos: str, out: Path, *, cifar: str | None, megabytes: float) -> None:
    """Write the folder.

    Args:
        photos: a folder of JPEGs, or of one folder per class.
        out: where to; it must not exist.
        cifar: CIFAR-10 as `bench.cifar10` takes it; None leaves it out.
        megabytes: of the photos that are taken, evenly over all of them.

    Raises:
        FileExistsError: `out` exists.
    """
    paths, labels = find_files(photos)
    total = sum(Path(path).stat().st_size for path in paths)
    step = max(1, int(np.ceil(total / (MB * megabytes))))
    out.mkdir(parents=True)
    for path, label in zip(paths[::step], labels[::step], strict=True):
        folder = out / "photos" / f"{label:04}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / Path(path).name)
    files = dm.ImageFolder(out / "photos", cache=False, progress=False)
    for name, shrink in (("lossless", dm.Shrink()), ("shrunk", dm.Shrink(max_size=LONG_SIDE, quality=QUALITY))):
        dm.pack(files, out / "packs" / name, shrink=shrink, progress=False)
    for split in SPLITS if cifar else ():
        folder = dm.ImageFolder(Path(str(cifar)) / split, cache=False, progress=False)
        write_sheet(folder, out / "cifar10" / split)


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


def read_sheet(folder: Path, device: str) -> dm.ArrayDataset:
    """The images (N, 32, 32, 3) and labels that `write_sheet` wrote, the images on a device."""
    labels = np.load(folder / "labels.npy").astype(np.int64)
    with Image.open(folder / "sheet.jpg") as image:
        sheet = np.asarray(image.convert("RGB")).reshape(-1, SIDE, PER_ROW, SIDE, 3)
    images = sheet.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)[: len(labels)]
    classes = [str(number) for number in range(labels.max() + 1)]
    return dm.ArrayDataset(torch.from_numpy(np.ascontiguousarray(images)).to(device), labels, classes)
