"""CIFAR-10 to 94% with mixup from JPEG files or arrays: read it from top to bottom and copy what you need.

The network and the optimizers follow Keller Jordan's airbench (arXiv:2404.00498) and Muon
(kellerjordan.github.io/posts/muon): a frozen whitening layer, three blocks of convolutions, orthogonalized momentum for
the filters and SGD for everything else.

Examples:
    python -m bench.cifar10 prepare path/to/png path/to/data     # train/CLASS/*.png and test/CLASS/*.png as JPEGs
    python -m bench.cifar10 path/to/data
    python -m bench.cifar10 path/to/root --arrays     # of torchvision.datasets.CIFAR10(root, download=True)
    python -m bench.cifar10 path/to/data --seeds 0 1 2 --json runs.json --plot runs.png
    python -m bench.cifar10 path/to/data --no-mixup --json runs.json     # beside those that runs.json holds
    python -m bench.cifar10 path/to/data --holdout --alpha 0.4           # settings without a look at the test images
    python -m bench.cifar10 path/to/data --study --json study.json       # goes on where it was stopped
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

import dali_mixup as dm
from bench import cifar10_prepare, cifar10_study
from bench.cifar10_runs import Epoch, Outcome, Runs, calibration_error
from bench.torchvision_fix import import_torchvision
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.pipelines import cifar10

HOLDOUT = 10  # every tenth training image
WHITENING_IMAGES, WHITENING_EPS = 5000, 5e-4
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Muon's quintic: from 0 up steeply, then between about 0.7 and 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a training depends on but its images.

    Attributes:
        epochs: passes over the training images.
        mixup: None for none.
        smoothing: of the labels.
        batch_size: images per step.
        channels: of the three blocks.
        filter_rate: learning rate of the filters, in units of their orthogonalized step.
        bias_rate: learning rate of the biases, per image of a batch.
        head_rate: learning rate of the last layer, likewise, times the square of its number of inputs.
        decay: part of biases and last layer that a step at the full rate takes away, likewise.
        padding: pixels that the random crop may reach beyond the image.
        seed: of initialisation, order, crops and mixup.
    """

    epochs: int = 16
    mixup: dm.MixUp | None = field(default_factory=lambda: dm.MixUp(alpha=0.2))
    smoothing: float = 0.1
    batch_size: int = 2000
    channels: tuple[int, int, int] = (64, 256, 256)
    filter_rate: float = 0.24
    bias_rate: float = 0.05
    head_rate: float = 0.65
    decay: float = 2e-6
    padding: int = 2
    seed: int = 0


def build_net(classes: int, channels: Sequence[int], images: torch.Tensor) -> nn.Sequential:
    """A whitening layer made for `images` (N, 3, 32, 32) float32, three blocks, and a linear layer without bias."""
    whiten = nn.Conv2d(3, 24, 2)
    whiten.weight.data = whitening_filters(images)
    whiten.weight.requires_grad_(False)
    nn.init.zeros_(cast(nn.Parameter, whiten.bias))
    head = nn.Linear(channels[-1], classes, bias=False)
    nn.init.normal_(head.weight, std=1 / channels[-1])
    blocks = [layer for pair in zip((24, *channels), channels, strict=False) for layer in build_block(*pair)]
    return nn.Sequential(whiten, nn.GELU(), *blocks, nn.MaxPool2d(3), nn.Flatten(), head)


def build_block(channels_in: int, channels: int) -> list[nn.Module]:
    """Two convolutions that start as the identity on the channels that there are.

    The first one halves height and width.
    """
    layers: list[nn.Module] = []
    for first in (channels_in, channels):
        convolution = nn.Conv2d(first, channels, 3, padding="same", bias=False)
        nn.init.dirac_(convolution.weight.data[:first])
        norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
        norm.weight.requires_grad_(False)
        layers += [convolution, *([nn.MaxPool2d(2)] if not layers else []), norm, nn.GELU()]
    return layers


