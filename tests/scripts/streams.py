"""Compares what two checkouts deliver, bit for bit: `python tests/scripts/streams.py PHOTOS --against OTHER_CHECKOUT`.

Each checkout runs in a process of its own, through public names alone, and writes one hash per stream: images, targets
and the state after each batch, but for its version. The exit code is 1 if a stream differs.
"""

import argparse
import dataclasses
import hashlib
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SIDE = 96
EPOCHS = 2
Stream = tuple[str, Callable[[], str]]


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
    new = ours.keys() - theirs.keys()
    differing = sorted(name for name in (ours.keys() | theirs.keys()) - new if ours.get(name) != theirs.get(name))
    print(f"{len(ours)} streams, {len(differing)} differ from {options.against}, which lacks {len(new)} of them")
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
        for name, build in Streams(dm, photos, made).all():
            if only in name:
                yield name, build()


class Streams:
    """The cases: each method yields names, and functions that compute the hash of one."""

    def __init__(self, dm, photos: Path, made: Path):
        import torch

        self.dm, self.photos, self.made = dm, photos, made
        self.whole = dm.ImageFolder(photos)
        self.small = dm.ImageFolder(write_small(made / "small"))
        self.damaged = dm.ImageFolder(write_damaged(photos, made / "damaged"))
        self.crop = dm.ImagePipeline(geometry=dm.RandomResizedCrop(SIDE), flip=0.5)
        self.options = {"batch_size": 7, "shuffle": True, "seed": 3, "num_threads": 2}
        self.formats = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
        self.mixers = {
            "none": None,
            "mixup": dm.MixUp(0.4),
            "mixup per batch": dm.MixUp(0.4, per_sample=False, fold=False, partner="permutation", prob=0.7),
            "mixup dense": dm.MixUp(0.4, targets="dense", num_classes=len(self.whole.classes)),
            "cutmix": dm.CutMix(),
            "cutmix per batch": dm.CutMix(per_sample=False),
            "choice": dm.RandomChoice([dm.MixUp(0.8), dm.CutMix()], p=[0.4, 0.6]),
        }

    def all(self) -> Iterator[Stream]:
        yield from self.outputs()
        yield from self.geometries()
        yield from self.small_geometries()
        yield from self.transforms()
        yield from self.orders()
        yield from self.faults_and_resume()
        yield from self.epochs_and_views()
        yield "from_dataloader", lambda: hash_loader(translate_dataloader(self.dm, self.photos))

    def stream(self, name: str, dataset=None, pipeline=None, **changed) -> Stream:
        def compute() -> str:
            loader = self.dm.Loader(dataset or self.whole, pipeline or self.crop, **{**self.options, **changed})
            return hash_loader(loader)

        return name, compute

    def pipeline(self, geometry, **options):
        return self.dm.ImagePipeline(geometry=geometry, flip=0.5, **options)

    def outputs(self) -> Iterator[Stream]:
        import torch

        dtypes = (torch.float32, torch.float16, torch.bfloat16)
        for (mixer, mixup), dtype, (layout, memory_format) in product(
            self.mixers.items(), dtypes, self.formats.items()
        ):
            kind = {"mixup": mixup, "dtype": dtype, "memory_format": memory_format}
            yield self.stream(f"mixers/{mixer}/{dtype}/{layout}", **kind)
            if mixer != "mixup dense":
                pipeline = self.pipeline(self.dm.CropPad(32, 4))
                yield self.stream(f"small/{mixer}/{dtype}/{layout}", self.small, pipeline, **kind)

    def geometries(self) -> Iterator[Stream]:
        for (name, geometry), layout, mixer in product(list_geometries(self.dm), self.formats, ("mixup", "cutmix")):
            kind = {"mixup": self.mixers[mixer], "memory_format": self.formats[layout]}
            yield self.stream(f"geometry/{name}/{mixer}/{layout}", pipeline=self.pipeline(geometry), **kind)
            if layout == "NCHW":
                pipeline = self.pipeline(geometry, augment=noise)
                yield self.stream(f"augment/{name}/{mixer}", pipeline=pipeline, **kind)

    def small_geometries(self) -> Iterator[Stream]:
        for (name, geometry), layout, mixer in product(list_small_geometries(self.dm), self.formats, ("none", "mixup")):
            kind = {"mixup": self.mixers[mixer], "memory_format": self.formats[layout]}
            yield self.stream(f"small geometry/{name}/{mixer}/{layout}", self.small, self.pipeline(geometry), **kind)

    def transforms(self) -> Iterator[Stream]:
        dm = self.dm
        geometries = (dm.RandomResizedCrop(SIDE), dm.RandomCrop(SIDE, resize=dm.Resize(110)))
        for (name, transforms), layout, geometry in product(list_transforms(dm), self.formats, geometries):
            kind = {"mixup": self.mixers["mixup"], "memory_format": self.formats[layout]}
            for augment in (None, noise):
                pipeline = self.pipeline(geometry, transforms=transforms, augment=augment)
                title = f"transforms/{name}/{type(geometry).__name__}/{layout}/{'augment' if augment else 'plain'}"
                yield self.stream(title, pipeline=pipeline, **kind)

    def epochs_and_views(self) -> Iterator[Stream]:
        """Schedules, views, gray and upright images; an older checkout lacks some of them."""
        dm = self.dm
        options = inspect.signature(dm.Loader).parameters
        small = self.pipeline(dm.RandomResizedCrop(64, interpolation="bicubic"), transforms=(dm.ColorJitter(0.4),))
        if "indices" in options:
            schedule = {"mixup": {0: self.mixers["mixup"], 1: None}, "indices": True}
            yield self.stream("schedules", pipeline={0: self.crop, 1: small}, **schedule)
            upright = dataclasses.replace(small, orient=True)
            yield self.stream("upright", dm.ImageFolder(write_turned(self.made / "turned")), upright)
        if "views" not in options:
            return
        cropped = self.pipeline(dm.RandomCrop(32, 4))
        for mixer, (layout, memory_format) in product(("none", "mixup"), self.formats.items()):
            kind = {"mixup": self.mixers[mixer], "memory_format": memory_format}
            yield self.stream(f"views/{mixer}/{layout}", pipeline=[self.crop, self.crop, small], **kind)
            noisy = self.pipeline(small.geometry, augment=noise)
            yield self.stream(f"views/augment/{mixer}/{layout}", pipeline=[noisy, small], **kind)
            yield self.stream(f"views/small/{mixer}/{layout}", self.small, cropped, views=2, **kind)
            for name, dataset, pipeline in (("large", self.whole, small), ("small", self.small, cropped)):
                gray = dataclasses.replace(pipeline, mean=(0.4,), std=(0.2,), channels=1)
                yield self.stream(f"gray/{name}/{mixer}/{layout}", dataset, gray, **kind)

    def orders(self) -> Iterator[Stream]:
        import torch

        for world, sampled in product((2, 3), (False, True)):
            for rank in range(world):
                sampler = torch.utils.data.DistributedSampler(range(len(self.whole)), world, rank, seed=5)
                order = {"shuffle": False, "sampler": sampler} if sampled else {}
                name = f"ranks/{'sampler/' if sampled else ''}{rank} of {world}"
                yield self.stream(name, mixup=self.mixers["choice"], shard=(rank, world), **order)
        yield self.stream("drop_last", drop_last=True, mixup=self.mixers["mixup"])
        yield self.stream("in order", shuffle=False, batch_size=1, mixup=self.mixers["mixup"])
        batches = {"batch_size": None, "batch_sampler": [[5, 5, 1], [0], [2, 9, 8, 7, 30], [3, 4]]}
        yield self.stream("batch sampler", shuffle=False, mixup=self.mixers["cutmix"], **batches)
        labels = torch.rand(len(self.whole), 4, generator=torch.Generator().manual_seed(0))
        yield self.stream("float targets", self.dm.FileList(self.whole.paths, labels), mixup=self.mixers["mixup"])

    def faults_and_resume(self) -> Iterator[Stream]:
        replacing = {"on_bad_sample": "replace", "max_bad_fraction": 0.5}
        for augment, mixer in product((None, noise), ("none", "mixup", "cutmix")):
            kind = f"{'augment' if augment else 'plain'}/{mixer}"
            pipeline = dataclasses.replace(self.crop, augment=augment)
            yield self.stream(f"bad files/{kind}", self.damaged, pipeline, mixup=self.mixers[mixer], **replacing)
            for batch_size in (7, 5):
                options = {**self.options, "mixup": self.mixers[mixer]}
                loaders = partial(self.dm.Loader, self.whole, pipeline)
                changed = {**options, "batch_size": batch_size}
                yield f"resume/{kind}/{batch_size}", partial(hash_resumed, loaders, options, changed)
        yield "bad files/raise", lambda: hash_errors(self.dm, self.dm.Loader(self.damaged, self.crop, **self.options))


