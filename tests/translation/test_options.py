"""torchvision's many ways to write an option come down to one."""

import numpy as np
import pytest
import torch
from timm.data.auto_augment import rand_augment_transform
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from dali_mixup.translation import options

Mode = v1.InterpolationMode


class Resize:
    """A user's own class of a known name."""


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (v1.Resize(8), "Resize"),
        (v2.Resize(8), "Resize"),
        (torch.nn.Identity(), "Identity"),
        (Resize(), ""),
        (rand_augment_transform("rand-m9", {}), "RandAugment"),
        (len, ""),
    ],
)
def test_only_classes_of_torch_torchvision_and_timms_transforms_have_a_name(step, name):
    assert options.name_of(step) == name


def test_a_transform_is_printed_in_one_line():
    step = v1.RandomApply([v1.ColorJitter(0.1)])
    assert "\n" in repr(step)
    jitter = "ColorJitter(brightness=(0.9, 1.1), contrast=None, saturation=None, hue=None)"
    assert options.text_of(step) == f"RandomApply( p=0.5 {jitter} )"
    assert options.text_of(rand_augment_transform("rand-m9", {})).endswith(" ...")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0.5], (0.5, 0.5, 0.5)),
        ((1, 2, 3), (1.0, 2.0, 3.0)),
        (np.array([0.1, 0.2, 0.3]), (0.1, 0.2, 0.3)),
        (torch.tensor([0.485, 0.456, 0.406]), (0.485, 0.456, 0.406)),  # and not 0.48500001430511475
    ],
)
def test_three_numbers_come_from_one_or_three_of_any_kind(values, found):
    assert options.three(values) == found


@pytest.mark.parametrize("values", [[], [1, 2], [1, 2, 3, 4]])
def test_other_counts_than_one_and_three_are_named(values):
    with pytest.raises(ValueError, match="mean must be one number or three, for R, G and B, got"):
        options.three(values, "mean")


@pytest.mark.parametrize(
    ("size", "side", "square"),
    [(8, 8, 8), ([8], 8, 8), ((8, 8), (8, 8), 8), ([8, 9], (8, 9), (8, 9)), (torch.Size([3]), 3, 3)],
)
def test_sizes_are_ints_or_pairs(size, side, square):
    assert options.side_or_pair(size) == side
    assert options.square_or_pair(size) == square


def test_ranges_are_pairs_of_floats():
    assert options.pair([1, 2]) == (1.0, 2.0)
    assert options.number_or_pair(3) == 3.0
    assert options.number_or_pair((0, 1)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="unpack"):
        options.pair((1, 2, 3))


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (Mode.NEAREST, "nearest"),
        (Mode.NEAREST_EXACT, "nearest"),
        (Mode.BILINEAR, "bilinear"),
        (Mode.BICUBIC, "bicubic"),
        (Mode.LANCZOS, "lanczos"),
    ],
)
def test_an_interpolation_is_known_by_torchvisions_name_and_by_pillows_number(mode, name):
    assert options.interpolation_of(v1.Resize(8, mode)) == name
    numbers = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
    assert options.interpolation_of(type("Old", (), {"interpolation": numbers[name]})()) == name


@pytest.mark.parametrize("mode", [Mode.BOX, Mode.HAMMING])
def test_an_interpolation_of_pillow_alone_is_refused(mode):
    with pytest.raises(ValueError, match='interpolation must be "nearest", "bilinear", "bicubic" or "lanczos"'):
        options.interpolation_of(v1.Resize(8, mode))


@pytest.mark.parametrize(
    ("fill", "found"),
    [
        (7, (7.0, 7.0, 7.0)),
        ((1, 2, 3), (1.0, 2.0, 3.0)),
        (None, (0.0, 0.0, 0.0)),
        ({tv_tensors.Image: 5, "others": 6}, (5.0, 5.0, 5.0)),
        ({"others": 6}, (6.0, 6.0, 6.0)),
        ({tv_tensors.Mask: 6}, (0.0, 0.0, 0.0)),
    ],
)
def test_a_fill_is_that_of_images(fill, found):
    assert options.fill_of(v2.RandomCrop(8, fill=fill)) == found


def test_levels_are_rounded_and_clipped_and_a_gray_is_one_number():
    assert options.as_levels((0.4, 254.6, 300.0)) == (0, 255, 255)
    assert options.as_levels((-3.0, 0.2, -0.4)) == 0
    assert options.are_whole((0.0, 255.0, 17.0))
    assert not options.are_whole((0.0, 255.0, 17.1))
    assert not options.are_whole((0.0, 256.0, 17.0))
