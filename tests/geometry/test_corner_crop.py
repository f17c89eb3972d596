"""Corners and centres lie where torchvision's FiveCrop and TenCrop cut them."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

import dali_mixup as dm
from dali_mixup.geometry.corner_crop import CORNERS

SIZES = [(7, 9), (8, 8), (9, 12), (10, 7), (31, 20), (7, 7)]
NOTHING = np.empty((1, 0))


def cut(geometry, numbers):
    """The output of an image of one channel, whose windows nothing resizes."""
    sides = (np.array([side]) for side in numbers.shape)
    windows = geometry.windows(*sides, NOTHING)
    top, left = windows.offset[0].tolist()
    assert windows.resized[0].tolist() == windows.shape[0].tolist() == list(numbers.shape)
    return numbers[top : top + 7, left : left + 6]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mirrored", [None, "horizontal", "vertical"])
def test_windows_are_torchvisions_to_the_pixel(size, mirrored):
    numbers = torch.arange(size[0] * size[1]).view(size)
    flip = {"horizontal": 1, "vertical": 0}.get(mirrored)
    if mirrored is None:
        expected = functional.five_crop(numbers[None], [7, 6])
    else:
        expected = functional.ten_crop(numbers[None], [7, 6], vertical_flip=mirrored == "vertical")[5:]
    for corner, theirs in zip(CORNERS, expected, strict=True):
        found = cut(dm.CornerCrop((7, 6), corner, mirrored=mirrored), numbers)
        assert torch.equal(found if flip is None else found.flip(flip), theirs[0])


def test_what_is_too_small_is_found_after_resizing():
    height, width = np.array([7, 6, 99, 40]), np.array([6, 9, 5, 40])
    assert dm.CornerCrop((7, 6)).too_small(height, width).tolist() == [False, True, True, False]
    assert not dm.CornerCrop((7, 6), resize=dm.Resize(8)).too_small(height, width).any()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: dm.CornerCrop(0), ValueError, "size must be"),
        (lambda: dm.CornerCrop(8, "left"), ValueError, 'corner must be "top left", "top right", .*got \'left\''),
        (lambda: dm.CornerCrop(8, mirrored=True), ValueError, 'mirrored must be "horizontal", "vertical" or None'),
        (lambda: dm.CornerCrop(8, resize=9), TypeError, "resize must be a Resize or None, got 9"),
    ],
)
def test_options_that_make_no_sense_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
