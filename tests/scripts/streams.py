"""Compares what two checkouts deliver, bit for bit: `python tests/scripts/streams.py PHOTOS --against OTHER_CHECKOUT`.

Each checkout runs in a process of its own, through public names alone, and writes one hash per stream: images, targets and
the state after each batch. The exit code is 1 if a stream differs.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SIDE = 96
EPOCHS = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="one folder of photos per class")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="of another commit")
    parser.add_argument("--only", default="", metavar="TEXT", help="streams whose name holds this")
    parser.add_argument("--one-side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_side:
        json.dump(dict(hash_streams(options.photos, options.only)), sys.stdout)
        return 0
    ours, theirs = (run_checkout(checkout.resolve(), options) for checkout in (CHECKOUT, options.against))
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    print(f"{len(ours)} streams, {len(differing)} differ from {options.against}")
    print("".join(f"  {name}: {ours.get(name)} here, {theirs.get(name)} there\n" for name in differing), end="")
    return 1 if differing or not ours else 0


def run_checkout(checkout: Path, options: argparse.Namespace) -> dict[str, str]:
    command = [sys.executable, __file__, str(options.photos.resolve()), "--only", options.only, "--one-side"]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def hash_streams(photos: Path, only: str) -> Iterator[tuple[str, str]]:
    import dali_mixup as dm

    if not Path(dm.__file__).is_relative_to(Path.cwd()):
        raise ImportError(f"dali_mixup must come from {Path.cwd()}, got {dm.__file__}")
    with tempfile.TemporaryDirectory() as work:
        os.environ["DALI_MIXUP_CACHE"] = str(Path(work) / "cache")
        made = Path(work)
        for name, build in list_streams(dm, photos, write_small(made / "small"), write_damaged(photos, made / "bad")):
            if only in name:
                yield name, build()


def list_streams(dm, photos: Path, small: Path, damaged: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each stream's name, and what computes its hash."""
    import torch

    whole, tiny, bad = dm.ImageFolder(photos), dm.ImageFolder(small), dm.ImageFolder(damaged)
    crop = dm.ImagePipeline(geometry=dm.RandomResizedCrop(SIDE), flip=0.5)
    options = {"batch_size": 7, "shuffle": True, "seed": 3, "num_threads": 2}

    def stream(name: str, dataset=whole, pipeline=crop, **changed):
        return name, lambda: hash_loader(dm.Loader(dataset, pipeline, **{**options, **changed}))

    mixers = {
        "none": None,
        "mixup": dm.MixUp(0.4),
        "mixup per batch": dm.MixUp(0.4, per_sample=False, fold=False, partner="permutation", prob=0.7),
        "mixup dense": dm.MixUp(0.4, targets="dense", num_classes=len(whole.classes)),
        "cutmix": dm.CutMix(),
        "cutmix per batch": dm.CutMix(per_sample=False),
        "choice": dm.RandomChoice([dm.MixUp(0.8), dm.CutMix()], p=[0.4, 0.6]),
    }
    formats = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
    for (mixer, mixup), dtype, (layout, memory_format) in product(
        mixers.items(), (torch.float32, torch.float16, torch.bfloat16), formats.items()
    ):
        yield stream(f"mixers/{mixer}/{dtype}/{layout}", mixup=mixup, dtype=dtype, memory_format=memory_format)
        pipeline = dm.ImagePipeline(geometry=dm.CropPad(32, 4), flip=0.5)
        if mixer != "mixup dense":
            name = f"small/{mixer}/{dtype}/{layout}"
            yield stream(name, tiny, pipeline, mixup=mixup, dtype=dtype, memory_format=memory_format)
    for (name, geometry), layout in product(list_geometries(dm), formats):
        pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5)
        for mixer in ("mixup", "cutmix"):
            kind = {"mixup": mixers[mixer], "memory_format": formats[layout]}
            yield stream(f"geometry/{name}/{mixer}/{layout}", pipeline=pipeline, **kind)
            kept = "KeepSize" in name or "no pad" in name
            if not kept and layout == "NCHW":
                yield stream(f"augment/{name}/{mixer}", pipeline=dataclasses.replace(pipeline, augment=noise), **kind)
    for name, geometry in list_small_geometries(dm):
        for mixer, layout in product(("none", "mixup"), formats):
            pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5)
            kind = {"mixup": mixers[mixer], "memory_format": formats[layout]}
            yield stream(f"small geometry/{name}/{mixer}/{layout}", tiny, pipeline, **kind)
    for (name, transforms), layout in product(list_transforms(dm), formats):
        for geometry in (dm.RandomResizedCrop(SIDE), dm.RandomCrop(SIDE, resize=dm.Resize(110))):
            pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5, transforms=transforms)
            kind = {"mixup": mixers["mixup"], "memory_format": formats[layout]}
            yield stream(f"transforms/{name}/{type(geometry).__name__}/{layout}", pipeline=pipeline, **kind)
            with_augment = dataclasses.replace(pipeline, augment=noise)
            yield stream(f"transforms and augment/{name}/{type(geometry).__name__}/{layout}", pipeline=with_augment, **kind)
    for world in (2, 3):
        for rank in range(world):
            yield stream(f"ranks/{rank} of {world}", mixup=mixers["choice"], shard=(rank, world))
            sampler = torch.utils.data.DistributedSampler(range(len(whole)), world, rank, seed=5)
            yield stream(f"ranks/sampler/{rank} of {world}", shuffle=False, sampler=sampler, shard=(rank, world))
    yield stream("drop_last", drop_last=True, mixup=mixers["mixup"])
    yield stream("in order", shuffle=False, batch_size=1, mixup=mixers["mixup"])
    batches = [[5, 5, 1], [0], [2, 9, 8, 7, 30], [3, 4]]
    yield stream("batch sampler", shuffle=False, batch_size=None, batch_sampler=batches, mixup=mixers["cutmix"])
    labels = torch.rand(len(whole), 4, generator=torch.Generator().manual_seed(0))
    yield stream("float targets", dm.FileList(whole.paths, labels), mixup=mixers["mixup"])
    for augment in (None, noise):
        pipeline = dataclasses.replace(crop, augment=augment)
        for mixer in ("none", "mixup", "cutmix"):
            kind = "augment" if augment else "plain"
            replacing = {"mixup": mixers[mixer], "on_bad_sample": "replace", "max_bad_fraction": 0.5}
            yield stream(f"bad files/{kind}/{mixer}", bad, pipeline, **replacing)
            for batch_size in (7, 5):
                name = f"resume/{kind}/{mixer}/{batch_size}"
                built = dm.Loader(whole, pipeline, mixup=mixers[mixer], **options)
                again = dm.Loader(whole, pipeline, mixup=mixers[mixer], **{**options, "batch_size": batch_size})
                yield name, lambda built=built, again=again: hash_resumed(built, again)
    yield "bad files/raise", lambda: hash_errors(dm, dm.Loader(bad, crop, **options))
    yield "from_dataloader", lambda: hash_loader(translate_dataloader(dm, photos))


