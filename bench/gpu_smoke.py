"""Whether each kind of Loader works on a GPU at all: ten batches of each beside the CPU's, and bad files.

Images are compared in levels of 255 with those of the same Loader on the CPU, whose pixels are Pillow's; what DALI
draws at random (`augment`) is only looked at. Findings are kept after each kind, and one that fails stops no other.

Examples:
    python -m bench.gpu_smoke path/to/photos --json smoke.json
    python -m bench.gpu_smoke path/to/photos --packed path/to/packs
    python -m bench.gpu_smoke path/to/photos --device cpu --batches 2     # to see that it runs
"""

import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.command import Bench, Found, argument, best_device, option
from bench.feed import Feed, endless, find_feed, find_files
from bench.peers import raw_dali
from bench.peers.ours import write_tar
from bench.report import GPU_PACKAGES, Report, format_table
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.pipelines import cifar10, finetune, imagenet

MOST_LEVELS = 2.0  # on average; another window, flip or lam makes tens
LOADS = (0.0, 1.0)  # hardware decoder shares: none, all


def truncated(content: bytes) -> bytes:
    """The first half."""
    return content[: len(content) // 2]


BAD: dict[int, Callable[[bytes], bytes | None]] = {
    3: truncated,
    5: lambda content: content[: -len(content) // 20],  # near its end
    8: lambda _: b"no image at all",
    11: lambda content: truncated(content) + bytes(len(content) - len(content) // 2),  # as a full disk leaves it
    13: lambda _: None,  # missing
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run."""

    data: str = argument("a folder of photos, or of one folder per class")
    packed: str | None = option(None, "a folder with the packs that `python -m bench.gpu_check prepare` made")
    batch_size: int = option(16, "images per batch")
    batches: int = option(10, "batches of each kind")
    size: int = option(224, "height and width of the output in pixels")
    device: str = option(best_device, "where to run (default the GPU if there is one)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A Loader to try.

    Attributes:
        dataset: its images.
        pipeline: what happens to them.
        options: of the Loader.
    """

    dataset: ImageDataset
    pipeline: dm.ImagePipeline
    options: dict[str, Any]

    @property
    def compared(self) -> bool:
        """Whether the CPU's images are the same: what DALI draws at random needn't be."""
        return self.pipeline.augment is None


def noisy(images: Any) -> Any:
    """An `augment` that draws at random."""
    from nvidia.dali import fn

    return fn.brightness(images, brightness=fn.random.uniform(range=(0.8, 1.2)))


def list_kinds(options: Options, folder: Path) -> dict[str, Kind]:
    """By name what a user may ask for; files that this takes are written to `folder`."""
    # one epoch: the next one would build a graph with `augment` again
    feed = endless(find_feed(options.data), max(64, options.batches * options.batch_size))
    paths, labels = list(feed.paths), list(feed.labels)
    files = dm.FileList(paths, labels, cache=False, progress=False)
    train, mixup = imagenet.train(options.size), dm.MixUp()
    write_tar(str(folder / "all.tar"), zip(paths, labels, strict=True))
    levels = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), np.uint8)
    small = dm.ArrayDataset(levels, np.arange(256) % 10)
    whole = dm.ArrayDataset([files.pixels(number) for number in range(min(len(files), 32))], labels[:32])
    transforms = (dm.ColorJitter(0.4, 0.4, 0.4, 0.1), dm.RandAugment(), dm.GaussianBlur(5), dm.RandomErasing(0.5))
    kinds = {
        "mixup": (files, train, {"mixup": mixup}),
        "without mixup": (files, train, {}),
        "cutmix": (files, train, {"mixup": dm.CutMix()}),
        "float16, channels last": (
            files,
            train,
            {"mixup": mixup, "dtype": torch.float16, "memory_format": torch.channels_last},
        ),
        "bfloat16": (files, train, {"mixup": mixup, "dtype": torch.bfloat16}),
        "validation": (files, imagenet.val(options.size), {"shuffle": False}),
        "augment": (files, replace(train, augment=noisy), {"mixup": mixup}),
        "finetune": (files, finetune.train(options.size), {"mixup": mixup}),
        "transforms": (files, replace(train, transforms=transforms), {"mixup": mixup}),
        "trivial augment": (files, replace(train, transforms=(dm.TrivialAugmentWide(),)), {"mixup": mixup}),
        "tar": (dm.TarDataset(folder / "all.tar", cache=False, progress=False), train, {"mixup": mixup}),
        "arrays": (small, cifar10.train(), {"mixup": mixup}),
        "arrays of photos": (whole, train, {"mixup": mixup}),
        "all by the JPEG engine": (files, train, {"gpu_decode": dm.GpuDecode(hw_decoder_load=1.0)}),
        "none by the JPEG engine": (files, train, {"gpu_decode": dm.GpuDecode(hw_decoder_load=0.0)}),
        "size hints": (files, train, {"gpu_decode": dm.GpuDecode(size_hints=True)}),
        "rough chroma": (files, train, {"gpu_decode": dm.GpuDecode(fancy_upsampling=False)}),
    }
    if options.packed:
        for name in ("lossless", "shrunk"):
            kinds[f"{name} pack"] = (dm.PackedDataset(Path(options.packed) / name), train, {"mixup": mixup})
    if torch.device(options.device).type == "cuda":
        there = dm.ArrayDataset(torch.from_numpy(levels).to(options.device), np.arange(256) % 10)
        kinds["arrays on the GPU"] = (there, cifar10.train(), {"mixup": mixup})
    return {name: Kind(dataset=data, pipeline=line, options=more) for name, (data, line, more) in kinds.items()}


def run_kind(kind: Kind, options: Options) -> dict[str, float]:
    """Ten batches beside the CPU's.

    Raises:
        AssertionError: targets differ, or images by more than `MOST_LEVELS` on average.
    """
    ours, expected = (_batches(kind, options, device) for device in (options.device, "cpu"))
    start, seconds, means, most = time.perf_counter(), 0.0, [], 0.0
    std = torch.tensor(kind.pipeline.std).view(3, 1, 1) * 255
    for _ in range(options.batches):
        images, targets = next(ours)
        _require(images.device.type == torch.device(options.device).type, f"a batch lies on {images.device}")
        _require(bool(torch.isfinite(images).all()), "a batch holds values that are no numbers")
        seconds, start = seconds + time.perf_counter() - start, time.perf_counter()
        if kind.compared:
            others, known = next(expected)
            _require(torch.equal(targets.cpu(), known), "targets aren't those of the CPU")
            off = (images.float().cpu() - others.float()).abs() * std
            means.append(float(off.mean()))
            most = max(most, float(off.max()))
        start = time.perf_counter()
    mean = float(np.mean(means)) if means else 0.0
    _require(mean < MOST_LEVELS, f"images are {mean:.1f} levels off on average")
    return {"seconds": seconds, "mean": mean, "max": most}


def run_bad_files(options: Options, folder: Path, load: float) -> dict[str, float]:
    """Files that are truncated, no image, or gone: named in one mode, replaced in the other, all others as they were.

    Args:
        options: of the smoke test.
        folder: for the files.
        load: hardware decoder share: 1 leaves them to the JPEG engine, which reads headers only.

    Raises:
        AssertionError: otherwise.
    """
    originals, _ = find_files(options.data, 24)
    paths = [folder / f"{load:g} {number:02}.jpg" for number in range(len(originals))]
    for path, original in zip(paths, originals, strict=True):
        shutil.copy(original, path)
    dataset = dm.FileList(paths, list(range(len(paths))), cache=False, progress=False)
    settings = {"batch_size": 8, "device": options.device, "gpu_decode": dm.GpuDecode(hw_decoder_load=load)}
    build = partial(dm.Loader, dataset, imagenet.train(options.size), **settings)
    before = [images.cpu() for images, _ in build()]
    for number, damaged in BAD.items():
        content = damaged(paths[number].read_bytes())
        if content is None:
            paths[number].unlink()
        else:
            paths[number].write_bytes(content)
    try:
        list(build())
        _require(False, "damaged files raised no error")
    except dm.BadSampleError as error:
        _require({sample.number for sample in error.samples} <= set(BAD), f"good files were called bad: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        replacing = build(on_bad_sample="replace", max_bad_fraction=0.5)
        after = [images.cpu() for images, _ in replacing]
    found = {sample.number for sample in replacing.bad_samples}
    _require(found == set(BAD), f"{sorted(found)} were called bad instead of {sorted(BAD)}")
    good = [number for number in range(len(paths)) if number not in BAD]
    _require(torch.equal(torch.cat(after)[good], torch.cat(before)[good]), "a neighbour of a bad file changed")
    return {}


def run_decoder_alone(options: Options, folder: Path, load: float) -> dict[str, float]:
    """What DALI itself makes of a truncated JPEG, which the library never shows it: `raises` 1, or 0 if it delivers."""
    path = folder / f"{load:g} alone.jpg"
    path.write_bytes(truncated(Path(find_files(options.data, 1)[0][0]).read_bytes()))
    size = {"batch_size": 1, "size": options.size, "device": options.device, "threads": 1}
    try:
        decode = dm.GpuDecode(hw_decoder_load=load, fancy_upsampling=False)
        next(raw_dali.plain_batches(Feed(paths=(str(path),), labels=(0,), classes=1, **size), decode))
    except RuntimeError:
        return {"raises": 1.0}
    return {"raises": 0.0}


def run_gif(options: Options, folder: Path) -> dict[str, float]:
    """A GIF that is called .jpg among JPEGs: DALI never sees it, and it arrives as Pillow decodes it.

    Raises:
        AssertionError: otherwise.
    """
    originals, _ = find_files(options.data, 15)
    with Image.open(originals[0]) as image:
        image.convert("RGB").save(folder / "stray.jpg", "GIF")
    paths = [*originals, str(folder / "stray.jpg")]
    dataset = dm.FileList(paths, list(range(len(paths))), cache=False, progress=False)
    kind = Kind(dataset=dataset, pipeline=imagenet.val(options.size), options={"shuffle": False})
    return run_kind(kind, replace(options, batches=2, batch_size=8))


def measure(options: Options) -> Iterator[Found]:
    """One kind after the other; those to come stand among the findings from the start."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tries: dict[str, Callable[[], dict[str, float]]] = {
            name: partial(run_kind, kind, options) for name, kind in list_kinds(options, folder).items()
        }
        for load in LOADS:
            tries[f"bad files, engine {load:g}"] = partial(run_bad_files, options, folder, load)
        tries["a GIF called .jpg"] = partial(run_gif, options, folder)
        for load in LOADS:  # last, since nobody knows what they leave behind
            tries[f"a truncated file, decoder alone, engine {load:g}"] = partial(
                run_decoder_alone, options, folder, load
            )
        seen: dict[str, dict[str, Any]] = {name: {"error": "didn't run"} for name in tries}
        for name, run in tries.items():
            seen[name] = {"error": "didn't end"}
            yield Found(derived={"kinds": dict(seen)}, passed=False)
            try:
                seen[name] = {"error": "", **run()}
            except Exception as error:  # noqa: BLE001  whatever it is belongs into the report
                traceback.print_exc()
                seen[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
        yield Found(derived={"kinds": seen}, passed=not any(each["error"] for each in seen.values()))


def describe(report: Report) -> str:
    """A row per kind."""
    rows = []
    for name, each in report.derived["kinds"].items():
        figures = [f"{each[key]:.3f}" if key in each else "" for key in ("seconds", "mean", "max")]
        works = {1.0: "it raises", 0.0: "it delivers"}.get(each.get("raises"), "works")
        rows.append([name, *figures, " ".join(each["error"].split()) or works])
    batches = report.settings["batches"]
    return format_table(["kind", f"s for {batches} batches", "levels off", "at most", "verdict"], rows)


def _batches(kind: Kind, options: Options, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Epoch after epoch."""
    dataset = kind.dataset
    if device == "cpu" and isinstance(dataset, dm.ArrayDataset) and isinstance(dataset.stack, torch.Tensor):
        dataset = dm.ArrayDataset(dataset.stack.cpu(), dataset.targets)
    given = {"batch_size": options.batch_size, "shuffle": True, "drop_last": True, "device": device, **kind.options}
    if given["batch_size"] > len(dataset):
        given["batch_size"] = len(dataset)
    loader = dm.Loader(dataset, kind.pipeline, **given)
    while True:
        yield from loader


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


bench = Bench("gpu_smoke", __doc__, Options, measure, describe, unit="kinds", packages=GPU_PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
