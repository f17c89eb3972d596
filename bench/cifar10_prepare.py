"""CIFAR-10's images as JPEG files, from lossless originals.

Quality 95 and no halved chroma, which would cost three points of accuracy.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from bench.report import format_table
from dali_mixup.commands.progress import run_in_threads
from dali_mixup.decode.turbojpeg import PIXEL_FORMAT_RGB, open_turbojpeg

EXAMPLES = """examples:
  python -m bench.cifar10 prepare path/to/png path/to/data
  python -m bench.cifar10 prepare path/to/png path/to/data --quality 75
"""
SUBSAMPLING_444 = 0  # TurboJPEG's number


def prepare(source: Path, target: Path, *, quality: int = 95) -> dict[str, tuple[int, int, float]]:
    """Write `target`/{train,test}/CLASS/NAME.jpg for each PNG of `source`; files that are there are written again.

    Returns:
        By split: the number of images, the bytes of their JPEGs, and the mean change of a level (of 255).

    Raises:
        SystemExit: `source` holds no such images.
        OSError: libturbojpeg is missing, or `target` can't be written.
    """
    jpeg = open_turbojpeg()

    def write(path: Path) -> tuple[int, float]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        encoded = jpeg.encode(pixels, quality=quality, pixel_format=PIXEL_FORMAT_RGB, jpeg_subsample=SUBSAMPLING_444)
        data = cast(bytes, encoded)
        (target / path.relative_to(source)).with_suffix(".jpg").write_bytes(data)
        change = jpeg.decode(data, pixel_format=PIXEL_FORMAT_RGB).astype(np.int16) - pixels
        return len(data), float(np.abs(change).mean())

    figures = {}
    for split in ("train", "test"):
        paths = sorted((source / split).glob("*/*.png"))
        if not paths:
            raise SystemExit(f"{source / split} holds no folders of PNG images")
        for folder in {path.parent for path in paths}:
            (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
        sizes, changes = zip(*run_in_threads(write, paths, f"writing {split}"), strict=True)
        figures[split] = (len(paths), sum(sizes), float(np.mean(changes)))
    return figures


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.cifar10 prepare",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="PNG_FOLDER", help="holds train/CLASS/*.png and test/CLASS/*.png")
    parser.add_argument("target", type=Path, metavar="DATA", help="the folder to write")
    parser.add_argument("--quality", type=int, default=95, help="of the JPEGs (default 95)")
    options = parser.parse_args(arguments)
    figures = prepare(options.source, options.target, quality=options.quality)
    rows = [
        [split, str(count), f"{size / 1e6:.1f}", f"{change:.2f}"] for split, (count, size, change) in figures.items()
    ]
    print(format_table(["split", "images", "MB", "mean change of a level"], rows))
    return 0