def list_geometries(dm) -> Iterator[tuple[str, object]]:
    for interpolation in ("nearest", "bilinear", "bicubic", "lanczos", "random"):
        yield f"RandomResizedCrop {interpolation}", dm.RandomResizedCrop(SIDE, interpolation=interpolation)
        if interpolation != "random":
            yield f"ResizeCenterCrop {interpolation}", dm.ResizeCenterCrop(120, (SIDE, 80), interpolation)
            yield f"Resize {interpolation}", dm.Resize((SIDE, 120), interpolation=interpolation)
            yield f"CenterCrop {interpolation}", dm.CenterCrop(SIDE, dm.Resize(110, interpolation=interpolation))
    yield "CenterCrop larger", dm.CenterCrop(SIDE, dm.Resize(64), fill=(9, 80, 200))
    yield "CenterCrop whole", dm.CenterCrop(700, fill=33)
    yield "RandomCrop", dm.RandomCrop((SIDE, 80))
    yield "RandomCrop if needed", dm.RandomCrop(700, pad_if_needed=True, fill=7)
    yield "CropPad reflect", dm.CropPad(SIDE, 9)
    yield "CropPad constant", dm.CropPad((SIDE, 100), 12, "constant")
    for mode in ("constant", "edge", "reflect", "symmetric"):
        yield f"RandomCrop {mode}", dm.RandomCrop(SIDE, (3, 9, 5, 7), padding_mode=mode, resize=dm.Resize(SIDE))


def list_small_geometries(dm) -> Iterator[tuple[str, object]]:
    yield "KeepSize", dm.KeepSize()
    yield "ResizeCenterCrop", dm.ResizeCenterCrop(32, 32)
    yield "Resize", dm.Resize(24)
    yield "CropPad constant", dm.CropPad(32, 4, "constant")
    for mode in ("constant", "edge", "reflect", "symmetric"):
        yield f"RandomCrop {mode}", dm.RandomCrop(32, 4, padding_mode=mode)
    yield "CenterCrop", dm.CenterCrop(40, fill=9)


