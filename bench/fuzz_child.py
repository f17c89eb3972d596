"""The process of `bench.fuzz --decode` that delivers mutants with a real Loader, and may die of it.

It prints a line of JSON when a round begins, with each phase of it, and when it ends. What is expected of a round comes
from Pillow: mutants that it reads are written as plain PNGs of its pixels, those that it refuses give way to good
files, and a Loader over these delivers what the Loader over the mutants has to deliver, bit for bit.

    python -m bench.fuzz_child SEED ROUNDS FOLDER
"""

import faulthandler
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.fuzz_mutants import Mutant, Start, draw_images, draw_mutant
from bench.machine import peak_bytes, reset_peak
from dali_mixup.dataset.pillow import FORMATS

FILES = 64
TRIES = 20  # for a mutant that Pillow reads
BATCH_SIZES = (1, 8, 64)
CENTRE, WINDOW = 96, 40  # output sides in pixels
MAX_PIXELS = 1 << 20
SMALLEST_OWN = 16 << 20  # bytes of a batch: less is lost in what the allocator keeps
KINDS = ("delivered where Pillow refuses", "refused where Pillow delivers", "pixels differ", "not named")
NEIGHBOUR = "a good neighbour changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a round delivers its files, drawn from its seed.

    Attributes:
        batch_size: 1, 8 or 64.
        windows: random windows, resized; otherwise the centre, as it is.
        replaces: bad files; otherwise they are errors.
        augments: DALI resizes, too.
        tame_batch: 0 or 1; with errors every other batch from this one on has only mutants that Pillow reads.
    """

    batch_size: int
    windows: bool
    replaces: bool
    augments: bool
    tame_batch: int

    def is_tame(self, number: int) -> bool:
        """Whether a file's batch has no mutants that Pillow refuses: with "raise" they hold back all of their batch."""
        return not self.replaces and number // self.batch_size % 2 == self.tame_batch

    def __str__(self) -> str:
        geometry = "RandomResizedCrop" if self.windows else "CenterCrop"
        mode, augment = "replace" if self.replaces else "raise", "augment" if self.augments else "no augment"
        return f"batches of {self.batch_size}, {geometry}, {mode}, {augment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of one epoch.

    Attributes:
        images: by position, float32 (3, H, W).
        files: by position, the number of the file that came.
        refused: why a file was replaced or an error named it, by its number.
        peak: the most memory of this process meanwhile.
        own: bytes of the largest batch: its pixels as files claim them, and its outputs.
    """

    images: dict[int, torch.Tensor] = field(default_factory=dict)
    files: dict[int, int] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    peak: int = 0
    own: int = 0


@dataclass(slots=True, kw_only=True)
class Count:
    """Of one format.

    Attributes:
        mutants: how many were tried.
        delivered: those that came.
        refused: those that were replaced, or that an error named.
        withheld: those that an error about another file held back.
        mismatches: by kind.
    """

    mutants: int = 0
    delivered: int = 0
    refused: int = 0
    withheld: int = 0
    mismatches: dict[str, int] = field(default_factory=dict)


def say(**event: Any) -> None:
    """One line for the parent."""
    print(json.dumps(event), flush=True)


def draw_way(rng: Random) -> Way:
    """One of the 24 ways."""
    windows, replaces, augments = (rng.random() < 0.5 for _ in range(3))
    size, tame = rng.choice(BATCH_SIZES), rng.randrange(2)
    return Way(batch_size=size, windows=windows, replaces=replaces, augments=augments, tame_batch=tame)


def run_round(seed: int, starts: Sequence[Start], folder: Path) -> dict[str, Any]:
    """Draw the files of a round, deliver them, and compare.

    Args:
        seed: of all that is drawn.
        starts: good files.
        folder: for the files; emptied by the caller.

    Returns:
        What the parent counts, as plain values.
    """
    rng = Random(seed)
    way = draw_way(rng)
    say(event="begin", seed=seed, way=str(way))
    say(event="phase", phase="Pillow")
    drawn = [_draw_file(starts, rng, folder, number, way) for number in range(FILES)]
    mutants = {number: mutant for number, (_, mutant, _) in enumerate(drawn) if mutant}
    read = {number: pixels for number, (_, _, pixels) in enumerate(drawn) if number in mutants}
    paths = [str(path) for path, _, _ in drawn]
    clean = [_write_expected(path, number, read, starts, rng) for number, path in enumerate(paths)]
    say(event="phase", phase="without mutants")
    wanted = deliver(clean, way)
    say(event="phase", phase="with mutants")
    got = deliver(paths, way)
    say(event="phase", phase="compare")
    return _compare(seed, way, mutants, {number for number, pixels in read.items() if pixels is not None}, wanted, got)


def read_with_pillow(path: str) -> np.ndarray | None:
    """RGB pixels as torchvision's loader reads them; None if Pillow refuses, or for more than `MAX_PIXELS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                return np.asarray(image.convert("RGB"))
        except Exception:  # noqa: BLE001  a parser may raise anything
            return None


def _draw_file(
    starts: Sequence[Start], rng: Random, folder: Path, number: int, way: Way
) -> tuple[Path, Mutant | None, np.ndarray | None]:
    """Write a good file or a mutant; the mutant, and what Pillow reads of it."""
    path = folder / f"{number:03}.{rng.choice(('jpg', 'jpeg', 'png', 'webp'))}"
    if rng.random() < 0.5 or not number:  # the first is always good, so that something can replace
        path.write_bytes(rng.choice(starts).content)
        return path, None, None
    left = TRIES if way.is_tame(number) else 1
    while True:
        mutant = draw_mutant(starts, rng)
        path.write_bytes(mutant.content)
        pixels, left = read_with_pillow(str(path)), left - 1
        if pixels is not None or not left:
            return path, mutant, pixels


