"""`dali-mixup demo`: train a small network with mixup and without, and compare."""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from dali_mixup.commands.arguments import Commands, add_command, add_mixup, add_out, at_least
from dali_mixup.commands.folders import draw_subset, open_train_and_val
from dali_mixup.commands.preview import draw_preview
from dali_mixup.commands.shape_files import write_shapes
from dali_mixup.commands.text import draw_table, plural, printable
from dali_mixup.commands.training import Outcome, Recipe, train_and_validate
from dali_mixup.dataset.files import FileList
from dali_mixup.geometry.crops import CropPad, ResizeCenterCrop
from dali_mixup.geometry.resized_crop import RandomResizedCrop
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.pipeline import ImagePipeline

DRAWN = 3000  # training images of the embedded default
TRAIN_PER_VAL = 3
BUDGET = 36_000  # images that one training sees unless --epochs says otherwise: about half a minute on two cores
MOST_EPOCHS = 40
SMALL = 64  # pixels: square images of one size up to here are padded and cropped, as CIFAR recipes do
CIFAR = 32  # pixels: bench.cifar10's network takes images of this size

PURPOSE = "train a small network with mixup and without, and compare"
EXAMPLES = """\
examples:
  dali-mixup demo                               draw images into .data/demo, train on them
  dali-mixup demo --data cifar10                train on cifar10/train, validate on cifar10/val or cifar10/test
  dali-mixup demo --data cifar10 --epochs 80    long enough for mixup to pay
  dali-mixup demo --data imagenet --size 96 --images 20000 --epochs 4

Both trainings start from the same network and see the same crops in the same order.

"""
NOTE = (
    "Mixup makes training images harder to fit: trainings as short as this one often lose a little by it, long "
    "ones gain."
)


def add_parser(commands: Commands) -> None:
    """The options of `demo`."""
    parser = add_command(commands, "demo", PURPOSE, examples=EXAMPLES, run=run)
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="holds train/ and val/ (or test/); without it images are drawn"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(".data/demo"),
        metavar="FOLDER",
        help="for drawn images (default: %(default)s)",
    )
    add_out(parser, default=Path("preview.png"))
    parser.add_argument("--epochs", type=at_least(1), metavar="N", help="default: as many as take about half a minute")
    parser.add_argument(
        "--images",
        type=at_least(10),
        metavar="N",
        help=f"train on N images, validate on a third of that (default: {DRAWN}, or all of --data)",
    )
    parser.add_argument(
        "--size", type=at_least(16), default=64, metavar="PIXELS", help="side of the crops (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=at_least(2), default=32, metavar="N", help="default: %(default)s")
    add_mixup(parser, alpha=0.2)


def run(options: argparse.Namespace) -> int:
    """Run the demo; the exit code is 0."""
    start = time.perf_counter()
    train, val = _open(options)
    recipe = choose_recipe(train, val, options)
    mixup = MixUp(alpha=options.alpha)
    print(_describe(recipe), flush=True)
    with _half_of_the_cores():
        outcomes = {
            f"mixup (alpha {mixup.alpha:g})": train_and_validate(recipe, mixup, "with mixup"),
            "no mixup": train_and_validate(recipe, None, "without mixup"),
        }
    print(f"\n{_compare(outcomes)}\n")
    if options.epochs is None:
        print(f"{NOTE}\n")
    if options.data is not None and recipe.train_pipeline.size == (CIFAR, CIFAR):
        print(
            "A longer training, for images of CIFAR-10's size: python -m bench.cifar10 "
            f"{printable(str(options.data))}\n"
        )
    draw_preview(train, recipe.train_pipeline, mixup=mixup, seed=options.seed).save(options.out)
    print(f"Mixed training images: {printable(str(options.out))}")
    print(f"The whole took {time.perf_counter() - start:.0f} s.")
    return 0


@contextmanager
def _half_of_the_cores() -> Iterator[None]:
    """Let torch compute on half of the cores.

    The others decode, and threads that wait for each other on a busy core waste both.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_recipe(train: FileList, val: FileList, options: argparse.Namespace) -> Recipe:
    """Crops that fit the images, and as many epochs as fit the time."""
    small = _common_square(train)
    if small is not None:
        train_pipeline = ImagePipeline(geometry=CropPad(small, padding=4), flip=0.5)
        val_pipeline = ImagePipeline(geometry=ResizeCenterCrop(small, small))
    else:
        train_pipeline = ImagePipeline(geometry=RandomResizedCrop(options.size, scale=(0.6, 1.0)), flip=0.5)
        val_pipeline = ImagePipeline(geometry=ResizeCenterCrop(options.size * 256 // 224, options.size))
    return Recipe(
        train=train,
        val=val,
        train_pipeline=train_pipeline,
        val_pipeline=val_pipeline,
        epochs=options.epochs or min(max(round(BUDGET / len(train)), 1), MOST_EPOCHS),
        batch_size=min(options.batch_size, len(train)),
        seed=options.seed,
    )


def _open(options: argparse.Namespace) -> tuple[FileList, FileList]:
    """The images to train on and to validate on: the user's, or drawn ones."""
    if options.data is None:
        count = options.images or DRAWN
        return open_train_and_val(
            write_shapes(options.work, train=count, val=-(-count // TRAIN_PER_VAL), seed=options.seed)
        )
    train, val = open_train_and_val(options.data)
    if options.images:
        train = draw_subset(train, options.images, options.seed)
        val = draw_subset(val, -(-options.images // TRAIN_PER_VAL), options.seed)
    return train, val


def _common_square(dataset: FileList) -> int | None:
    """The side of the images if all are square, of one size and small."""
    side = int(dataset.heights[0])
    same = np.all(dataset.heights == side) and np.all(dataset.widths == side)
    return side if same and side <= SMALL else None


def _describe(recipe: Recipe) -> str:
    network = recipe.build_network()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    height, width = recipe.train_pipeline.size
    device = "GPU" if torch.cuda.is_available() else f"CPU, {plural(len(os.sched_getaffinity(0)), 'core')}"
    return (
        f"{plural(len(recipe.train), 'training image')}, {plural(len(recipe.val), 'validation image')} of "
        f"{plural(len(recipe.train.classes or []), 'class')}\n"
        f"{plural(recipe.epochs, 'epoch')} at {height} x {width} pixels, batches of {recipe.batch_size}, "
        f"a network of {parameters:,} parameters, {device}"
    )


def _compare(outcomes: dict[str, Outcome]) -> str:
    columns = ("", "validation accuracy", "validation loss", "training accuracy", "images/s", "waiting for data")
    rows = [
        (
            name,
            f"{outcome.val_accuracy:.1%}",
            f"{outcome.val_loss:.3f}",
            f"{outcome.train_accuracy:.1%}",
            f"{outcome.images_per_second:,.0f}",
            f"{outcome.waiting:.0%} of the time",
        )
        for name, outcome in outcomes.items()
    ]
    return draw_table([columns, *rows])
