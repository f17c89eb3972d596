"""timm's resizes that keep a ratio, and its crops that pad: its own sizes and places."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from timm.data import create_transform
from timm.data.transforms import CenterCropOrPad, RandomCropOrPad, ResizeKeepRatio

import dali_mixup as dm
from tests.conftest import picture

SIZES = np.random.default_rng(0).integers(1, 900, (400, 2))
HEIGHT, WIDTH = np.ascontiguousarray(SIZES.T)


@pytest.mark.parametrize("longest", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("target", [(200, 200), (180, 240), (7, 500)])
def test_sizes_are_timms(target, longest):
    ours = dm.ResizeKeepRatio(target, longest).resized(HEIGHT, WIDTH, np.zeros((400, 4)))
    for number, (height, width) in enumerate(SIZES.tolist()):
        image = Image.new("L", (width, height))
        expected = [max(1, side) for side in ResizeKeepRatio.get_params(image, target, longest)]
        assert [int(sides[number]) for sides in ours] == expected


@pytest.mark.parametrize("by_area", [False, True])
def test_random_sizes_are_drawn_as_timm_draws_them(by_area):
    options = {"scale": (0.5, 1.4), "aspect": (0.7, 1.4)}
    ours = dm.ResizeKeepRatio(400, 0.2, scale_prob=0.7, aspect_prob=0.6, by_area=by_area, **options)
    uniform, count = np.random.default_rng(1).random((4000, 4)), 4000
    heights, widths = ours.resized(np.full(count, 300), np.full(count, 500), uniform)
    random.seed(0)
    image = Image.new("L", (500, 300))
    theirs = np.array(
        [
            ResizeKeepRatio.get_params(image, (400, 400), 0.2, 0.7, (0.5, 1.4), by_area, 0.6, (0.7, 1.4))
            for _ in range(count)
        ]
    )
    for mine, expected in ((heights, theirs[:, 0]), (widths, theirs[:, 1]), (heights * widths, theirs.prod(1))):
        assert stats.ks_2samp(mine, expected).pvalue > 1e-3
    assert stats.ks_2samp(heights, 1.03 * theirs[:, 0]).pvalue < 1e-3  # it would notice three per cent


def test_random_places_are_drawn_as_timm_draws_them():
    geometry = dm.CropOrPad((40, 60), position="random")
    count = 3000
    windows = geometry.windows(np.full(count, 50), np.full(count, 45), np.random.default_rng(2).random((count, 2)))
    random.seed(0)
    image = Image.new("L", (45, 50))
    theirs = np.array([RandomCropOrPad.get_params(image, (40, 60)) for _ in range(count)])
    for axis in (0, 1):
        assert set(windows.offset[:, axis].tolist()) == set(theirs[:, axis].tolist())
        counts = [np.bincount(abs(each[:, axis]), minlength=16) for each in (windows.offset, theirs)]
        assert stats.chi2_contingency([row[row > 0] for row in counts]).pvalue > 1e-3


@pytest.mark.parametrize("augment", [None, lambda images: images], ids=["windows", "through DALI"])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        *(((size), {"fill": fill}) for size in ((40, 40), (61, 30), (30, 75), (200, 200)) for fill in (0, (1, 2, 3))),
        *(((70, 84), {"padding_mode": mode}) for mode in ("edge", "reflect", "symmetric")),
    ],
)
def test_centres_are_timms_to_the_pixel(tmp_path, size, options, augment):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        picture(40 + 7 * number, 90 - 9 * number, number).save(path)
    dataset = dm.FileList(paths, [0] * 6, cache=False, progress=False)
    pipeline = dm.ImagePipeline(
        geometry=dm.CropOrPad(size, **options), augment=augment, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    ((images, _),) = dm.Loader(dataset, pipeline, batch_size=6, device="cpu")
    for image, path in zip(images, paths, strict=True):
        with Image.open(path) as original:
            expected = np.asarray(CenterCropOrPad(size, **options)(original))
        assert torch.equal((255 * image).round().permute(1, 2, 0).byte(), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("mode", ["rkrc", "rkrr", "border"])
def test_timms_recipes_with_these_crops_are_read(mode):
    if mode == "border":
        transform = create_transform(96, is_training=False, crop_mode="border", crop_pct=0.9)
    else:
        transform = create_transform(96, is_training=True, train_crop_mode=mode)
    pipeline = dm.from_torchvision(transform)
    assert isinstance(pipeline.geometry, dm.CropOrPad | dm.CenterCrop | dm.RandomCrop)
    assert pipeline.size == (96, 96)


def test_a_resize_without_a_crop_is_refused():
    with pytest.raises(ValueError, match="put CenterCropOrPad or RandomCropOrPad behind it"):
        dm.from_torchvision(ResizeKeepRatio(100))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.CropOrPad(8, position="left"), ValueError, 'position must be "center" or "random"'),
        (lambda: dm.CropOrPad(8, padding_mode="wrap"), ValueError, 'padding_mode must be "constant", "edge"'),
        (lambda: dm.CropOrPad(8, resize=8), TypeError, "resize must be a ResizeKeepRatio, a Resize or None"),
        (lambda: dm.CropOrPad(8, fill=300), ValueError, "fill must be a level from 0 to 255"),
        (lambda: dm.ResizeKeepRatio(8, longest=2.0), ValueError, "longest must be a probability"),
        (lambda: dm.ResizeKeepRatio(8, scale=(0.0, 1.0)), ValueError, "scale must be a pair"),
        (lambda: dm.ResizeKeepRatio(8, interpolation="area"), ValueError, "interpolation must be"),
    ],
)
def test_options_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_images_that_are_too_small_to_be_mirrored_are_refused():
    geometry = dm.CropOrPad(40, padding_mode="reflect")
    assert geometry.too_small(np.array([20, 21, 500, 30]), np.array([500, 21, 20, 30])).tolist() == [
        True,
        False,
        True,
        False,
    ]
    resized = dm.CropOrPad(40, dm.ResizeKeepRatio(40, scale_prob=0.5, scale=(0.4, 1.0)), padding_mode="reflect")
    assert resized.too_small(np.array([300]), np.array([300])).tolist() == [True]
    assert not dm.CropOrPad(40).too_small(np.array([1]), np.array([1])).any()


def test_the_smallest_size_is_that_of_all_draws():
    resize = dm.ResizeKeepRatio((90, 60), 0.4, scale_prob=0.5, aspect_prob=0.5, scale=(0.6, 1.7), by_area=True)
    least = resize.smallest(HEIGHT, WIDTH)
    for seed in range(200):
        drawn = resize.resized(HEIGHT, WIDTH, np.random.default_rng(seed).random((400, 4)))
        assert all((one >= other).all() for one, other in zip(drawn, least, strict=True))
