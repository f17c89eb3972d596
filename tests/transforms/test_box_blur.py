"""Pillow's Gaussian blur."""

import numpy as np
import pytest
from PIL import ImageFilter

from dali_mixup.transforms.box_blur import gaussian_blur
from dali_mixup.transforms.operations import apply_batch, apply_one
from tests.transforms.pictures import differences, pictures, stacked

RADII = [0.01, 0.1, 0.5, 0.9, 1.0, 1.4142, 1.5, 2.0, 2.5, 3.0, 7.7, 20.0]
RADII += np.random.default_rng(0).uniform(0.1, 2, 20).tolist()


@pytest.mark.parametrize("radius", RADII)
def test_a_blur_equals_pillows_to_the_bit(radius):
    images = pictures()
    found = apply_batch(stacked(images), [[gaussian_blur(radius)]] * len(images))
    assert differences(found, [image.filter(ImageFilter.GaussianBlur(radius)) for image in images]).max() == 0


def test_images_of_a_group_have_their_own_radius():
    images, radii = pictures(), np.linspace(0.3, 2, len(pictures())).tolist()
    found = apply_batch(stacked(images), [[gaussian_blur(radius)] for radius in radii])
    expected = [image.filter(ImageFilter.GaussianBlur(radius)) for image, radius in zip(images, radii, strict=True)]
    assert differences(found, expected).max() == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (1, 9), (3, 3)])
def test_images_smaller_than_the_box_are_blurred_as_pillow_does(size):
    images = [image.resize(size) for image in pictures()]
    found = apply_one(stacked(images)[:1], [gaussian_blur(2.0)])
    assert differences(found, [images[0].filter(ImageFilter.GaussianBlur(2.0))]).max() == 0