def list_geometries(dm) -> Iterator[tuple[str, object]]:
    for interpolation in ("nearest", "bilinear", "bicubic", "lanczos", "random"):
        yield f"RandomResizedCrop {interpolation}", dm.RandomResizedCrop(SIDE, interpolation=interpolation)
        if interpolation != "random":
            yield f"ResizeCenterCrop {interpolation}", dm.ResizeCenterCrop(120, (SIDE, 80), interpolation)
            yield f"Resize {interpolation}", dm.Resize((SIDE, 120), interpolation=interpolation)
            yield f"CenterCrop {interpolation}", dm.CenterCrop(SIDE, dm.Resize(110, interpolation=interpolation))
    yield "CenterCrop larger", dm.CenterCrop(SIDE, dm.Resize(64), fill=(9, 80, 200))
    yield "CenterCrop whole", dm.CenterCrop(700, fill=33)
    if hasattr(dm, "CornerCrop"):  # which an older checkout lacks
        yield "CornerCrop", dm.CornerCrop(SIDE, "bottom left", dm.Resize(110), "horizontal")
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
    yield "TrivialAugmentWide", (dm.TrivialAugmentWide(), dm.RandomErasing(0.7, fill=(9, 9, 9)))
    yield "noise", (dm.RandomErasing(0.7, noise="pixel", count=(1, 2), fill=(9, 9, 9), std=(5, 6, 7)),)
    yield "AutoAugment", (dm.AutoAugment(), dm.RandomErasing(0.7, noise="color", count=(1, 3), std=(9, 9, 9)))
    yield (
        "operations",
        (dm.RandomOperation("Solarize", 99), dm.RandomOperation("Posterize", 3), dm.RandomOperation("Invert")),
    )
    if not hasattr(dm, "OneOf"):  # an older checkout
        return
    yield "timm's RandAugment", (dm.TimmRandAugment(),)
    yield "timm's AugMix", (dm.TimmAugMix(alpha=0.5), dm.TimmAutoAugment(((dm.TimmStep("GaussianBlur"),),)))
    yield "moves", (dm.RandomRotation(30), dm.RandomAffine(9, (0.1, 0.2), (0.5, 1.5), 9, "bicubic"))
    yield "elastic", (dm.ElasticTransform(300.0, 4.0),)
    yield "AugMix", (dm.AugMix(alpha=0.5),)
    yield "perspective", (dm.RandomPerspective(fill=(1, 2, 3)), dm.RandomAffine(0, scale=(0.5, 1.5)))
    yield (
        "choices",
        (dm.OneOf((dm.ColorJitter(0.4), dm.RandomRotation(9)), (1, 2)), dm.RandomOrder((dm.AutoAugment(),))),
    )


