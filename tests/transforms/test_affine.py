"""Warps against torchvision's auto-augmentations on PIL images, which call Pillow."""

import numpy as np
import pytest
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
@pytest.mark.parametrize("interpolation", [InterpolationMode.NEAREST, InterpolationMode.BILINEAR])
def test_shears_shifts_and_rotations_equal_pillows_to_the_bit(name, interpolation):
    images, (matrix, strongest) = pictures(), MOVES[name]
    for part in np.linspace(-1, 1, 25):
        strength = float(np.float32(part * strongest))
        found = affine.warp(stacked(images), numbers([matrix(strength)] * len(images)), interpolation.value, (9, 8, 7))
        expected = [_apply_op(image, name, strength, interpolation, [9, 8, 7]) for image in images]
        assert differences(found, expected).max() == 0, strength
