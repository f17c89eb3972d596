"""Small images are finished many at a time; what comes out is what the formula gives, as with large ones."""

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from tests import reference

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
# Sides at which a batch is finished as one group, as several, in pairs, and image by image.
SIZES = [(1, 1), (7, 5), (32, 32), (60, 80), (104, 104), (105, 105)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Seven images of noise."""
    folder = tmp_path_factory.mktemp("noise")
    for i in range(7):
        pixels = np.random.default_rng(i).integers(0, 256, (110, 120, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png", compress_level=1)
    return dm.FileList(sorted(folder.iterdir()), list(range(7)))


def loader(files, size, **options):
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(size), flip=0.5, mean=MEAN, std=STD)
    return dm.Loader(files, pipeline, batch_size=7, device="cpu", num_threads=3, **options)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("mixup", [None, dm.MixUp(fold=False), dm.CutMix()], ids=["plain", "mixup", "cutmix"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_images_of_every_size_equal_the_formula(files, size, mixup, memory_format):
    ((plain, _),) = loader(files, size)
    levels = ((plain * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255).round()
    made = loader(files, size, mixup=mixup, memory_format=memory_format)
    ((ours, _),) = made
    assert ours.is_contiguous(memory_format=memory_format)
    draw = made.plan.batch(0, None, next(made.plan.steps())).draw
    expected = reference.normalized_batch(levels.permute(0, 2, 3, 1).numpy(), MEAN, STD, draw)
    assert np.abs(ours.double().numpy() - expected).max() < 1e-5
