import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.pipelines import cifar10


@pytest.fixture
def image(tmp_path):
    """One image of CIFAR's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    return pixels, dm.FileList([tmp_path / "0.png"], [0])


def levels(images, pipeline):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (pipeline.mean, pipeline.std))
    return ((images * std + mean) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def test_validation_leaves_images_of_cifars_size_as_they_are(image):
    pixels, files = image
    ((images, _),) = dm.Loader(files, cifar10.val(), batch_size=1, device="cpu")
    assert np.array_equal(levels(images, cifar10.val())[0], pixels)


def test_training_images_are_windows_of_the_image_reflected_at_its_edges(image):
    pixels, files = image
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = {padded[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}
    loader = dm.Loader(files, cifar10.train(), batch_size=40, sampler=[0] * 40, device="cpu")
    ((images, _),) = loader
    found = [
        (windows.get(level.tobytes()), windows.get(np.ascontiguousarray(level[:, ::-1]).tobytes()))
        for level in levels(images, cifar10.train())
    ]
    assert all((plain is None) != (flipped is None) for plain, flipped in found)
    assert 8 < sum(flipped is not None for _, flipped in found) < 32
    assert len({plain or flipped for plain, flipped in found}) > 20


def test_values_are_normalized_by_the_statistics_of_cifar10():
    assert cifar10.train().mean == cifar10.val().mean == (0.4914, 0.4822, 0.4465)
    assert cifar10.train().std == cifar10.val().std == (0.2470, 0.2435, 0.2616)
