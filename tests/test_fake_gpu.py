"""What would fail on a GPU, found without one: tensors of torch's "meta" device hold no numbers.

An operator that mixes devices, or reads a number back (for which the host would wait for a GPU), is an error for them.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.overrides import TorchFunctionMode

import dali_mixup as dm
from dali_mixup.stage.whole_batch import TorchStage
from dali_mixup.transforms import affine, pixels
from tests.conftest import picture

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


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_stage_without_triton_stays_on_the_gpu(memory_format):
    meta = torch.device("meta")
    stage = TorchStage(
        dm.ImagePipeline(geometry=dm.RandomResizedCrop(8)),
        dtype=torch.float16,
        memory_format=memory_format,
        device=meta,
    )
    lam, partner = torch.empty(COUNT, device=meta), torch.empty(COUNT, dtype=torch.int64, device=meta)
    boxes = torch.empty(COUNT, 4, dtype=torch.int64, device=meta)
    images = torch.empty(COUNT, 8, 8, 3, dtype=torch.uint8, device=meta)
    for draw in (
        None,
        dm.MixUpDraw(lam=lam, partner=partner),
        dm.CutMixDraw(lam=lam, partner=partner, boxes=boxes, size=(8, 8)),
    ):
        batch = stage(images, draw)
        assert (batch.device.type, batch.dtype, batch.shape) == ("meta", torch.float16, (COUNT, 3, 8, 8))


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


class PretendedGpu(TorchFunctionMode):
    """Tensors of the CPU say that they are on a GPU, so that code for one computes, here.

    What would wait for a GPU is an error.
    """

    waits = (torch.bincount, torch.Tensor.bincount, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.nonzero)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function == torch.Tensor.device.__get__:  # each access makes a new one
            return torch.device("cuda", 0)
        if function in self.waits:
            raise AssertionError(f"{function.__name__} waits for the GPU")
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        return function(*args, **kwargs)


def test_equalize_counts_levels_on_a_gpu_as_pillow_does_and_waits_for_nothing():
    images = [picture(*SIZE, seed) for seed in range(3)]
    images += [Image.new("RGB", SIZE[::-1], (9, 9, 9)), Image.new("RGB", SIZE[::-1])]
    stacked = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous() for image in images])
    with PretendedGpu():
        assert stacked.device.type == "cuda"
        found = pixels.equalize(stacked, torch.empty(len(images), 0, dtype=torch.float64))
    for ours, image in zip(found, images, strict=True):
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(ImageOps.equalize(image)))
