"""The demo's data set on disk: an ImageFolder of drawn shapes with train/ and val/, written once."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from dali_mixup.commands.progress import run_in_threads
from dali_mixup.commands.shapes import KINDS, VERSION, draw_image

QUALITIES = (70, 95)  # of the JPEG files


def write_shapes(work: Path, *, train: int, val: int, seed: int) -> Path:
    """The folder of the data set below `work`, drawn now unless it is there already.

    It gets its final name when it is complete, so that a drawing that was stopped is never used.

    Args:
        work: parent folder, made if needed.
        train: number of training images; classes take turns.
        val: number of validation images.
        seed: each image depends on it and on the image's number.

    Raises:
        OSError: `work` can't be written.
    """
    folder = work / f"shapes-v{VERSION}-{train}-{val}-seed{seed}"
    if folder.is_dir():
        return folder
    work.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=work, prefix=".shapes-"))
    try:
        _write_all(partial, {"train": train, "val": val}, seed)
        _rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_all(root: Path, counts: dict[str, int], seed: int) -> None:
    kinds = list(KINDS)
    files = [(split, number) for split, count in counts.items() for number in range(count)]
    for split in counts:
        for kind in kinds:
            (root / split / kind).mkdir(parents=True)

    def write(job: tuple[str, int]) -> None:
        split, number = job
        kind = kinds[number % len(kinds)]
        generator = np.random.default_rng([seed, VERSION, list(counts).index(split), number])
        image = Image.fromarray(draw_image(kind, generator))
        image.save(root / split / kind / f"{number:05d}.jpg", quality=int(generator.integers(*QUALITIES)))

    run_in_threads(write, files, "drawing images")


def _rename(partial: Path, folder: Path) -> None:
    """Give a complete folder its name; another process that was faster drew the same files."""
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():
            raise