def _write_expected(
    path: str, number: int, read: dict[int, np.ndarray | None], starts: Sequence[Start], rng: Random
) -> str:
    """The file that stands for another one in the run without mutants."""
    if number not in read:
        return path
    clean, pixels = Path(path).with_name(f"{number:03} expected.png"), read[number]
    if pixels is None:
        clean.write_bytes(rng.choice(starts).content)
    else:
        Image.fromarray(pixels).save(clean, compress_level=0)
    return str(clean)


def deliver(paths: Sequence[str], way: Way) -> Delivered:
    """One epoch over files of which some may be bad; with "raise" it goes on after the batch that raised."""
    dataset = dm.FileList(paths, np.arange(len(paths), dtype=np.float32), cache=False, progress=False)
    geometry = dm.RandomResizedCrop(WINDOW) if way.windows else dm.CenterCrop(CENTRE)
    augment = (lambda images: images) if way.augments else None
    loader = dm.Loader(
        dataset,
        dm.ImagePipeline(geometry=geometry, augment=augment, flip=0.5, mean=(0, 0, 0), std=(1, 1, 1)),
        batch_size=way.batch_size,
        shuffle=False,
        device="cpu",
        num_threads=2,
        seed=1,
        on_bad_sample="replace" if way.replaces else "raise",
        max_bad_fraction=1.0,
        max_pixels=MAX_PIXELS,
    )
    images, files, refused = {}, {}, {}
    reset_peak()
    for first, batch in _batches(loader, len(paths), way.batch_size):
        if isinstance(batch, dm.BadSampleError):
            refused |= {sample.number: sample.reason for sample in batch.samples}
            continue
        for row, (image, number) in enumerate(zip(*batch, strict=True)):
            images[first + row], files[first + row] = image.clone(), int(number)
    refused |= {sample.number: sample.reason for sample in loader.bad_samples}
    areas = np.minimum(dataset.heights.astype(np.int64) * dataset.widths, MAX_PIXELS)
    own = 3 * sum(sorted(areas.tolist())[-way.batch_size :]) + 12 * way.batch_size * max(CENTRE, WINDOW) ** 2
    return Delivered(images=images, files=files, refused=refused, peak=peak_bytes(), own=own)


def _batches(loader: dm.Loader, samples: int, batch_size: int) -> Iterator[tuple[int, Any]]:
    """(position, batch or the error in its place)."""
    position = 0
    while position < samples:
        if position:
            loader.load_state_dict({**loader.state_dict(), "epoch": 0, "position": position, "augment": None})
        try:
            for batch in loader:
                yield position, batch
                position += len(batch[0])
        except dm.BadSampleError as error:
            yield position, error
            position += batch_size


def _compare(
    seed: int, way: Way, mutants: dict[int, Mutant], readable: set[int], wanted: Delivered, got: Delivered
) -> dict[str, Any]:
    counts: dict[str, Count] = {}
    findings: list[dict[str, Any]] = []

    def note(kind: str, number: int, **more: Any) -> None:
        mutant = mutants.get(number)
        told = {"format": mutant.format, "damages": mutant.damages} if mutant else {}
        findings.append({"kind": kind, "seed": seed, "way": str(way), "file": number, **told, **more})
        if mutant:
            mismatches = counts[mutant.format].mismatches
            mismatches[kind] = mismatches.get(kind, 0) + 1

    for number, mutant in mutants.items():
        count = counts.setdefault(mutant.format, Count())
        count.mutants += 1
        came = got.files.get(number) == number
        count.delivered += came
        count.refused += number in got.refused
        count.withheld += number in readable and not came and number not in got.refused
        if number in got.refused and number in readable:
            note(KINDS[1], number, reason=got.refused[number])
        elif number not in readable and came:
            note(KINDS[0], number)
        elif number not in readable and number not in got.refused:
            note(KINDS[3], number)
        elif came and (levels := _levels_off(got.images[number], wanted.images[number])):
            note(KINDS[2], number, levels=levels)
    for number in set(got.files) - set(mutants):
        good = got.files[number] == number == wanted.files[number]
        if not good or not torch.equal(got.images[number], wanted.images[number]):
            note(NEIGHBOUR, number)
    for number in set(got.refused) - set(mutants):
        note(NEIGHBOUR, number, reason=got.refused[number])
    ratio = max(0, got.peak - wanted.peak) / max(SMALLEST_OWN, got.own, wanted.own)
    return {
        "seed": seed,
        "way": str(way),
        "counts": {name: asdict(count) for name, count in counts.items()},
        "findings": findings,
        "memory_ratio": ratio,
    }


def _levels_off(image: torch.Tensor, other: torch.Tensor) -> float:
    return round(255 * float((image - other).abs().max()), 2)


def run_rounds(seed: int, rounds: int, folder: Path) -> None:
    """Rounds with the seeds from `seed` on."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    starts = draw_images()
    say(event="ready")
    for number in range(seed, seed + rounds):
        try:
            found = run_round(number, starts, folder)
        except Exception as error:  # noqa: BLE001  it is a finding, and the next round goes on
            found = {
                "seed": number,
                "error": f"{type(error).__name__}: {error}"[:2000],
                "traceback": traceback.format_exc(),
            }
        say(event="end", **found)
        for path in folder.iterdir():
            if not os.environ.get("FUZZ_KEEP"):
                path.unlink()


if __name__ == "__main__":
    run_rounds(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
