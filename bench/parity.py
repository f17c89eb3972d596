"""How far each translated transform is from torchvision's own, on photos, with the same parameters.

`from_torchvision` translates each transform below, a Loader on the CPU carries it out, and torchvision does the same to
the PIL images with the windows, flips, factors and rectangles that the Loader has planned. Differences are in levels of
255. Transforms of pixels work on photos that Pillow has resized to 224 x 224, so that decoding and resizing add
nothing; the others decode the photos as they are.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

import dali_mixup as dm
from bench.feed import find_files
from bench.parity_cases import Case, build_cases
from bench.parity_replay import replay
from bench.report import Report, format_table, make_stamp, write_json
from dali_mixup.parity import Parity

EXAMPLES = """examples:
  python -m bench.parity
  python -m bench.parity path/to/images --epochs 20 --json parity.json
"""
PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"
SIDE = 224
ARITHMETIC = 0.01  # levels, of normalization in float32
LIMITS = {str(Parity.EXACT): ARITHMETIC, str(Parity.ONE_LEVEL): 1 + ARITHMETIC}
TIES = (
    1e-7  # of all values may be two levels off where "within one level" is stated: both roundings of a resize were ties
)


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
    """

    name: str
    options: str
    parity: str
    mean: float
    largest: float
    beyond: float

    @property
    def holds(self) -> bool:
        """Whether the measurement allows what the library states."""
        rounded_twice = self.parity == Parity.ONE_LEVEL and self.largest <= 2 + ARITHMETIC and self.beyond <= TIES
        return rounded_twice or self.largest <= LIMITS.get(self.parity, math.inf)


def measure(case: Case, files: Sequence[str], *, epochs: int) -> Difference:
    """Run a case over all files, some of them several times if it is random."""
    pipeline = dm.from_torchvision(case.transform)
    dataset = dm.FileList(files, list(range(len(files))))
    loader = dm.Loader(dataset, pipeline, batch_size=len(files), device="cpu", num_threads=1)
    scale = 255 * torch.tensor(pipeline.std).view(3, 1, 1)
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
    return Difference(
        name=case.name,
        options=case.options,
        parity=_stated(case, pipeline),
        mean=total / count,
        largest=largest,
        beyond=beyond / count,
    )


def measure_all(files: Sequence[str], *, epochs: int, progress: bool = True) -> list[Difference]:
    """All cases, each on the files themselves or on copies of one size."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [_copy(path, os.path.join(folder, f"{k}.png")) for k, path in enumerate(files)]
        cases = tqdm(build_cases(), desc="transforms", leave=False, disable=not progress)
        return [measure(case, files if case.whole else copies, epochs=epochs) for case in cases]


def describe(report: Report) -> str:
    """A row for each case; a mark where the statement does not hold."""
    rows = []
    for row in report.derived["differences"]:
        difference = Difference(**row)
        mark = "" if difference.holds else "  NOT " + difference.parity
        figures = [f"{difference.mean:.4f}", f"{difference.largest:.2f}", f"{difference.beyond:.1g}{mark}"]
        rows.append([difference.name, difference.options, difference.parity, *figures])
    table = format_table(["transform", "parameters", "parity", "mean", "max", "share above 1"], rows)
    settings = report.settings
    note = f"Levels of 255; {settings['files']} photos, {settings['epochs']} times each where random."
    return f"{table}\n\n{note}\n{report.stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where a statement does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.parity",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="?", default=str(PHOTOS), help="photos (default those beside the repository)"
    )
    parser.add_argument("--epochs", type=int, default=5, help="passes over the photos for what is random (default 5)")
    parser.add_argument("--json", metavar="FILE", help="write all differences")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    files, _ = find_files(options.data, None)
    differences = measure_all(files, epochs=options.epochs)
    report = Report(
        benchmark="parity",
        unit="levels",
        settings={"files": len(files), "epochs": options.epochs},
        stamp=make_stamp(("torchvision", "pillow", "timm")),
        results=(),
        derived={"differences": [asdict(difference) for difference in differences]},
    )
    print(describe(report))
    if options.json:
        write_json(report, options.json)
    return 0 if all(difference.holds for difference in differences) else 1


def _stated(case: Case, pipeline: dm.ImagePipeline) -> str:
    """The parity of the worst transform."""
    lines = pipeline.translation.lines if pipeline.translation else ()
    worst = max((line.parity for line in lines), key=list(Parity).index)
    return "by parts" if case.chain else str(worst)


def _copy(path: str, target: str) -> str:
    """A lossless copy of one size."""
    with Image.open(path) as image:
        image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(target)
    return target


if __name__ == "__main__":
    sys.exit(main())
