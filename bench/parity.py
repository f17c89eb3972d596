"""How far each translated transform is from torchvision's own, on photos, with the same parameters.

`from_torchvision` translates each transform below, a Loader on the CPU carries it out, and torchvision does the same to the PIL images with
the windows, flips, factors and rectangles that the Loader has planned. Differences are in levels of 255. Transforms of pixels work on
photos that Pillow has resized to 224 x 224, so that decoding and resizing add nothing; the others decode the photos as they are.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import dali_mixup as dm
from bench.feed import find_files
from bench.options import save
from bench.parity_cases import Case, build_cases
from bench.parity_replay import replay
from bench.report import Report, format_table, make_stamp
from dali_mixup.parity import Parity

EXAMPLES = """examples:
  python -m bench.parity
  python -m bench.parity path/to/images --epochs 20 --json parity.json
"""
PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"
SIDE = 224
TOLERANCE = 0.01  # levels: float32 arithmetic of normalization


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What was measured of one case.

    Attributes:
        name: of the case.
        options: of the transform, in words.
        parity: what the library states.
        mean: difference in levels.
        largest: likewise.
    """

    name: str
    options: str
    parity: str
    mean: float
    largest: float

    @property
    def holds(self) -> bool:
        """Whether the measurement allows what the library states."""
        limits = {Parity.EXACT: TOLERANCE, Parity.ONE_LEVEL: 1 + TOLERANCE}
        return self.largest <= limits.get(Parity(self.parity), float("inf"))


def measure(case: Case, files: Sequence[str], *, epochs: int) -> Difference:
    """Run a case over all files, some of them several times if it is random."""
    pipeline = dm.from_torchvision(case.transform)
    dataset = dm.FileList(files, list(range(len(files))))
    loader = dm.Loader(dataset, pipeline, batch_size=len(files), device="cpu", num_threads=1)
    scale = 255 * torch.tensor(pipeline.std).view(3, 1, 1)
    total, count, largest = 0.0, 0, 0.0
    for epoch in range(epochs if case.random else 1):
        loader.set_epoch(epoch)
        ((images, _),) = loader
        batch = loader.plan.batch(epoch, None, next(loader.plan.steps()))
        for row, (path, ours) in enumerate(zip(files, images, strict=True)):
            with Image.open(path) as image:
                theirs = replay(case.transform, image.convert("RGB"), batch, row)
            difference = ((ours - theirs) * scale).abs().double()
            total, count = total + difference.sum().item(), count + difference.numel()
            largest = max(largest, difference.max().item())
    parity = max((line.parity for line in pipeline.translation.lines), key=list(Parity).index)
    return Difference(name=case.name, options=case.options, parity=str(parity), mean=total / count, largest=largest)