def whitening_filters(images: torch.Tensor) -> torch.Tensor:
    """(24, 3, 2, 2): filters, and their negatives, that make the 2 x 2 patches of `images` uncorrelated, variance 1."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).movedim(1, 3).reshape(-1, 12).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + WHITENING_EPS).sqrt()).T.reshape(12, 3, 2, 2).float()
    return torch.cat([filters, -filters])


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose step is made orthogonal, on filters that are kept at one norm."""

    def __init__(self, filters: Sequence[nn.Parameter], lr: float, momentum: float = 0.6):
        super().__init__(filters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step down all gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                average = self.state[weight].setdefault("average", torch.zeros_like(weight))
                average.mul_(group["momentum"]).add_(weight.grad)
                direction = orthogonalize(weight.grad.add(average, alpha=group["momentum"]).flatten(1))
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.sub_(direction.view_as(weight), alpha=group["lr"])


def orthogonalize(matrix: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """About the nearest matrix whose singular values are all 1, by Newton-Schulz steps."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def build_optimizers(net: nn.Sequential, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the filters, SGD for biases and the last layer."""
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    by_rank = {rank: [weight for weight in trained if weight.ndim == rank] for rank in (1, 2, 4)}
    rates = {
        1: recipe.bias_rate * recipe.batch_size,
        2: recipe.head_rate * recipe.batch_size / recipe.channels[-1] ** 2,
    }
    decay = recipe.decay * recipe.batch_size
    groups = [{"params": by_rank[rank], "lr": rate, "weight_decay": decay / rate} for rank, rate in rates.items()]
    return [Muon(by_rank[4], recipe.filter_rate), torch.optim.SGD(groups, momentum=0.85, nesterov=True)]


def train(train_images: ImageDataset, test_images: ImageDataset, recipe: Recipe, name: str = "") -> Outcome:
    """Train from the beginning, then test; prints a line per epoch."""
    torch.manual_seed(recipe.seed)
    pipeline = replace(cifar10.train(), geometry=dm.CropPad(32, padding=recipe.padding))
    open_loader = partial(dm.Loader, batch_size=recipe.batch_size, memory_format=torch.channels_last)
    loader = open_loader(train_images, pipeline, shuffle=True, drop_last=True, mixup=recipe.mixup, seed=recipe.seed)
    test_loader = open_loader(test_images, cifar10.val())
    net = build_net(len(train_images.classes or []), recipe.channels, first_images(train_images)).to(loader.device)
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss(label_smoothing=recipe.smoothing))
    optimizers = build_optimizers(net, recipe)
    steps = recipe.epochs * len(loader)
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda step: 1 - step / steps) for each in optimizers]
    epochs: list[Epoch] = []
    logits = labels = torch.empty(0)
    for number in range(1, recipe.epochs + 1):
        net.train()
        total = torch.zeros((), device=loader.device)
        start, waited = time.perf_counter(), loader.stats().wait
        for images, targets in tqdm(loader, f"{name} epoch {number}", leave=False, disable=None):
            with torch.autocast(loader.device.type, torch.bfloat16):
                loss = criterion(net(images), targets)
            loss.backward()
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            total += loss.detach()
        train_loss = total.item() / len(loader)  # waits for a GPU, so that the seconds are right
        seconds, waiting = time.perf_counter() - start, loader.stats().wait - waited
        logits, labels = predict(net, test_loader)
        test_loss, accuracy = F.cross_entropy(logits, labels).item(), accuracy_of(logits, labels)
        epochs.append(Epoch(train_loss, test_loss, accuracy, seconds, waiting))
        figures = f"train loss {train_loss:.3f}, test loss {test_loss:.3f}, accuracy {accuracy:.2%}"
        speed = f"{len(loader) * recipe.batch_size / seconds:.0f} images/s, {waiting / seconds:.1%} waiting for data"
        print(f"{name} epoch {number}/{recipe.epochs}: {figures}, {speed}", flush=True)
    seconds = sum(epoch.seconds for epoch in epochs)
    return Outcome(
        epochs=tuple(epochs),
        accuracy=epochs[-1].test_accuracy,
        averaged=accuracy_of(*predict(net, test_loader, average=True)),
        ece=calibration_error(logits, labels),
        images_per_second=steps * recipe.batch_size / seconds,
        waiting=sum(epoch.waiting for epoch in epochs) / seconds,
    )


def first_images(dataset: ImageDataset) -> torch.Tensor:
    """Some training images, (N, 3, 32, 32) float32 on the CPU, for the whitening layer."""
    loader = dm.Loader(dataset, cifar10.val(), batch_size=min(WHITENING_IMAGES, len(dataset)), shuffle=True)
    return next(iter(loader))[0].float().cpu()


@torch.inference_mode()
def predict(net: nn.Module, loader: dm.Loader, *, average: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, classes) float32 and labels (N,) of all images; `average` is over flips and shifts."""
    net.eval()
    logits, labels = [], []
    for images, some in loader:
        with torch.autocast(loader.device.type, torch.bfloat16):
            views = flips_and_shifts(images) if average else [(1.0, images)]
            logits.append(sum(weight * net(view).float() for weight, view in views))
        labels.append(some)
    return torch.cat(logits), torch.cat(labels)


def flips_and_shifts(images: torch.Tensor) -> Iterator[tuple[float, torch.Tensor]]:
    """Six views (B, 3, H, W) and their weights, of sum 1: the images, moved a pixel along the diagonal, and back.

    Each mirrored, too.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    for start, weight in ((1, 0.5), (0, 0.25), (2, 0.25)):
        view = padded[:, :, start : start + height, start : start + width]
        yield weight / 2, view.contiguous(memory_format=torch.channels_last)
        yield weight / 2, view.flip(3).contiguous(memory_format=torch.channels_last)


