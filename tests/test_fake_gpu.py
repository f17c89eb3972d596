"""What would fail on a GPU, found without one: tensors of torch's "meta" device hold no numbers.

An operator that mixes devices, or reads a number back (for which the host would wait for a GPU), is an error for them.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import dali_mixup as dm
from dali_mixup.transforms import affine, pixels
from tests.conftest import picture
from tests.pretended_gpu import PretendedGpu

COUNT, SIZE = 4, (24, 32)
WITH_NUMBERS = {
    "flip_horizontally": 0,
    "flip_vertically": 0,
    "brightness": 1,
    "contrast": 1,
    "saturation": 1,
    "sharpness": 1,
    "grayscale": 0,
    "hue": 1,
    "invert": 0,
    "posterize": 1,
    "solarize": 1,
    "autocontrast": 0,
    "equalize": 0,
    "erase": 7,
}


def levels():
    return torch.empty(COUNT, 3, *SIZE, dtype=torch.uint8, device="meta")


def numbers(columns):
    return torch.empty(COUNT, columns, dtype=torch.float64, device="meta")


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_operations_stay_on_the_gpu_and_wait_for_nothing(name):
    found = getattr(pixels, name)(levels(), numbers(WITH_NUMBERS[name]))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.uint8, (COUNT, 3, *SIZE))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_warps_and_blurs_stay_on_the_gpu(interpolation):
    turned = affine.warp(levels(), numbers(6), interpolation, (1, 2, 3))
    blurred = pixels.gaussian_blur(levels(), numbers(1), (3, 5))
    assert turned.device.type == blurred.device.type == "meta"
    assert turned.shape == blurred.shape == (COUNT, 3, *SIZE)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("kind", [torch.nn.CrossEntropyLoss, torch.nn.NLLLoss])
def test_the_loss_stays_on_the_gpu_and_waits_for_nothing(kind, reduction, weighted):
    weight = torch.empty(10, device="meta") if weighted else None
    loss = dm.MixUpLoss(kind(weight=weight, reduction=reduction))
    logits = torch.empty(COUNT, 10, device="meta", requires_grad=True)
    found = loss(logits, torch.empty(COUNT, 3, device="meta"))
    found.sum().backward()
    assert found.device.type == logits.grad.device.type == "meta"


def test_equalize_counts_levels_on_a_gpu_as_pillow_does_and_waits_for_nothing():
    images = [picture(*SIZE, seed) for seed in range(3)]
    images += [Image.new("RGB", SIZE[::-1], (9, 9, 9)), Image.new("RGB", SIZE[::-1])]
    stacked = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous() for image in images])
    with PretendedGpu():
        assert stacked.device.type == "cuda"
        found = pixels.equalize(stacked, torch.empty(len(images), 0, dtype=torch.float64))
    for ours, image in zip(found, images, strict=True):
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(ImageOps.equalize(image)))
