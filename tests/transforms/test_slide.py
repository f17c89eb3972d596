"""Rows and columns that slide, against Pillow's bicubic transform of all 16 taps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dali_mixup.transforms import affine
from dali_mixup.transforms.slide import slide

FILL = (9, 8, 7)
SIDES = st.integers(1, 60)
SLOPES = st.one_of(st.sampled_from([0.0, 0.5, -0.25, 0.1]), st.floats(-2, 2, allow_subnormal=False))
STARTS = st.one_of(st.integers(-70, 70).map(float), st.sampled_from([0.5, -0.5]), st.floats(-90, 90))


def moved(image, matrix):
    """By the library, (H, W, 3)."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    before, found = planes.clone(), slide(planes, torch.tensor([matrix], dtype=torch.float64), FILL)
    assert torch.equal(planes, before)
    return None if found is None else found[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("rows", [True, False])
@given(height=SIDES, width=SIDES, slope=SLOPES, start=STARTS)
def test_whatever_slides_is_pillows_to_the_bit(rows, height, width, slope, start):
    image = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), np.uint8)
    matrix = (1.0, slope, start, 0.0, 1.0, 0.0) if rows else (1.0, 0.0, 0.0, slope, 1.0, start)
    expected = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=FILL
    )
    found = moved(image, matrix)
    assert found is None or np.array_equal(found, expected)


@pytest.mark.parametrize(
    "matrix", [affine.shear_x(0.3), affine.shear_y(-0.2), affine.translate_x(5), (1, 0, 0.3, 0, 1, 0)]
)
def test_shears_and_shifts_slide(matrix):
    assert moved(np.zeros((20, 30, 3), np.uint8), matrix) is not None


@pytest.mark.parametrize(
    "matrix",
    [
        affine.rotate(20, 20, 30),
        (2, 0, 0, 0, 1, 0),
        (1, 0.1, 0, 0.1, 1, 0),
        (1, 0, 1, 0, 1, 1),
        (1, 0, -1 - 2**-52, 0, 1, 0),  # places far from 0 are rounded to the next pixel
    ],
)
def test_what_does_more_is_left_to_pillow(matrix):
    assert moved(np.zeros((20, 30, 3), np.uint8), matrix) is None
