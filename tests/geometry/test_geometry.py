import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as functional
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torchvision.models import ResNet50_Weights
from torchvision.transforms import RandomCrop
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

import dali_mixup as dm
from dali_mixup.geometry.geometry import INTERPOLATIONS, Border

SIDES = st.integers(1, 3000)


def replay(monkeypatch, uniform):
    """Make torch draw the numbers of one row, in [0, 1): area and aspect by turns for the tries, then the corner."""
    tries = iter([number for pair in zip(uniform[:10], uniform[10:20], strict=True) for number in pair])
    corner = iter(uniform[20:])
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda self, low, high: self.double().fill_(low + (high - low) * next(tries))
    )
    monkeypatch.setattr(
        torch, "randint", lambda low, high, size: torch.tensor([low + int(next(corner) * (high - low))])
    )


@pytest.mark.parametrize(
    "options", [{}, {"scale": (0.35, 1.0)}, {"scale": (0.9, 1.0), "ratio": (0.5, 0.6)}, {"ratio": (1.0, 1.0)}]
)
@pytest.mark.parametrize("largest", [900, 4])
def test_windows_equal_torchvisions_for_the_same_random_numbers(monkeypatch, options, largest):
    rng = np.random.default_rng(0)
    height, width = rng.integers(1, largest, (2, 500))
    geometry = dm.RandomResizedCrop(224, **options)
    uniform = rng.random((500, geometry.uniforms))
    ours = geometry.windows(height.astype(np.int32), width.astype(np.int32), uniform)

    for i in range(500):
        replay(monkeypatch, uniform[i])
        expected = TorchvisionCrop.get_params(
            torch.empty(3, height[i], width[i]), list(geometry.scale), list(geometry.ratio)
        )
        assert (*ours.anchor[i], *ours.shape[i]) == tuple(expected), (height[i], width[i])


def test_the_fallback_equals_torchvisions(monkeypatch):
    sizes = [(10, 1000), (1000, 10), (1, 1), (3, 2000), (100, 100), (7, 9)]
    geometry = dm.RandomResizedCrop(32, scale=(0.999, 1.0), ratio=(0.9, 0.95))
    uniform = np.full((len(sizes), geometry.uniforms), 0.999)
    height, width = np.array(sizes, np.int32).T
    ours = geometry.windows(height, width, uniform)
    for i, (h, w) in enumerate(sizes):
        replay(monkeypatch, uniform[i])
        assert (*ours.anchor[i], *ours.shape[i]) == tuple(
            TorchvisionCrop.get_params(torch.empty(3, h, w), [0.999, 1.0], [0.9, 0.95])
        )


@given(SIDES, SIDES, st.floats(0, 1, exclude_max=True))
def test_random_windows_lie_inside_the_image(h, w, number):
    geometry = dm.RandomResizedCrop(8)
    windows = geometry.windows(
        np.array([h], np.int32), np.array([w], np.int32), np.full((1, geometry.uniforms), number)
    )
    assert (windows.anchor >= 0).all()
    assert (windows.shape >= 1).all()
    assert (windows.anchor + windows.shape <= [h, w]).all()


def test_windows_have_the_area_and_aspect_that_were_asked_for():
    rng = np.random.default_rng(1)
    geometry = dm.RandomResizedCrop(224)
    side = np.full(20_000, 1000, np.int32)
    windows = geometry.windows(side, side, rng.random((20_000, geometry.uniforms)))
    area = windows.shape.prod(1) / 1e6
    aspect = np.log(windows.shape[:, 1] / windows.shape[:, 0])
    inside = area < 0.7  # nearly all of these fit at the first try
    assert np.histogram(area[inside], 6, (0.08, 0.7))[0] / inside.sum() == pytest.approx(np.full(6, 1 / 6), abs=0.02)
    assert np.abs(aspect).max() < math.log(4 / 3) + 0.01
    assert abs(aspect.mean()) < 0.01


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(256, 224), (73, 64), (32, 32), (225, 224)]))
def test_centre_crops_have_torchvisions_integer_sizes_and_anchors(h, w, sizes):
    resize, size = sizes
    geometry = dm.ResizeCenterCrop(resize, size)
    height, width = np.array([h], np.int32), np.array([w], np.int32)
    windows = geometry.windows(height, width, np.empty((1, 0)))
    resized_h, resized_w = windows.resized[0].tolist()
    assert (resized_h, resized_w) == tuple(functional._geometry._compute_resized_output_size((h, w), [resize]))
    top, left = round((resized_h - size) / 2), round((resized_w - size) / 2)  # torchvision's center_crop
    assert (*windows.resized[0], *windows.offset[0]) == (resized_h, resized_w, top, left)
    assert (*windows.anchor[0], *windows.shape[0]) == (0, 0, h, w)
    expected = [top * h / resized_h, left * w / resized_w, (top + size) * h / resized_h, (left + size) * w / resized_w]
    assert windows.roi((size, size))[0] == pytest.approx(expected, rel=1e-5)


