"""Each operation against torchvision on PIL images, which calls Pillow."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as functional
from PIL import Image

from bench.pretended_gpu import GPU, PretendedGpu
from dali_mixup.placement import send
from dali_mixup.transforms import pixels
from dali_mixup.transforms.noise import draw_normal
from tests.transforms.pictures import SIZE, differences, numbers, pictures, stacked

FACTORS = [0.0, 0.3, 0.5, 0.77, 1.0, 1.4, 2.5]
WITH_PARAMETER = [
    (pixels.brightness, functional.adjust_brightness, FACTORS),
    (pixels.contrast, functional.adjust_contrast, FACTORS),
    (pixels.saturation, functional.adjust_saturation, FACTORS),
    (pixels.sharpness, functional.adjust_sharpness, FACTORS),
    (pixels.hue, functional.adjust_hue, [-0.5, -0.21, 0.0, 0.001, 0.1, 0.3, 0.5]),
    (pixels.posterize, lambda image, bits: functional.posterize(image, int(bits)), [1, 2, 4, 7, 8]),
    (pixels.solarize, functional.solarize, [0.0, 25.5, 100.0, 200.3, 255.0]),
]
PLAIN = [
    (pixels.flip_horizontally, functional.hflip),
    (pixels.flip_vertically, functional.vflip),
    (pixels.grayscale, lambda image: functional.to_grayscale(image, 3)),
    (pixels.invert, functional.invert),
    (pixels.autocontrast, functional.autocontrast),
    (pixels.equalize, functional.equalize),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "values"), WITH_PARAMETER, ids=[case[0].__name__ for case in WITH_PARAMETER]
)
def test_operations_with_a_parameter_equal_pillows_to_the_bit(ours, theirs, values):
    images = pictures()
    for value in values:
        found = ours(stacked(images), numbers([value] * len(images)))
        assert differences(found, [theirs(image, value) for image in images]).max() == 0, value


@pytest.mark.parametrize(("ours", "theirs"), PLAIN, ids=[case[0].__name__ for case in PLAIN])
def test_operations_without_one_equal_pillows_to_the_bit(ours, theirs):
    images = pictures()
    assert differences(ours(stacked(images), numbers([()] * len(images))), list(map(theirs, images))).max() == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3)])
def test_images_without_inner_pixels_are_not_sharpened(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    assert (
        differences(pixels.sharpness(stacked([image]), numbers([1.7])), [functional.adjust_sharpness(image, 1.7)]).max()
        == 0
    )


def test_every_fifth_colour_survives_the_way_through_hsv_as_in_pillow():
    codes = np.arange(0, 2**24, 5)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.uint8)[None]
    hsv = torch.stack(pixels.to_hsv(torch.from_numpy(colours)[None].permute(0, 3, 1, 2)), -1)[0].numpy()
    assert np.array_equal(hsv, np.asarray(Image.fromarray(colours).convert("HSV")))
    back = pixels.from_hsv(*(torch.from_numpy(colours[None, ..., k]) for k in range(3)))
    assert np.array_equal(
        back.permute(0, 2, 3, 1)[0].numpy(), np.asarray(Image.fromarray(colours, "HSV").convert("RGB"))
    )


@pytest.mark.parametrize("kernel", [(3, 3), (5, 9), (23, 23)])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_within_one_level_of_torchvisions_and_nearly_always_equal(kernel, sigma):
    images = pictures()
    ours = pixels.gaussian_blur(stacked(images), numbers([sigma] * len(images)), kernel)
    difference = differences(ours, [functional.gaussian_blur(image, list(kernel), sigma) for image in images])
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (5, 7, 20, 30), (0, 0, *SIZE), (36, 51, 1, 1)])
def test_a_rectangle_is_erased(box):
    (image,) = stacked(pictures()[:1])
    expected = functional.erase(image, *box, torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1))
    assert torch.equal(pixels.erase(image[None], numbers([(*box, 1, 2, 3)]))[0], expected)


def test_noise_fills_the_rectangle_alone_with_the_mean_and_deviation_that_were_asked_for():
    images = torch.zeros(2, 3, 200, 200, dtype=torch.uint8)
    rows = [(10, 20, 150, 160, seed, 100, 120, 140, 10, 20, 30) for seed in (1, 2)]
    found = pixels.erase_with_noise(images, numbers(rows), 150 * 160)
    inside = found[:, :, 10:160, 20:180].double()
    assert found.sum() == inside.sum()
    assert inside.mean((0, 2, 3)).numpy() == pytest.approx([100, 120, 140], abs=0.6)
    assert inside.std((0, 2, 3)).numpy() == pytest.approx([10, 20, 30], rel=0.02)
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[1:], pixels.erase_with_noise(images[1:], numbers(rows[1:]), 150 * 160))


def test_noise_is_torchvisions_with_our_numbers_in_rectangles_of_any_sizes():
    images = stacked(pictures())
    boxes = [(0, 0, 1, 1), (5, 7, 20, 30), (0, 0, *SIZE), (36, 51, 1, 1), (0, 3, 37, 2), (9, 0, 1, 52)]
    rows = [(*box, seed, 100, 120, 140, 10, 20, 30) for seed, box in enumerate(boxes)]
    expected = []
    for image, (top, left, height, width, seed, *_) in zip(images, rows, strict=False):
        noise = draw_normal(torch.tensor([[seed]]), torch.arange(height * width)[None]).view(3, height, width)
        levels = noise * torch.tensor([10, 20, 30]).view(3, 1, 1) + torch.tensor([100, 120, 140]).view(3, 1, 1)
        value = levels.round().clamp(0, 255).to(torch.uint8)
        expected.append(functional.erase(image, top, left, height, width, value))
    with PretendedGpu():  # where no size of a rectangle can be read
        there = send(images[: len(rows)], GPU), send(numbers(rows), GPU)
        found = pixels.erase_with_noise(*there, SIZE[0] * SIZE[1])
    assert torch.equal(found, torch.stack(expected))
    assert torch.equal(pixels.erase_with_noise(images[: len(rows)], numbers(rows), 0), torch.stack(expected))


def test_inputs_are_never_written():
    images = stacked(pictures())
    before = images.clone()
    for function, _, values in WITH_PARAMETER:
        function(images, numbers([values[1]] * len(images)))
    for function, _ in PLAIN:
        function(images, numbers([()] * len(images)))
    pixels.gaussian_blur(images, numbers([1.0] * len(images)), (3, 3))
    assert torch.equal(images, before)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("ours", "values"),
    [(ours, values) for ours, _, values in WITH_PARAMETER],
    ids=[case[0].__name__ for case in WITH_PARAMETER],
)
def test_a_gpu_gives_the_same_pixels(ours, values):
    images, rows = stacked(pictures()), numbers([values[k % len(values)] for k in range(len(pictures()))])
    assert torch.equal(ours(images.cuda(), rows.cuda()).cpu(), ours(images, rows))
    for plain, _ in PLAIN:
        assert torch.equal(plain(images.cuda(), rows.cuda()).cpu(), plain(images, rows))