def accuracy_of(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """From 0 to 1."""
    return (logits.argmax(1) == labels).double().mean().item()


def open_files(data: str, *, holdout: bool) -> tuple[dm.FileList, dm.FileList]:
    """Images to train on and to test on; with `holdout` both are training images."""
    folder = dm.ImageFolder(f"{data}/train")
    if not holdout:
        return folder, dm.ImageFolder(f"{data}/test")
    return pick(folder, lambda number: number % HOLDOUT != 0), pick(folder, lambda number: number % HOLDOUT == 0)


def open_arrays(root: str, *, holdout: bool) -> tuple[dm.ArrayDataset, dm.ArrayDataset]:
    """The same from torchvision's `CIFAR10`, which reads its pickled batches; with `holdout` every tenth image."""
    read = import_torchvision("torchvision.datasets").CIFAR10
    train = read(root, train=True)
    pixels, targets = train.data, np.array(train.targets)
    if not holdout:
        test = read(root, train=False)
        return dm.ArrayDataset(pixels, targets, train.classes), dm.ArrayDataset(test.data, test.targets, test.classes)
    held = np.arange(len(targets)) % HOLDOUT == 0
    return (
        dm.ArrayDataset(pixels[~held], targets[~held], train.classes),
        dm.ArrayDataset(pixels[held], targets[held], train.classes),
    )


def pick(files: dm.FileList, wanted: Callable[[int], bool]) -> dm.FileList:
    """Those files whose number is `wanted`.

    Classes lie one after the other, so every tenth file is a tenth of each class.
    """
    numbers = [number for number in range(len(files)) if wanted(number)]
    return dm.FileList([files.paths[number] for number in numbers], files.targets[numbers], files.classes)


def keep_freed_memory() -> None:
    """Let glibc keep what tensors leave: zeroing hundreds of fresh megabytes per layer costs a third of a CPU epoch."""
    for option, value in ((-4, 0), (-1, -1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD
        ctypes.CDLL(None).mallopt(option, value)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.cifar10", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add, default = parser.add_argument, Recipe()
    add("data", metavar="DATA", help="a folder with train/ and test/, each with one folder per class")
    add("--arrays", action="store_true", help="DATA is the root of torchvision's CIFAR10, and nothing is decoded")
    add("--epochs", type=int, default=default.epochs, help="default %(default)s")
    add("--seeds", "--seed", type=int, nargs="+", default=[0], help="one training each (default 0)")
    add("--alpha", type=float, default=0.2, help="of mixup (default %(default)s)")
    add("--no-mixup", action="store_true", help="train without")
    add("--smoothing", type=float, default=default.smoothing, help="of the labels (default %(default)s)")
    add("--padding", type=int, default=default.padding, help="pixels (default %(default)s)")
    add("--batch-size", type=int, default=default.batch_size, help="default %(default)s")
    add("--holdout", action="store_true", help="test on a tenth of the training images, and train on the others")
    add("--study", action="store_true", help="compare five ways of mixing on a smaller network instead")
    add("--json", metavar="FILE", help="keep all trainings, beside those that it holds")
    add("--plot", metavar="FILE.png", help="draw losses and accuracy")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with each seed, or prepare the images, or run the study."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["prepare"]:
        return cifar10_prepare.main(arguments[1:])
    options = build_parser().parse_args(arguments)
    keep_freed_memory()
    open_images = open_arrays if options.arrays else open_files
    train_on_them = partial(train, *open_images(options.data, holdout=options.holdout))
    if options.study:
        return cifar10_study.run(train_on_them, Recipe(), options.json, options.plot)
    mixup = None if options.no_mixup else dm.MixUp(alpha=options.alpha)
    name = "without mixup" if mixup is None else f"mixup {options.alpha:g}"
    settings = {key: getattr(options, key) for key in ("epochs", "smoothing", "padding", "batch_size")}
    recipe = Recipe(mixup=mixup, **settings)
    runs = Runs("cifar10", options.json)
    for seed in options.seeds:
        outcome = train_on_them(replace(recipe, seed=seed), f"{name}, seed {seed}")
        runs.add(f"{name}, {options.epochs} epochs", replace(recipe, seed=seed), outcome)
    runs.show(options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