def noise(images):
    """An `augment` with two of DALI's random operators."""
    from nvidia.dali import fn, types

    return fn.cast_like(
        fn.noise.gaussian(fn.cast(images, dtype=types.FLOAT), stddev=fn.random.uniform(range=(5, 50))), images
    )


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

    for images, *rest in loader:
        for tensor in (*(images if isinstance(images, list) else [images]), *rest):
            layout = (str(tensor.dtype), tuple(tensor.shape), tensor.stride())
            digest.update(repr(layout).encode())
            digest.update(tensor.permute(0, *range(1, tensor.ndim)).contiguous().view(torch.uint8).numpy().tobytes())
        hash_state(loader.state_dict(), digest)
    digest.update(repr([sample._replace(path=Path(sample.path).name) for sample in loader.bad_samples]).encode())


def hash_state(state: dict, digest) -> None:
    import torch

    for name, value in sorted(state.items()):
        if name == "version":  # it says that some stream was altered; which ones, this script finds
            continue
        if isinstance(value, dict):
            hash_state(value, digest)
        else:  # DALI writes the checkpoint of its operators with addresses of the process in it
            shown = value.tolist() if isinstance(value, torch.Tensor) and name != "augment" else type(value).__name__
            digest.update(f"{name}={shown if isinstance(value, torch.Tensor) else value}".encode())


def hash_resumed(build, options: dict, changed: dict) -> str:
    loader, again = build(**options), build(**changed)
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


def write_turned(root: Path) -> Path:
    """16 JPEGs in each of EXIF's orientations."""
    import numpy as np
    from PIL import Image

    for number in range(16):
        folder = root / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 1 + number // 2
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).resize((120, 90)).save(folder / f"{number}.jpg", exif=exif)
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
