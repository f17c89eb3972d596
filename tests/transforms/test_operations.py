"""Planned operations are carried out one after the other, image by image or in groups."""

import numpy as np
import torch
import torchvision.transforms.functional as functional

from dali_mixup.transforms import affine, pixels
from dali_mixup.transforms.operations import Operation, apply_batch, apply_one
from tests.transforms.pictures import SIZE, differences, pictures, stacked


def test_a_batch_gives_what_each_image_gives_by_itself():
    images = stacked(pictures())
    rng = np.random.default_rng(0)
    choices = [
        lambda: Operation(pixels.brightness, (rng.uniform(0, 2),)),
        lambda: Operation(pixels.contrast, (rng.uniform(0, 2),)),
        lambda: Operation(pixels.hue, (rng.uniform(-0.5, 0.5),)),
        lambda: Operation(pixels.equalize),
        lambda: Operation(pixels.gaussian_blur, (rng.uniform(0.1, 2),), ((3, 3),)),
        lambda: Operation(pixels.gaussian_blur, (rng.uniform(0.1, 2),), ((5, 5),)),
        lambda: Operation(affine.warp, affine.rotate(rng.uniform(-90, 90), *SIZE), ("nearest", (0, 0, 0))),
    ]
    operations = [[choices[k]() for k in rng.integers(len(choices), size=rng.integers(0, 5))] for _ in images]
    before = images.clone()
    together = apply_batch(images, operations)
    assert torch.equal(images, before)
    for row, own in enumerate(operations):
        assert torch.equal(together[row : row + 1], apply_one(images[row : row + 1], own)), own


def add(images, numbers):
    """A user's own operation, of any number of numbers."""
    return images + numbers.sum(1).to(torch.uint8).view(-1, 1, 1, 1)


def test_images_with_more_and_with_fewer_numbers_get_their_own():
    images = stacked(pictures())[:4]
    found = apply_batch(images, [[Operation(add, numbers)] for numbers in ((1,), (2, 3, 4), (5,), ())])
    assert torch.equal(found, images + torch.tensor([1, 9, 5, 0], dtype=torch.uint8).view(-1, 1, 1, 1))


def test_operations_follow_each_other_as_in_torchvision():
    images = pictures()
    operations = [
        Operation(pixels.posterize, (3,)),
        Operation(pixels.contrast, (1.7,)),
        Operation(pixels.solarize, (100,)),
    ]
    expected = [
        functional.solarize(functional.adjust_contrast(functional.posterize(image, 3), 1.7), 100) for image in images
    ]
    assert differences(apply_batch(stacked(images), [operations] * len(images)), expected).max() == 0
    for image, other in zip(images, expected, strict=True):
        assert differences(apply_one(stacked([image]), operations), [other]).max() == 0


def test_without_operations_images_stay_and_an_empty_batch_is_one():
    images = stacked(pictures())
    assert torch.equal(apply_batch(images, [[]] * len(images)), images)
    assert apply_batch(images[:0], []).shape == (0, *images.shape[1:])
    assert torch.equal(apply_one(images[:1], []), images[:1])


def second_half(images, numbers, mixed):
    """A user's own mixture of chains."""
    shares = numbers.to(torch.float32).view(*numbers.shape, 1, 1, 1)
    return (images.float() * 0.5 + (mixed * shares).sum(1)).floor_().to(torch.uint8)


def test_chains_are_carried_out_on_the_image_and_mixed():
    images, rng = stacked(pictures()), np.random.default_rng(0)
    steps = [Operation(pixels.invert), Operation(pixels.posterize, (3,)), Operation(pixels.contrast, (1.7,))]
    operations = []
    for row in range(len(images)):
        count = 0 if row == 3 else 2 + row % 2
        chains = tuple(tuple(steps[k] for k in rng.integers(3, size=rng.integers(0, 3))) for _ in range(count))
        mixture = Operation(second_half, (0.25,) * count, (), chains)
        operations.append([mixture, steps[0]] if count else [steps[1]])
    found = apply_batch(images, operations)
    for row, own in enumerate(operations):
        image = images[row : row + 1]
        assert torch.equal(found[row : row + 1], apply_one(image, own))
        if own[0].chains:
            parts = torch.cat([apply_one(image, chain) for chain in own[0].chains]).float() / 4
            assert torch.equal(found[row], 255 - (image[0].float() / 2 + parts.sum(0)).floor().to(torch.uint8))
