"""Warps against torchvision's auto-augmentations on PIL images, which call Pillow."""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from dali_mixup.transforms import affine
from tests.transforms.pictures import SIZE, differences, numbers, pictures, stacked

MOVES = {
    "ShearX": (affine.shear_x, 1.0),
    "ShearY": (affine.shear_y, 1.0),
    "TranslateX": (affine.translate_x, 60.0),
    "TranslateY": (affine.translate_y, 60.0),
    "Rotate": (lambda strength: affine.rotate(strength, *SIZE), 180.0),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize(
    "interpolation", [InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
)
def test_shears_shifts_and_rotations_equal_pillows_to_the_bit(name, interpolation):
    images, (matrix, strongest) = pictures(), MOVES[name]
    for part in np.linspace(-1, 1, 25):
        strength = float(np.float32(part * strongest))
        found = affine.warp(stacked(images), numbers([matrix(strength)] * len(images)), interpolation.value, (9, 8, 7))
        expected = [_apply_op(image, name, strength, interpolation, [9, 8, 7]) for image in images]
        assert differences(found, expected).max() == 0, strength
        alone = affine.warp(stacked(images)[:1], numbers([matrix(strength)]), interpolation.value, (9, 8, 7))
        assert differences(alone, expected[:1]).max() == 0, strength


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_the_identity_leaves_every_pixel(interpolation):
    images = stacked(pictures())
    for matrix in (
        affine.shear_x(0.0),
        affine.translate_y(0.0),
        affine.rotate(0.0, *SIZE),
        affine.rotate(360.0, *SIZE),
    ):
        assert torch.equal(affine.warp(images, numbers([matrix] * len(images)), interpolation, (9, 9, 9)), images)


def test_whole_pixels_are_shifted_and_what_comes_in_is_filled():
    images = stacked(pictures())
    shifted = affine.warp(images, numbers([affine.translate_x(5.9)] * len(images)), "nearest", (1, 2, 3))
    assert torch.equal(shifted[..., 5:], images[..., :-5])  # to the right, by 5
    assert (shifted[..., :5] == torch.tensor([1, 2, 3]).view(3, 1, 1)).all()


def test_half_a_turn_is_both_flips():
    images = stacked(pictures())
    turned = affine.warp(images, numbers([affine.rotate(180.0, *SIZE)] * len(images)), "bilinear", (0, 0, 0))
    assert torch.equal(turned, images.flip(2, 3))


@pytest.mark.gpu
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_gpu_gives_the_same_pixels(interpolation):
    images = stacked(pictures())
    matrix = numbers([affine.rotate(33.0, *SIZE)] * len(images))
    turned = affine.warp(images.cuda(), matrix.cuda(), interpolation, (1, 2, 3))
    assert torch.equal(turned.cpu(), affine.warp(images, matrix, interpolation, (1, 2, 3)))