def list_transforms(dm) -> Iterator[tuple[str, tuple]]:
    yield "colours", (dm.ColorJitter(0.4, 0.4, 0.4, 0.1), dm.RandomGrayscale(0.3), dm.RandomVerticalFlip())
    yield "blur", (dm.RandomApply((dm.GaussianBlur(9),), 0.7), dm.RandomHorizontalFlip(0.4))
    yield "RandAugment", (dm.RandAugment(interpolation="bilinear", fill=(1, 2, 3)),)
    yield "TrivialAugmentWide", (dm.TrivialAugmentWide(), dm.RandomErasing(0.7, noise="pixel", fill=(9, 9, 9), std=(5, 6, 7)))
    yield "AutoAugment", (dm.AutoAugment(), dm.RandomErasing(0.7, noise="color", count=(1, 3), std=(9, 9, 9)))
    yield "operations", (dm.RandomOperation("Solarize", 99), dm.RandomOperation("Posterize", 3), dm.RandomOperation("Invert"))


def noise(images):
    """An `augment` with two of DALI's random operators."""
    from nvidia.dali import fn, types

    return fn.cast_like(fn.noise.gaussian(fn.cast(images, dtype=types.FLOAT), stddev=fn.random.uniform(range=(5, 50))), images)


def translate_dataloader(dm, photos: Path):
    import torch

    sys.path.insert(0, os.getcwd())
    from bench.torchvision_fix import import_torchvision

    import_torchvision()
    from torchvision import datasets
    from torchvision.transforms import v2

    chain = [v2.ToImage(), v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    images = datasets.ImageFolder(photos, v2.Compose(chain))
    generator = torch.Generator().manual_seed(4)
    loader = torch.utils.data.DataLoader(images, batch_size=6, shuffle=True, generator=generator)
    return dm.from_dataloader(loader, mixup=dm.MixUp(0.4), num_threads=2)


def hash_loader(loader) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for _ in range(EPOCHS):
        hash_epoch(loader, digest)
    return digest.hexdigest()


def hash_epoch(loader, digest) -> None:
    import torch

    for images, targets in loader:
        for tensor in (images, targets):
            layout = (str(tensor.dtype), tuple(tensor.shape), tensor.stride())
            digest.update(repr(layout).encode())
            digest.update(tensor.permute(0, *range(1, tensor.ndim)).contiguous().view(torch.uint8).numpy().tobytes())
        hash_state(loader.state_dict(), digest)
    digest.update(repr([sample._replace(path=Path(sample.path).name) for sample in loader.bad_samples]).encode())


def hash_state(state: dict, digest) -> None:
    import torch

    for name, value in sorted(state.items()):
        if isinstance(value, dict):
            hash_state(value, digest)
        else:  # DALI writes the checkpoint of its operators with addresses of the process in it
            shown = value.tolist() if isinstance(value, torch.Tensor) and name != "augment" else type(value).__name__
            digest.update(f"{name}={shown if isinstance(value, torch.Tensor) else value}".encode())


def hash_resumed(loader, again) -> str:
    digest = hashlib.blake2b(digest_size=8)
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    batches.close()
    again.load_state_dict(state)
    hash_epoch(again, digest)
    hash_epoch(again, digest)
    return digest.hexdigest()


def hash_errors(dm, loader) -> str:
    """The messages that an epoch's bad batches raise, without folders."""
    messages = []
    loader.set_epoch(0)
    try:
        for _ in loader:
            pass
    except dm.BadSampleError as error:
        messages.append([(number, Path(path).name, reason) for number, path, reason in error.samples])
    return hashlib.blake2b(repr(messages).encode(), digest_size=8).hexdigest()


def write_small(root: Path) -> Path:
    """40 PNGs of 32 x 32 pixels, in four classes."""
    import numpy as np
    from PIL import Image

    for number in range(40):
        folder = root / f"class{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def write_damaged(photos: Path, root: Path) -> Path:
    """The photos, with six bad files of different kinds among them."""
    from PIL import Image

    shutil.copytree(photos, root)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    data = files[3].read_bytes()
    files[0].write_bytes(data[: len(data) // 3])
    files[4].write_bytes(b"")
    files[8].write_bytes(b"no image at all")
    files[12].write_bytes(data[:-2])
    files[16].write_bytes(data[:60])
    gray = io.BytesIO()
    Image.new("LA", (90, 120), (40, 200)).save(gray, "TIFF")
    files[20].write_bytes(gray.getvalue())
    return root


if __name__ == "__main__":
    sys.exit(main())
