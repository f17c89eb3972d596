"""Batches of pixels: which way they take, and what is prepared ahead."""

import threading
import time

import numpy as np
import pytest
import torch

import dali_mixup as dm
from bench.pretended_gpu import GPU, PretendedGpu
from dali_mixup.decode.decoder import Decoder
from dali_mixup.decode.pixels import SMALL, PixelDecoder, are_gathered, need_dali
from tests.conftest import noise

COUNT = 40
CROP = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), flip=0.5)
RESIZE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)
AUGMENT = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), augment=noise)
CPU = torch.device("cpu")


def pixels(count=COUNT, side=32):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def loader(dataset, pipeline=CROP, **options):
    options = {"batch_size": 7, "shuffle": True, "mixup": dm.MixUp(), "device": "cpu", **options}
    return dm.Loader(dataset, pipeline, **options)


def started(made):
    """With a decoder, as the first batch makes it."""
    made._engine = made._start(made._phase_at(0))
    return made


def on_gpu(images):
    """Tensors stay tensors on a GPU alone; this one lies on the CPU, where it counts as on a Loader's device."""
    dataset = dm.ArrayDataset(images, range(len(images)))
    dataset._stack = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "pipeline", "device", "gathered", "dali"),
    [
        (dm.ArrayDataset(pixels(), range(COUNT)), CROP, CPU, True, False),
        (dm.ArrayDataset(pixels(), range(COUNT)), RESIZE, CPU, False, False),
        (dm.ArrayDataset(list(pixels()), range(COUNT)), CROP, CPU, False, False),
        (dm.ArrayDataset(pixels(2, 1 + int(SMALL**0.5)), range(2)), CROP, CPU, False, False),
        (dm.ArrayDataset(pixels(), range(COUNT)), AUGMENT, CPU, True, True),
        (dm.ArrayDataset(pixels(), range(COUNT)), CROP, GPU, True, False),
        (dm.ArrayDataset(pixels(), range(COUNT)), RESIZE, GPU, False, True),
        (dm.ArrayDataset(list(pixels()), range(COUNT)), CROP, GPU, False, True),
    ],
)
def test_dali_resizes_on_a_gpu_and_carries_out_augment_and_nothing_else(dataset, pipeline, device, gathered, dali):
    assert are_gathered(dataset, pipeline, device) == gathered
    assert need_dali(dataset, (pipeline,), device) == dali


def test_large_images_that_lie_on_the_gpu_are_gathered_there():
    images = torch.from_numpy(pixels(2, 1 + int(SMALL**0.5)))
    with PretendedGpu():
        dataset = dm.ArrayDataset(images.pin_memory().to(GPU, non_blocking=True), range(2))
        assert are_gathered(dataset, CROP, GPU)
        assert not are_gathered(dataset, CROP, torch.device("cuda", 1))


@pytest.mark.parametrize(("pipeline", "kind"), [(CROP, PixelDecoder), (RESIZE, PixelDecoder), (AUGMENT, Decoder)])
def test_pixels_that_do_not_need_dali_pass_it_by(pipeline, kind):
    assert type(started(loader(dm.ArrayDataset(pixels(), range(COUNT)), pipeline))._engine._decoder) is kind


@pytest.mark.parametrize("pipeline", [CROP, RESIZE, AUGMENT])
def test_a_tensor_on_a_gpu_gives_the_batches_of_an_array(pipeline):
    """It lies on the CPU here: for crops that counts as the Loader's device; for all else its images are fetched."""
    host, device = loader(dm.ArrayDataset(pixels(), range(COUNT)), pipeline), loader(on_gpu(pixels()), pipeline)
    for _ in range(2):
        for (images, targets), (others, their_targets) in zip(host, device, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(targets, their_targets)


def test_a_tensor_on_the_gpu_is_cut_when_its_batch_is_asked_for_in_the_consumers_stream():
    made = started(loader(on_gpu(pixels())))._engine._decoder
    assert isinstance(made, PixelDecoder)
    assert made._cuts == []


def test_a_tensor_on_another_device_is_brought_to_the_host(monkeypatch):
    dataset = on_gpu(pixels())
    monkeypatch.setattr("dali_mixup.decode.pixels._is_on", lambda dataset, device: False)
    for (images, _), (others, _) in zip(loader(dm.ArrayDataset(pixels(), range(COUNT))), loader(dataset), strict=True):
        assert torch.equal(images, others)


@pytest.mark.parametrize("pipeline", [CROP, RESIZE])
def test_the_next_epoch_is_prepared_while_one_ends(pipeline):
    made = loader(dm.ArrayDataset(pixels(), range(COUNT)), pipeline)
    list(made)
    until = time.monotonic() + 30  # a thread does it
    while not made._engine._decoder._taken and time.monotonic() < until:
        time.sleep(0.01)
    assert made._engine._decoder._taken
    assert {turn.epoch for turn in made._engine._decoder._taken} <= {1}


def test_batches_that_are_kept_are_never_written_to_again():
    made = started(loader(dm.ArrayDataset(pixels(), range(COUNT)), memory_format=torch.channels_last, mixup=None))
    made._engine._decoder.seek(made._cursor)
    kept = [made._engine._decoder.next().images for _ in range(5)]
    before = [images.clone() for images in kept]
    for _ in range(20):
        made._engine._decoder.next()
    assert all(torch.equal(first, second) for first, second in zip(kept, before, strict=True))


def test_an_error_ahead_comes_after_the_batches_before_it_and_the_loader_goes_on(monkeypatch):
    dataset = dm.ArrayDataset(pixels(), range(COUNT))
    made = loader(dataset, shuffle=False)
    whole, broken = dataset.whole, threading.Event()

    def fail(numbers):
        if broken.is_set() and 20 in numbers:
            raise OSError("the disk is gone")
        return whole(numbers)

    monkeypatch.setattr(dataset, "whole", fail)
    broken.set()
    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(made)
    assert len(got) == 2
    broken.clear()
    made.load_state_dict(made.state_dict())  # at the batch that failed
    got.extend(made)
    for (images, _), (others, _) in zip(
        loader(dm.ArrayDataset(pixels(), range(COUNT)), shuffle=False), got, strict=True
    ):
        assert torch.equal(images, others)
