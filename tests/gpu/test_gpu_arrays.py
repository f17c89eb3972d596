"""Pixels on a GPU: tensors that lie there are cut there, and the batches are the CPU's."""

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.decode.gather import gather_on_device
from dali_mixup.geometry.geometry import Border
from tests.conftest import noise
from tests.gpu.place import DEVICE, needs_cuda, nothing_waits

pytestmark = pytest.mark.gpu
COUNT = 40
CROP = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), flip=0.5)
RESIZE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)


def loader(images, pipeline=CROP, **options):
    dataset = dm.ArrayDataset(images, range(COUNT))
    options = {"batch_size": 7, "shuffle": True, "device": DEVICE, "mixup": dm.MixUp(), **options}
    return dm.Loader(dataset, pipeline, **options)


def on_device(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(DEVICE)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_crops_from_the_host_and_from_the_device_are_those_of_the_cpu(images, mode):
    geometry = dm.RandomCrop(32, padding=4, padding_mode=mode)
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5, mean=(0, 0, 0), std=(1 / 255,) * 3)  # levels
    batches = [list(loader(each, pipeline, mixup=None)) for each in (images, on_device(images))]
    expected = list(loader(images, pipeline, mixup=None, device="cpu"))
    for (host, _), (device, _), (cpu, labels) in zip(*batches, expected, strict=True):
        assert host.device == device.device
        assert torch.equal(host, device)
        assert torch.equal(host.cpu().round(), cpu.round())
        assert len(labels)


@pytest.mark.parametrize(
    "pipeline",
    [RESIZE, dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), augment=noise)],
    ids=["resize", "augment"],
)
def test_a_tensor_on_the_device_gives_the_batches_of_an_array_through_dali(images, pipeline):
    for (host, targets), (device, others) in zip(
        loader(images, pipeline), loader(on_device(images), pipeline), strict=True
    ):
        assert torch.equal(host, device)
        assert torch.equal(targets, others)


def test_a_tensor_on_the_device_resumes_bit_for_bit(images):
    whole, resumed = loader(on_device(images)), loader(images)
    batches = iter(whole)
    next(batches)
    resumed.load_state_dict(whole.state_dict())
    for (first, _), (second, _) in zip(batches, resumed, strict=True):
        assert torch.equal(first, second)


@needs_cuda
def test_the_host_does_not_wait_for_a_gather(images):
    made = loader(on_device(images))
    batch = made.plan.batch(0, made.plan.order(0), next(made.plan.steps()))
    stack = made.dataset.stack
    with nothing_waits():
        gather_on_device(stack, batch.indices, batch.windows, batch.flips, size=(32, 32), border=Border())
