"""Rectangles are torchvision's, several of them timm's."""

import numpy as np
import pytest
import torch
from torchvision import transforms as theirs

import dali_mixup as dm

SIZE = (48, 64)


@pytest.mark.parametrize(
    "options", [{}, {"scale": (0.4, 1.0), "ratio": (0.2, 5.0)}, {"scale": (0.99, 1.0), "ratio": (1.0, 1.0)}]
)
def test_erased_rectangles_equal_torchvisions_for_the_same_random_numbers(monkeypatch, options):
    rng = np.random.default_rng(0)
    ours = dm.RandomErasing(p=1.0, **options)
    image, erased = torch.empty(3, *SIZE), 0
    for _ in range(300):
        uniform = rng.random(ours.uniforms)
        box = uniform[2:]
        tries = iter([number for pair in zip(box[:10], box[10:20], strict=True) for number in pair])
        corner = iter(box[20:])
        monkeypatch.setattr(
            torch.Tensor,
            "uniform_",
            lambda self, low, high, tries=tries: self.double().fill_(float(low) + float(high - low) * next(tries)),
        )
        monkeypatch.setattr(
            torch,
            "randint",
            lambda low, high, size, corner=corner: torch.tensor([low + int(next(corner) * (high - low))]),
        )
        *expected, value = theirs.RandomErasing.get_params(image, ours.scale, ours.ratio, [0.0])
        found = ours.operations(uniform, SIZE)
        if value is image:  # no try fitted
            assert found == []
        else:
            assert list(found[0].numbers[:4]) == expected
            erased += 1
    assert (erased > 200) == (ours.scale[0] < 0.9)


def test_several_rectangles_share_the_area_as_in_timm():
    ours = dm.RandomErasing(p=1.0, scale=(0.2, 0.2), ratio=(1, 1), count=(1, 4))
    counts, areas = [], []
    for uniform in np.random.default_rng(0).random((2000, ours.uniforms)):
        found = ours.operations(uniform, (100, 100))
        counts.append(len(found))
        areas.append(sum(operation.numbers[2] * operation.numbers[3] for operation in found))
    assert np.bincount(counts, minlength=5)[1:] == pytest.approx(np.full(4, 500), abs=80)
    assert np.array(areas) == pytest.approx(2000, rel=0.06)


def test_noise_is_one_colour_or_a_seed_and_different_each_time():
    for noise in ("pixel", "color"):
        ours = dm.RandomErasing(p=1.0, fill=(100, 110, 120), noise=noise, std=(10, 20, 30))
        rows = [
            ours.operations(uniform, SIZE)[0].numbers
            for uniform in np.random.default_rng(0).random((500, ours.uniforms))
        ]
        assert len({row[4:] for row in rows}) > 490
        if noise == "color":
            colours = np.array([row[4:7] for row in rows])
            assert colours.mean(0) == pytest.approx([100, 110, 120], abs=5)
            assert colours.std(0) == pytest.approx([10, 20, 30], rel=0.1)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 64)])
@pytest.mark.parametrize("scale", [(0.001, 0.01), (0.02, 1 / 3), (1.0, 1.0)])
@pytest.mark.parametrize("count", [(1, 1), (2, 5)])
def test_a_rectangle_of_noise_has_pixels_and_no_more_than_are_made(size, scale, count):
    ours = dm.RandomErasing(p=1.0, scale=scale, ratio=(0.05, 20.0), count=count, noise="pixel", std=(9, 9, 9))
    for uniform in np.random.default_rng(0).random((300, ours.uniforms)):
        for operation in ours.operations(uniform, size):
            top, left, height, width = operation.numbers[:4]
            assert 1 <= height * width <= operation.fixed[0] <= size[0] * size[1]
            assert top + height <= size[0]
            assert left + width <= size[1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.RandomErasing(1.5), ValueError, "p must be a probability"),
        (lambda: dm.RandomErasing(scale=(0, 2)), ValueError, "scale must be a pair"),
        (lambda: dm.RandomErasing(ratio=3), TypeError, "ratio must be a pair"),
        (lambda: dm.RandomErasing(fill=0), TypeError, "fill must be three levels, for R, G and B, got 0"),
        (lambda: dm.RandomErasing(noise="snow"), ValueError, "noise must be .* got 'snow'"),
        (lambda: dm.RandomErasing(count=(0, 1)), ValueError, "count must be an int of at least 1, got 0"),
        (lambda: dm.RandomErasing(count=(3, 2)), ValueError, r"count must be \(least, most\), got \(3, 2\)"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
