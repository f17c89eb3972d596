"""One image resized as Pillow does, and cut as numpy pads."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dali_mixup.geometry.geometry import INTERPOLATIONS, Border
from dali_mixup.stage.resampling import cut, resize, resize_into

MODES = ("constant", "edge", "reflect", "symmetric")


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_nearest_neighbours_are_pillows_to_the_bit(h, w, height, width):
    array = np.random.default_rng(h).integers(0, 256, (h, w, 3), np.uint8)
    ours = resize(torch.from_numpy(array)[None].permute(0, 3, 1, 2), [height, width], INTERPOLATIONS.index("nearest"))
    assert np.array_equal(
        ours[0].permute(1, 2, 0), Image.fromarray(array).resize((width, height), Image.Resampling.NEAREST)
    )


@pytest.mark.parametrize("mode", MODES)
@given(h=st.integers(2, 12), w=st.integers(2, 12), top=st.integers(-30, 30), left=st.integers(-30, 30))
def test_what_is_cut_outside_of_the_image_is_numpys_padding(mode, h, w, top, left):
    array = np.random.default_rng(0).integers(0, 256, (h, w, 3), np.uint8)
    room = 40 if mode in ("constant", "edge") else min(h, w) - 1
    size = (9, 7)
    if mode not in ("constant", "edge"):  # numpy reflects as far as the image reaches
        top, left = max(top, -room), max(left, -room)
        top, left = min(top, h + room - size[0]), min(left, w + room - size[1])
        if top < -room or left < -room:
            return
    filling = {"constant_values": 7} if mode == "constant" else {}
    padded = np.pad(array, ((room, room), (room, room), (0, 0)), mode=mode, **filling)
    expected = padded[top + room : top + room + 9, left + room : left + room + 7]
    found = cut(torch.from_numpy(array)[None].permute(0, 3, 1, 2), [top, left], size, Border(mode=mode, fill=(7, 7, 7)))
    assert np.array_equal(found[0].permute(1, 2, 0), expected)


@pytest.mark.parametrize(
    ("name", "fast"), [("bilinear", False), ("bicubic", False), ("bicubic", True), ("lanczos", True)]
)
@given(h=st.integers(1, 70), w=st.integers(1, 70), height=st.integers(1, 70), width=st.integers(1, 70))
def test_bilinear_and_fast_bicubic_are_pillows_within_a_level_and_others_to_the_bit(name, fast, h, w, height, width):
    array = np.random.default_rng(h).integers(0, 256, (h, w, 3), np.uint8)
    expected = np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling[name.upper()]))
    planes = torch.from_numpy(array)[None].permute(0, 3, 1, 2)
    found = resize(planes, [height, width], INTERPOLATIONS.index(name), fast=fast)[0].permute(1, 2, 0).numpy()
    difference = np.abs(found.astype(int) - expected)
    if name == "bilinear":  # where both of its roundings are ties, a value is two levels off
        assert difference.max() <= 2
        assert (difference > 1).sum() <= 1
    elif name == "bicubic" and fast:
        assert difference.max() <= 2
        assert (difference > 0).mean() < 0.05 or difference.size < 1000
        # few pixels made into many have few weights, so that ties repeat: of 485,000 draws none had more
        repeats = difference.size // 500 if min(h, w) < 10 else 0
        assert (difference > 1).sum() <= max(3, repeats)
    else:
        assert not difference.any()
    assert np.array_equal(planes[0].permute(1, 2, 0), array)  # it isn't written


def test_an_image_of_the_size_that_is_asked_for_comes_back_itself():
    image = torch.zeros(1, 3, 5, 7, dtype=torch.uint8)
    assert resize(image, [5, 7]) is image


def test_memory_that_is_given_is_used():
    array = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    image, out = torch.from_numpy(array)[None].permute(0, 3, 1, 2), torch.zeros(1, 12, 16, 3, dtype=torch.uint8)
    address = out.data_ptr()
    resize_into(image, out.permute(0, 3, 1, 2), bicubic=False)
    assert out.data_ptr() == address
    assert torch.equal(out.permute(0, 3, 1, 2), resize(image, [12, 16]))