def test_padded_crops_take_every_place_that_torchvision_takes():
    geometry = dm.CropPad(32, padding=4)
    rng = np.random.default_rng(0)
    side = np.full(20_000, 32, np.int32)
    offset = geometry.windows(side, side, rng.random((20_000, 2))).offset
    theirs = {RandomCrop.get_params(torch.empty(3, 40, 40), (32, 32))[0] - 4 for _ in range(500)}
    assert theirs == set(offset[:, 0].tolist()) == set(offset[:, 1].tolist()) == set(range(-4, 5))


def test_images_too_small_for_a_padded_crop_are_found():
    height, width = np.array([24, 23, 4, 5, 100], np.int32), np.array([24, 99, 99, 99, 23], np.int32)
    assert dm.CropPad(32, padding=4).too_small(height, width).tolist() == [False, True, True, True, True]
    assert dm.CropPad(8, padding=4).too_small(height, width).tolist() == [False, False, True, False, False]
    assert not dm.CropPad(8, padding=4, padding_mode="constant").too_small(height, width).any()


def test_random_interpolation_is_bilinear_or_bicubic_whatever_the_window():
    """As timm draws it: each for half of the images."""
    geometry, rng = dm.RandomResizedCrop(8, interpolation="random"), np.random.default_rng(0)
    side = np.full(2000, 100, np.int32)
    windows = geometry.windows(side, side, rng.random((2000, geometry.uniforms)))
    names = [INTERPOLATIONS[code] for code in windows.interpolation]
    assert set(names) == {"bilinear", "bicubic"}
    assert stats.binomtest(names.count("bicubic"), 2000, 0.5).pvalue > 0.01
    for column in (*windows.anchor.T, *windows.shape.T):
        assert stats.spearmanr(column, windows.interpolation).pvalue > 0.001


def test_what_is_left_out_is_torchvisions():
    preset = ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert dm.ResizeCenterCrop() == dm.ResizeCenterCrop(*preset.resize_size, *preset.crop_size, "bilinear")
    theirs, ours = TorchvisionCrop(8), dm.RandomResizedCrop(8)
    assert (ours.scale, ours.ratio, ours.interpolation) == (theirs.scale, theirs.ratio, theirs.interpolation.value)
    theirs, ours = RandomCrop(8), dm.RandomCrop(8)
    for name in ("pad_if_needed", "fill", "padding_mode"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.margins == (0, 0, 0, 0)  # torchvision's None


def test_padding_left_out_is_that_of_cifar_recipes():
    assert dm.CropPad(32) == dm.RandomCrop(32, 4, padding_mode="reflect")


def test_a_border_without_options_is_black():
    assert Border() == Border(mode="constant", fill=(0, 0, 0), margins=(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.RandomResizedCrop(0), ValueError, "size must be an int of at least 1, got 0"),
        (lambda: dm.RandomResizedCrop(22.4), TypeError, "size must be an int of at least 1, got 22.4"),
        (lambda: dm.RandomResizedCrop((8, 0)), ValueError, "size must be an int of at least 1, got 0"),
        (lambda: dm.RandomResizedCrop((8,)), TypeError, r"size must be an int of at least 1, got \(8,\)"),
        (lambda: dm.RandomResizedCrop((8, 8, 3)), TypeError, r"size must be an int of at least 1, got \(8, 8, 3\)"),
        (
            lambda: dm.RandomResizedCrop(8, scale=(0, 1)),
            ValueError,
            r"scale must be a pair \(low, high\) with 0 < low <= high <= 1, got \(0, 1\)",
        ),
        (lambda: dm.RandomResizedCrop(8, scale=(0.5, 1.1)), ValueError, "scale must be"),
        (lambda: dm.RandomResizedCrop(8, scale=0.5), TypeError, "scale must be a pair"),
        (lambda: dm.RandomResizedCrop(8, scale=(0.1, 0.2, 0.3)), TypeError, "scale must be a pair"),
        (lambda: dm.RandomResizedCrop(8, scale=("0", 1)), TypeError, "scale must be a pair"),
        (lambda: dm.RandomResizedCrop(8, ratio=(2, 1)), ValueError, r"ratio must be .* 0 < low <= high, got \(2, 1\)"),
        (lambda: dm.RandomResizedCrop(8, ratio=(1, math.inf)), ValueError, "ratio must be"),
        (
            lambda: dm.ResizeCenterCrop(200, 224),
            ValueError,
            r"resize must be at least size \(224\), got 200; the crop would reach outside",
        ),
        (lambda: dm.CropPad(32, padding=-1), ValueError, "padding must be an int of at least 0, got -1"),
        (
            lambda: dm.CropPad(32, padding_mode="edge"),
            ValueError,
            'padding_mode must be "reflect" or "constant", got \'edge\'',
        ),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_centre_windows_lie_inside_the_resized_image(h, w):
    windows = dm.ResizeCenterCrop(32, 16).windows(np.array([h], np.int32), np.array([w], np.int32), np.empty((1, 0)))
    assert (windows.offset >= 0).all()
    assert (windows.offset + 16 <= windows.resized).all()
