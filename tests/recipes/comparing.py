"""What a script's own transform, mixup and loss make of a batch, with the numbers that the Loader has planned."""

from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import Image

from bench.parity_replay import replay
from bench.timm_fix import import_timm
from dali_mixup.mixing.draws import CutMixDraw
from dali_mixup.plan.sampler import Sampled

timm_mixup = import_timm("timm.data.mixup")


def resized_as_pillow_does() -> AbstractContextManager:
    """Bicubic crops to the bit, so that later transforms can be compared; by themselves they are within one level."""
    return mock.patch("dali_mixup.stage.cpu.resizes_fast", return_value=False)


class Batch(NamedTuple):
    """One of a Loader's, and what belongs to it.

    Attributes:
        images: as the Loader gave them.
        targets: likewise.
        numbers: of its samples.
        plan: of the batch.
    """

    images: torch.Tensor
    targets: torch.Tensor
    numbers: torch.Tensor
    plan: object


def run_epoch(loader):
    """The batches of the next epoch of a Loader with `indices`."""
    epoch, batches = loader.next_epoch, list(loader)
    order = torch.cat([numbers for *_, numbers in batches]).numpy()
    steps = loader.plan.steps(0, Sampled(indices=order, ends=None))
    return [Batch(*batch, loader.plan.batch(epoch, order, step)) for batch, step in zip(batches, steps, strict=True)]


def transform_again(transform, loader, batch):
    """The images of a batch by the script's own transform, (B, 3, H, W)."""
    made = []
    for row, number in enumerate(batch.numbers.tolist()):
        with Image.open(loader.dataset.name(number)) as image:
            made.append(replay(transform, image.convert("RGB"), batch.plan, row))
    return torch.stack(made)


def clamp_noise(images, mean, std):
    """Noise that a RandomErasing has put into normalized images, clipped to what uint8 holds."""
    low, high = (torch.tensor([(end - m) / s for m, s in zip(mean, std, strict=True)]).view(3, 1, 1) for end in (0, 1))
    return images.clamp(low, high)


def differences(found, expected, std):
    """In levels of 255, as an array."""
    return ((found - expected).abs() * 255 * torch.tensor(std).view(3, 1, 1)).numpy().astype(np.float64)


def mix_as_timm(mixer, images, labels, draw):
    """What timm's mixer makes of a batch with these weights, partners and boxes.

    It mixes with the image at the mirrored place, so it gets the partners behind the batch, the last one first.
    """
    cut, lam = isinstance(draw, CutMixDraw), float(draw.lam[0])
    assert (draw.lam == draw.lam[0]).all()
    both = torch.cat([images, images[draw.partner].flip(0)]), torch.cat([labels, labels[draw.partner].flip(0)])
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(mixer, "_params_per_batch", return_value=(lam, cut)))
        if cut:
            top, left, bottom, right = draw.boxes[0].tolist()
            box = (top, bottom, left, right), lam
            patches.enter_context(mock.patch.object(timm_mixup, "cutmix_bbox_and_lam", return_value=box))
        mixed, targets = mixer(*both)
    return mixed[: len(images)], targets[: len(images)]


def network(classes):
    """A small one, the same each time."""
    torch.manual_seed(0)
    first = torch.nn.Conv2d(3, 8, 4, 4)
    return torch.nn.Sequential(
        first, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(128, classes)
    )


def train(model, criterion, batches):
    """The losses of some steps."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.05), []
    for images, targets in batches:
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class Replayed:
    """What a trainer takes for a loader: the batches of one epoch after the other."""

    def __init__(self, epochs):
        self.epochs, self.following = epochs, 0

    def __len__(self):
        return len(self.epochs[0])

    def __iter__(self):
        self.following += 1  # first, since a trainer that knows the length doesn't run into the end
        yield from self.epochs[self.following - 1]


def mix_as_torchvision(mixer, images, labels, draw):
    """What v2.MixUp makes of a batch with this weight and these partners.

    It mixes with the image before, so each of the batch gets its partner there.
    """
    assert (draw.lam == draw.lam[0]).all()
    both = [torch.stack([each[draw.partner], each], 1).flatten(0, 1) for each in (images, labels)]
    with mock.patch.object(mixer, "_dist") as distribution:
        distribution.sample.return_value = draw.lam[0]
        mixed, targets = mixer(*both)
    return mixed[1::2], targets[1::2]
