"""Crops without a resize: those of numpy's pad, on the host and, computed here, on a device."""

import numpy as np
import pytest
import torch

import dali_mixup as dm
from bench.pretended_gpu import GPU, PretendedGpu
from dali_mixup.decode.gather import GROUP, gather_on_device, gather_on_host
from dali_mixup.geometry.geometry import Border, Windows

HEIGHT, WIDTH = 13, 17
REACH = 9  # how far crops reach outside; less than a window's sides


def draw_windows(count, size, *, whole, seed=0):
    """Parts of images, and outputs that reach outside of them at each side."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(REACH + 1, [HEIGHT + 1, WIDTH + 1], (count, 2))
    anchor = rng.integers(0, np.array([HEIGHT, WIDTH]) - shape + 1)
    if whole:
        shape[:], anchor[:] = (HEIGHT, WIDTH), 0
    offset = rng.integers(-REACH, shape + REACH - np.array(size) + 1)
    anchor, shape, offset = (each.astype(np.int32) for each in (anchor, shape, offset))
    return Windows(anchor=anchor, shape=shape, resized=shape, offset=offset), rng.random(count) < 0.5


def by_numpy(images, windows, flips, size, border):
    """Image by image."""
    crops = []
    for image, anchor, shape, offset, flip in zip(
        images, windows.anchor, windows.shape, windows.offset, flips, strict=True
    ):
        window = image[anchor[0] : anchor[0] + shape[0], anchor[1] : anchor[1] + shape[1]]
        margins = ((REACH, REACH), (REACH, REACH))
        if border.mode == "constant":
            planes = [np.pad(window[..., k], margins, constant_values=border.fill[k]) for k in range(3)]
            padded = np.stack(planes, -1)
        else:
            padded = np.pad(window, (*margins, (0, 0)), mode=border.mode)
        top, left = offset + REACH
        crop = padded[top : top + size[0], left : left + size[1]]
        crops.append(crop[:, ::-1] if flip else crop)
    return np.stack(crops)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [(8, 11), (1, 1), (17, 5)])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_crops_are_those_of_numpys_pad(mode, size, whole):
    count = 50
    images = np.random.default_rng(1).integers(0, 256, (99, HEIGHT, WIDTH, 3), np.uint8)
    numbers = np.random.default_rng(2).integers(0, 99, count)
    windows, flips = draw_windows(count, size, whole=whole)
    border = Border(mode=mode, fill=(1, 2, 3))
    expected = by_numpy(images[numbers], windows, flips, size, border)
    out = np.empty((count, *size, 3), np.uint8)
    gather_on_host(dm.ArrayDataset(images, range(99)), numbers, windows, flips, border=border, out=out)
    np.testing.assert_array_equal(out, expected)
    for stack in (torch.from_numpy(images), torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).permute(0, 2, 3, 1)):
        found = gather_on_device(stack, numbers, windows, flips, size=size, border=border)
        assert found.is_contiguous()
        np.testing.assert_array_equal(found.numpy(), expected)


def test_more_images_than_a_group_are_all_cut():
    size = (16, 16)
    count = 2 * GROUP // (16 * 16) + 3
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    zeros = np.zeros((count, 2), np.int32)
    windows = Windows(anchor=zeros, shape=zeros + 16, resized=zeros + 16, offset=zeros)
    numbers, flips = np.arange(count)[::-1].copy(), np.zeros(count, bool)
    out = np.empty((count, *size, 3), np.uint8)
    gather_on_host(dm.ArrayDataset(images, range(count)), numbers, windows, flips, border=None, out=out)
    np.testing.assert_array_equal(out, images[::-1])


def test_on_a_gpu_nothing_leaves_it_or_is_waited_for():
    windows, flips = draw_windows(5, (8, 8), whole=True)
    images = np.random.default_rng(1).integers(0, 256, (9, HEIGHT, WIDTH, 3), np.uint8)
    numbers = np.array([8, 0, 3, 3, 1])
    with PretendedGpu():
        stack = torch.from_numpy(images).pin_memory().to(GPU, non_blocking=True)
        found = gather_on_device(stack, numbers, windows, flips, size=(8, 8), border=Border())
        assert found.device == GPU
    np.testing.assert_array_equal(found.numpy(), by_numpy(images[numbers], windows, flips, (8, 8), Border()))
