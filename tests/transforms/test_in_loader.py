"""Planned transforms through a Loader: they depend on the seed, the epoch and the position alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.transforms.operations import Operation, apply_one
from dali_mixup.transforms.pixels import invert

TRANSFORMS = (
    dm.ColorJitter(0.4, 0.4, 0.4, 0.1),
    dm.RandomVerticalFlip(),
    dm.RandAugment(),
    dm.RandomErasing(fill=(1, 2, 3), noise="pixel", std=(9, 9, 9)),
)
PLAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)
PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5, transforms=TRANSFORMS)
PADDED = dm.ImagePipeline(geometry=dm.RandomCrop(30, 4), flip=0.5, transforms=TRANSFORMS)


def unchanged(images):
    """An `augment`."""
    return images


def loader(dataset, pipeline=PIPELINE, **options):
    return dm.Loader(dataset, pipeline, **{"batch_size": 4, "shuffle": True, "device": "cpu", **options})


def pictures(batches):
    return torch.cat([images for images, _ in batches])


@pytest.mark.parametrize("pipeline", [PIPELINE, PADDED])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_transforms_come_after_the_crop_and_the_flip(dataset, pipeline, memory_format):
    made = loader(dataset, replace(pipeline, mean=(0, 0, 0), std=(1, 1, 1)), memory_format=memory_format)
    before = pictures(loader(dataset, replace(pipeline, transforms=(), mean=(0, 0, 0), std=(1, 1, 1))))
    order, row = made.plan.order(0), 0
    for (images, _), step in zip(made, made.plan.steps(), strict=True):
        for operations, found in zip(made.plan.batch(0, order, step).operations, images, strict=True):
            expected = apply_one((before[row : row + 1] * 255).round().to(torch.uint8), operations)[0]
            assert torch.equal((found * 255).round().to(torch.uint8), expected)
            row += 1
    assert row == 23


def test_batch_size_threads_prefetch_and_mixup_change_no_transform(dataset):
    expected = pictures(loader(dataset))
    for options in (
        {"batch_size": 7},
        {"num_threads": 1},
        {"num_threads": 4, "prefetch": 5},
        {"mixup": dm.MixUp(prob=0.0)},
    ):
        assert torch.equal(pictures(loader(dataset, **options)), expected), options
    assert not torch.equal(pictures(loader(dataset, seed=1)), expected)


def test_transforms_change_no_crop(dataset):
    made, plain = loader(dataset), loader(dataset, PLAIN)
    for step in made.plan.steps():
        with_transforms, without = (each.plan.batch(0, each.plan.order(0), step) for each in (made, plain))
        assert np.array_equal(with_transforms.windows.anchor, without.windows.anchor)
        assert np.array_equal(with_transforms.flips, without.flips)
        assert without.operations is None


def test_an_epoch_with_transforms_resumes_from_any_state_without_dalis_help(dataset):
    made = loader(dataset)
    expected = pictures(made)
    made.set_epoch(0)
    for _ in made:
        state = made.state_dict()
        assert state["augment"] is None
        if state["epoch"] == 0:
            fresh = loader(dataset, batch_size=5)
            fresh.load_state_dict(state)
            assert torch.equal(pictures(fresh), expected[state["position"] :])


def test_epochs_differ_and_set_epoch_gives_each_again(dataset):
    made = loader(dataset)
    epochs = [pictures(made) for _ in range(3)]
    assert not torch.equal(epochs[0], epochs[1])
    made.set_epoch(2)
    assert torch.equal(pictures(made), epochs[2])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_transforms_come_after_augment(dataset, memory_format):
    nearest = replace(
        PIPELINE, geometry=dm.RandomResizedCrop(16, interpolation="nearest")
    )  # DALI and torch resize that to the same pixels
    without = pictures(loader(dataset, nearest, memory_format=memory_format))
    with_augment = pictures(loader(dataset, replace(nearest, augment=unchanged), memory_format=memory_format))
    assert (without != with_augment).float().mean() < 0.02


class Negative:
    """A transform of a user's own."""

    uniforms = 1

    def operations(self, uniform, size):
        assert uniform.shape == (1,)
        assert size == (16, 16)
        return [Operation(invert)] if uniform[0] < 0.5 else []


def test_users_may_write_their_own(dataset):
    plain = pictures(loader(dataset, replace(PLAIN, mean=(0, 0, 0), std=(1, 1, 1))))
    found = pictures(loader(dataset, replace(PLAIN, mean=(0, 0, 0), std=(1, 1, 1), transforms=(Negative(),))))
    inverted = [torch.allclose(image, 1 - before, atol=1e-6) for image, before in zip(found, plain, strict=True)]
    kept = [torch.equal(image, before) for image, before in zip(found, plain, strict=True)]
    assert all(one != other for one, other in zip(inverted, kept, strict=True))
    assert 4 < sum(inverted) < 19
