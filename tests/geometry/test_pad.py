"""Pad: torchvision's pixels, on the CPU and through DALI."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

import dali_mixup as dm
from dali_mixup.geometry.geometry import INTERPOLATIONS
from tests.conftest import picture

MODES = ("constant", "edge", "reflect", "symmetric")
SIDES = [3, (2, 5), (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    """Lossless images of one size."""
    root = tmp_path_factory.mktemp("same")
    for i in range(3):
        picture(20, 30, i).save(root / f"{i}.png")
    return dm.FileList([root / f"{i}.png" for i in range(3)], [0, 1, 2])


def unchanged(images):
    """An `augment` that makes DALI cut and pad."""
    return images


def delivered(dataset, geometry, **options):
    pipeline = dm.ImagePipeline(geometry=geometry, mean=(0, 0, 0), std=(1 / 255,) * 3, **options)
    ((images, _),) = dm.Loader(dataset, pipeline, batch_size=len(dataset), device="cpu")
    return images


@pytest.mark.parametrize("padding", SIDES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("augment", [None, unchanged])
def test_margins_are_torchvisions(same, padding, mode, augment):
    images = delivered(same, dm.Pad(padding, (1, 2, 3), mode), augment=augment)
    for ours, path in zip(images, same.paths, strict=True):
        with Image.open(path) as image:
            theirs = functional.pad(image, padding, (1, 2, 3), mode)
        assert ours.shape[1:] == theirs.size[::-1]
        assert np.abs(ours.permute(1, 2, 0).numpy() - np.asarray(theirs)).max() < 0.01


@pytest.mark.parametrize("mode", MODES)
def test_arrays_get_the_margins_of_files(same, mode):
    arrays = np.stack([np.asarray(Image.open(path)) for path in same.paths])
    padded = dm.Pad((1, 2, 3, 4), 9, mode)
    in_memory = delivered(dm.ArrayDataset(arrays, [0, 1, 2]), padded, flip=0.5)
    assert torch.equal(in_memory, delivered(same, padded, flip=0.5))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_what_a_resize_makes_gets_margins(same, interpolation):
    for resize in (dm.Resize((17, 23), None, interpolation), dm.Resize(15, None, interpolation)):
        images = delivered(same, dm.Pad((1, 2), 7, resize=resize))
        plain = delivered(same, resize)
        assert torch.equal(images[..., 2:-2, 1:-1], plain)
        assert (images[..., :2, :] == 7).all()
        assert (images[..., -1] == 7).all()
    random = dm.RandomResizedCrop(16, interpolation=interpolation)
    images = delivered(same, dm.Pad(3, 0, "reflect", random))
    expected = torch.nn.functional.pad(delivered(same, random), (3, 3, 3, 3), mode="reflect")
    assert torch.equal(images, expected)


def test_dali_gives_a_random_crop_the_margins_of_the_stage(same):
    geometry = dm.Pad(3, 7, resize=dm.RandomResizedCrop(16, scale=(0.5, 1.0)))
    images, through_dali = delivered(same, geometry), delivered(same, geometry, augment=unchanged)
    assert through_dali.shape == images.shape
    assert (through_dali[..., :3] == 7).all()
    assert (through_dali - images).abs().mean() < 0.5


def test_the_size_is_known_where_the_images_are():
    assert dm.Pad(2).output is None
    assert dm.Pad(2, size=(20, 30)).output == (24, 34)
    assert dm.Pad((1, 2, 3, 4), resize=dm.Resize((10, 10))).output == (16, 14)
    one = np.array([20]), np.array([30])
    assert dm.Pad(2).settled(*one) == dm.Pad(2, size=(20, 30))
    assert dm.Pad(2, resize=dm.Resize(10)).settled(*one).output == (14, 19)
    with pytest.raises(ValueError, match=r"size must be None, or \(20, 30\) as that of the images, got \(20, 31\)"):
        dm.Pad(2, size=(20, 31)).settled(*one)
    with pytest.raises(ValueError, match="geometry must give all images the same size"):
        dm.Pad(2).settled(np.array([20, 21]), np.array([30, 30]))


@pytest.mark.parametrize(("mode", "least"), [("reflect", 6), ("symmetric", 5), ("edge", 1), ("constant", 1)])
def test_images_that_are_too_small_to_be_mirrored_are_found(mode, least):
    sides = np.arange(1, 10)
    small = dm.Pad((5, 0, 0, 0), padding_mode=mode).too_small(np.full(9, 50), sides)
    assert sides[~small].min() == least
    resized = dm.Pad(5, padding_mode=mode, resize=dm.Resize((4, 9))).too_small(*[np.array([100])] * 2)
    assert bool(resized[0]) == (least > 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.Pad(-1), ValueError, "padding must be an int of at least 0, got -1"),
        (lambda: dm.Pad((1, 2, 3)), ValueError, r"padding must be an int, a pair or four ints, got \(1, 2, 3\)"),
        (lambda: dm.Pad(1, 256), ValueError, "fill must be a level"),
        (lambda: dm.Pad(1, 0, "wrap"), ValueError, "padding_mode must be"),
        (lambda: dm.Pad(1, resize=dm.CenterCrop(8)), TypeError, "resize must be a Resize, a RandomResizedCrop or None"),
        (
            lambda: dm.Pad(1, resize=dm.RandomResizedCrop(8, interpolation="random")),
            ValueError,
            'resize must be without interpolation="random"',
        ),
        (lambda: dm.Pad(1, resize=dm.Resize(8), size=(8, 8)), ValueError, "size must be None with resize"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
