"""How far each translated transform is from torchvision's own, on photos, with the same parameters.

`from_torchvision` translates each transform below, a Loader on the CPU carries it out, and torchvision does the same to
the PIL images with the windows, flips, factors and rectangles that the Loader has planned. Differences are in levels of
255. Transforms of pixels work on photos that Pillow has resized to 224 x 224, so that decoding and resizing add
nothing; the others decode the photos as they are. `decode="scaled"` is measured on photos that are enlarged, with the
noise of a sensor, and must be near enough in the mean.

Examples:
    python -m bench.parity
    python -m bench.parity path/to/images --epochs 20 --json parity.json
"""

import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import dali_mixup as dm
from bench.command import Bench, Found, argument, option
from bench.feed import find_files
from bench.parity_cases import Case, build_cases
from bench.parity_replay import replay
from bench.report import Report, format_table
from dali_mixup.decode.scaled import MOST_IN_MEAN
from dali_mixup.parity import Parity
from dali_mixup.stage.cpu import resizes_fast

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"
SIDE = 224
LARGE, MEGAPIXELS, NOISE = 8, 7, 3.0  # photos that are enlarged, to how much, and levels of noise
ARITHMETIC = 0.01  # levels, of normalization in float32
LIMITS = {str(Parity.EXACT): ARITHMETIC, str(Parity.ONE_LEVEL): 1 + ARITHMETIC}
# Of all values so many may be two levels off where "within one level" is stated: both roundings of a resize were ties.
TIES = 1e-7
TIES_OF_BICUBIC = 2e-5  # of crops, whose weights torch rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str | None = argument("photos (default those beside the repository)", optional=True)
    epochs: int = option(5, "passes over the photos for what is random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What was measured of one case.

    Attributes:
        name: of the case.
        options: of the transform, in words.
        parity: what the library states; "by parts" of a chain, which is not judged.
        mean: difference in levels.
        largest: likewise.
        beyond: the share of values that differ by more than one level.
        most_in_mean: what the mean may be, where that is stated.
        ties: what `beyond` may be where the parity is "within one level", and nothing is more than two off.
    """

    name: str
    options: str
    parity: str
    mean: float
    largest: float
    beyond: float
    most_in_mean: float | None = None
    ties: float = TIES

    @property
    def holds(self) -> bool:
        """Whether the measurement allows what the library states."""
        if self.most_in_mean is not None:
            return self.mean < self.most_in_mean
        rounded_twice = self.parity == Parity.ONE_LEVEL and self.largest <= 2 + ARITHMETIC and self.beyond <= self.ties
        return rounded_twice or self.largest <= LIMITS.get(self.parity, math.inf)


@dataclass(frozen=True, slots=True)
class Photos:
    """What cases are measured on.

    Attributes:
        whole: the photos as they are.
        small: lossless copies of one size.
        large: some of them, enlarged.
    """

    whole: list[str]
    small: list[str]
    large: list[str]

    @classmethod
    def prepare(cls, files: Sequence[str], folder: str) -> "Photos":
        """Write the copies to a folder."""
        small = [_copy(path, os.path.join(folder, f"{k}.png")) for k, path in enumerate(files)]
        some = files[:: -(-len(files) // LARGE)]
        large = [_enlarge(path, os.path.join(folder, f"{k}.jpg"), seed=k) for k, path in enumerate(some)]
        return cls([*files], small, large)

    def of(self, case: Case) -> list[str]:
        """Those of a case."""
        return self.large if case.scaled else self.whole if case.whole else self.small


def measure(case: Case, files: Sequence[str], *, epochs: int) -> Difference:
    """Run a case over all files, some of them several times if it is random."""
    pipeline = dm.from_torchvision(case.transform)
    if case.scaled:
        pipeline = replace(pipeline, decode="scaled")
    dataset = dm.FileList(files, list(range(len(files))))
    loader = dm.Loader(dataset, pipeline, batch_size=len(files), device="cpu", num_threads=1)
    scale = 255 * torch.tensor(pipeline.std).view(-1, 1, 1)
    total, count, largest, beyond = 0.0, 0, 0.0, 0
    for epoch in range(epochs if case.random else 1):
        loader.set_epoch(epoch)
        ((images, _),) = loader
        batch = loader.plan.batch(epoch, None, next(loader.plan.steps()))
        for row, (path, ours) in enumerate(zip(files, images, strict=True)):
            with Image.open(path) as image:
                theirs = replay(case.transform, image.convert("RGB"), batch, row)
            difference = ((ours - theirs) * scale).abs().double()
            total, count = total + difference.sum().item(), count + difference.numel()
            largest, beyond = max(largest, difference.max().item()), beyond + int((difference > 1 + ARITHMETIC).sum())
    figures = {"mean": total / count, "largest": largest, "beyond": beyond / count}
    bicubic = resizes_fast(pipeline) and pipeline.geometry.interpolation in ("bicubic", "random")
    return Difference(
        name=case.name,
        options=case.options,
        parity=_stated(case, pipeline),
        most_in_mean=MOST_IN_MEAN if case.scaled else None,
        ties=TIES_OF_BICUBIC if bicubic else TIES,
        **figures,
    )


def measure_all(options: Options) -> Iterator[Found]:
    """All cases, each on the files themselves or on copies of one size."""
    torch.set_num_threads(1)
    files, _ = find_files(options.data or PHOTOS)
    with tempfile.TemporaryDirectory() as folder:
        photos = Photos.prepare(files, folder)
        cases = tqdm(build_cases(), desc="transforms", leave=False)
        differences = [measure(case, photos.of(case), epochs=options.epochs) for case in cases]
    derived, passed = {"differences": [asdict(each) for each in differences]}, all(each.holds for each in differences)
    yield Found(derived=derived, settings={"files": len(files)}, passed=passed)


def describe(report: Report) -> str:
    """A row for each case; a mark where the statement does not hold."""
    rows = []
    for each in (Difference(**row) for row in report.derived["differences"]):
        mark = "" if each.holds else f"  NOT {each.parity}"
        figures = [f"{each.mean:.4f}", f"{each.largest:.2f}", f"{each.beyond:.1g}{mark}"]
        rows.append([each.name, each.options, each.parity, *figures])
    table = format_table(["transform", "parameters", "parity", "mean", "max", "share above 1"], rows)
    settings = report.settings
    return f"{table}\n\nLevels of 255; {settings['files']} photos, {settings['epochs']} times each where random."


def _stated(case: Case, pipeline: dm.ImagePipeline) -> str:
    """The parity of the worst transform."""
    if case.scaled:
        return str(Parity.APPROXIMATE)
    lines = pipeline.translation.lines if pipeline.translation else ()
    worst = max((line.parity for line in lines), key=list(Parity).index)
    return "by parts" if case.chain else str(worst)


def _copy(path: str, target: str) -> str:
    """A lossless copy of one size."""
    with Image.open(path) as image:
        image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(target)
    return target


def _enlarge(path: str, target: str, seed: int) -> str:
    """A JPEG as of a camera with more pixels than its lens resolves, and noise."""
    with Image.open(path) as image:
        scale = math.sqrt(MEGAPIXELS * 1e6 / (image.width * image.height))
        size = round(image.width * scale), round(image.height * scale)
        levels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(seed).normal(0, NOISE, (*levels.shape[:2], 1))
    Image.fromarray((levels + noise).clip(0, 255).round().astype(np.uint8)).save(target, quality=92)
    return target


PACKAGES = ("torchvision", "pillow", "timm")
bench = Bench("parity", __doc__, Options, measure_all, describe, unit="levels", packages=PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
