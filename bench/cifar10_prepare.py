"""CIFAR-10's images as JPEG files, from lossless originals.

Quality 95 and no halved chroma, which would cost three points of accuracy.

Examples:
    python -m bench.cifar10 prepare path/to/png path/to/data
    python -m bench.cifar10 prepare path/to/png path/to/data --quality 75
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.command import argument, build_parser, make_options, option
from bench.machine import cores
from bench.report import format_table
from dali_mixup.decode.turbojpeg import open_turbojpeg


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to write."""

    source: str = argument("a folder that holds train/CLASS/*.png and test/CLASS/*.png")
    target: str = argument("the folder to write")
    quality: int = option(95, "of the JPEGs")


def prepare(source: Path, target: Path, *, quality: int = 95) -> dict[str, tuple[int, int, float]]:
    """Write `target`/{train,test}/CLASS/NAME.jpg for each PNG of `source`; files that are there are written again.

    Returns:
        By split: the number of images, the bytes of their JPEGs, and the mean change of a level (of 255).

    Raises:
        SystemExit: `source` holds no such images.
        OSError: libturbojpeg is missing, or `target` can't be written.
    """
    from turbojpeg import TJPF_RGB, TJSAMP_444

    jpeg = open_turbojpeg()

    def write(path: Path) -> tuple[int, float]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        data = cast(bytes, jpeg.encode(pixels, quality=quality, pixel_format=TJPF_RGB, jpeg_subsample=TJSAMP_444))
        (target / path.relative_to(source)).with_suffix(".jpg").write_bytes(data)
        change = jpeg.decode(data, pixel_format=TJPF_RGB).astype(np.int16) - pixels
        return len(data), float(np.abs(change).mean())

    figures = {}
    for split in ("train", "test"):
        paths = sorted((source / split).glob("*/*.png"))
        if not paths:
            raise SystemExit(f"{source / split} holds no folders of PNG images")
        for folder in {path.parent for path in paths}:
            (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(cores()) as pool:
            written = tqdm(pool.map(write, paths), f"writing {split}", len(paths), leave=False, disable=None)
            sizes, changes = zip(*written, strict=True)
        figures[split] = (len(paths), sum(sizes), float(np.mean(changes)))
    return figures


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = build_parser(Options, "cifar10 prepare", __doc__)
    options = make_options(Options, parser, vars(parser.parse_args(arguments)))
    figures = prepare(Path(options.source), Path(options.target), quality=options.quality)
    rows = [
        [split, str(count), f"{size / 1e6:.1f}", f"{change:.2f}"] for split, (count, size, change) in figures.items()
    ]
    print(format_table(["split", "images", "MB", "mean change of a level"], rows))
    return 0
