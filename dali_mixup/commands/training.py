"""One training of the demo: a small network, with or without mixup, then its accuracy on the validation images."""

import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat

import torch
from torch import nn
from tqdm import tqdm

from dali_mixup.commands.network import build_network
from dali_mixup.commands.progress import open_bar
from dali_mixup.dataset.files import FileList
from dali_mixup.loader import Loader
from dali_mixup.mixing.accuracy import MixUpAccuracy
from dali_mixup.mixing.loss import MixUpLoss
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.pipeline import ImagePipeline

LEARNING_RATE = 0.01  # the peak, of AdamW
WEIGHT_DECAY = 0.05
WARM_UP = 0.2  # of all steps
STEPS_SHOWN = 10  # steps between two figures in the bar: reading the loss of a GPU waits for it
STEPS_TIMED = 50  # after so many steps a training that will take longer than LONG is announced
LONG = 90  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What both trainings share.

    Attributes:
        train: images to learn from.
        val: images to measure accuracy on.
        train_pipeline: random crops.
        val_pipeline: central crops.
        epochs: passes over the training images.
        batch_size: images per step.
        seed: of the initialisation, the order and the crops.
    """

    train: FileList
    val: FileList
    train_pipeline: ImagePipeline
    val_pipeline: ImagePipeline
    epochs: int
    batch_size: int
    seed: int

    def build_network(self) -> nn.Sequential:
        """The network in its initial state, the same each time."""
        torch.manual_seed(self.seed)
        return build_network(len(self.train.classes or []), self.train_pipeline.size[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one training.

    Attributes:
        val_accuracy: from 0 to 1.
        val_loss: cross-entropy, in nats.
        train_accuracy: on the dominant labels of the last epoch's crops.
        images_per_second: of the training, everything included.
        waiting: the part of the training's time that waited for the next batch.
    """

    val_accuracy: float
    val_loss: float
    train_accuracy: float
    images_per_second: float
    waiting: float


def train_and_validate(recipe: Recipe, mixup: MixUp | None, description: str) -> Outcome:
    """Train from the recipe's initial state, then validate.

    Args:
        recipe: what both trainings share.
        mixup: None for none.
        description: what the bar says.
    """
    loader = Loader(
        recipe.train,
        recipe.train_pipeline,
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        mixup=mixup,
        seed=recipe.seed,
        memory_format=torch.channels_last,
        on_bad_sample="replace",
    )
    network = recipe.build_network().to(loader.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    start = time.perf_counter()
    accuracy = _train(network, loader, recipe.epochs, description)
    seconds = time.perf_counter() - start
    val_accuracy, val_loss = _validate(network, recipe)
    return Outcome(
        val_accuracy=val_accuracy,
        val_loss=val_loss,
        train_accuracy=accuracy,
        images_per_second=recipe.epochs * len(loader.sampler) / seconds,
        waiting=loader.stats().wait / seconds,
    )


def _train(network: nn.Module, loader: Loader, epochs: int, description: str) -> float:
    """Train; the accuracy on the last epoch's crops."""
    criterion = MixUpLoss(nn.CrossEntropyLoss())
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * len(loader)
    rate = partial(_rate, steps=steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    accuracy = MixUpAccuracy()
    network.train()
    with open_bar(description, epochs * len(loader.sampler), "images") as bar:
        for step, (images, targets) in enumerate(chain.from_iterable(repeat(loader, epochs)), start=1):
            logits = network(images)
            loss = criterion(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step > steps - len(loader):
                accuracy.update(logits, targets)
            if step % STEPS_SHOWN == 0:
                bar.set_postfix_str(f"loss {loss.item():.2f}", refresh=False)
            if step == STEPS_TIMED:
                _announce(bar, steps)
            bar.update(len(images))
    return accuracy.compute().dominant.item()


def _rate(step: int, steps: int) -> float:
    """The learning rate's factor: up to 1 in a straight line, then down to 0."""
    peak = WARM_UP * steps
    return min((step + 1) / peak, (steps - step) / (steps - peak))


def _announce(bar: tqdm, steps: int) -> None:
    """Tell how long a long training will take."""
    seconds = steps * (time.time() - bar.start_t) / STEPS_TIMED
    if seconds > LONG:
        bar.write(
            f"This training will take about {seconds / 60:.0f} minutes; --epochs and --images make it shorter.",
            file=sys.stderr,
        )


def _validate(network: nn.Module, recipe: Recipe) -> tuple[float, float]:
    """Accuracy and mean cross-entropy on the validation images."""
    loader = Loader(
        recipe.val,
        recipe.val_pipeline,
        batch_size=recipe.batch_size,
        memory_format=torch.channels_last,
        on_bad_sample="replace",
    )
    accuracy = MixUpAccuracy()
    criterion = nn.CrossEntropyLoss(reduction="sum")
    total = torch.zeros((), device=loader.device)
    network.eval()
    with torch.inference_mode():
        for images, labels in loader:
            logits = network(images)
            accuracy.update(logits, labels)
            total += criterion(logits, labels)
    return accuracy.compute().dominant.item(), total.item() / len(recipe.val)
