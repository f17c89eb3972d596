"""Resize, CenterCrop, RandomCrop.

Their windows against torchvision's arithmetic, their pixels against Pillow, in torch and in DALI.
"""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as functional
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.functional import _compute_resized_output_size

import dali_mixup as dm
from dali_mixup.geometry.geometry import INTERPOLATIONS, Border
from tests.conftest import picture

SIDES = st.integers(1, 3000)
MODES = ("constant", "edge", "reflect", "symmetric")


def one(h, w):
    return np.array([h], np.int32), np.array([w], np.int32)


@given(SIDES, SIDES, st.sampled_from([(256, None), (73, 80), (224, 300), (None, 256), (1, None)]))
def test_resized_sizes_are_torchvisions(h, w, options):
    size, max_size = options
    expected = _compute_resized_output_size((h, w), None if size is None else [size], max_size, allow_size_none=True)
    if min(expected) > 0:
        assert [int(side[0]) for side in dm.Resize(size, max_size).resized(*one(h, w))] == expected


@pytest.mark.parametrize("options", [(None, 256), (100, 256)])
def test_the_short_side_of_a_long_image_keeps_one_pixel(options):
    """torchvision gets 0 there, and an error."""
    for h, w in ((1, 3000), (3000, 1)):
        resized = dm.Resize(*options).resized(*one(h, w))
        assert [int(side[0]) for side in resized] == [max(1, 256 * side // 3000) for side in (h, w)]


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([32, (17, 60), (60, 17)]))
def test_centre_crops_of_small_and_large_images_are_torchvisions(h, w, size):
    image = torch.arange(1, h * w + 1, dtype=torch.int32).view(1, h, w)
    expected = functional.center_crop(image, [size] if isinstance(size, int) else list(size))
    height, width = (size, size) if isinstance(size, int) else size
    top, left = dm.CenterCrop(size).windows(*one(h, w), np.empty((1, 0))).offset[0].tolist()
    padded = np.pad(image[0].numpy(), 100)
    assert np.array_equal(padded[100 + top :][:height, 100 + left :][:, :width], expected[0].numpy())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 4},
        {"padding": (3, 5)},
        {"padding": (1, 2, 3, 4)},
        {"padding": (20, 1, 2, 3), "pad_if_needed": True},
        {"pad_if_needed": True},
    ],
)
@pytest.mark.parametrize("size", [8, (9, 20), (30, 35)])
def test_random_crops_begin_where_torchvisions_do_for_the_same_random_numbers(monkeypatch, options, size):
    rng = np.random.default_rng(0)
    height, width = rng.integers(8, 40, (2, 200)).astype(np.int32)
    theirs, ours = v2.RandomCrop(size, **options), dm.RandomCrop(size, **options)
    fits = ~ours.too_small(height, width)
    uniform = rng.random((200, ours.uniforms))
    offset = ours.windows(height, width, uniform).offset
    for i in range(200):
        draws = iter(uniform[i])
        image = torch.empty(3, height[i], width[i])
        if not fits[i]:
            with pytest.raises(ValueError, match="larger than"):
                theirs.make_params([image])
            continue
        # torchvision draws nothing where there is one place alone
        choices = [length > 1 for length in _places(theirs, height[i], width[i])]
        kept = iter([number for number, choice in zip(draws, choices, strict=True) if choice])
        monkeypatch.setattr(
            torch, "randint", lambda low, high, size, kept=kept: torch.tensor(low + int(next(kept) * (high - low)))
        )
        params = theirs.make_params([image])
        pads = params["padding"] if params["needs_pad"] else [0, 0, 0, 0]
        assert offset[i].tolist() == [params["top"] - pads[1], params["left"] - pads[0]], (height[i], width[i])
    assert fits.any()


def _places(crop, height, width):
    """How many rows and columns a crop may begin at."""
    left, right, top, bottom = crop.padding or (0, 0, 0, 0)
    sides = [height + top + bottom, width + left + right]
    if crop.pad_if_needed:
        sides = [side + 2 * max(0, size - side) for side, size in zip(sides, crop.size, strict=True)]
    return [side - size + 1 for side, size in zip(sides, crop.size, strict=True)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Lossless images of several sizes."""
    root = tmp_path_factory.mktemp("drawn")
    sizes = [(60, 80), (80, 60), (61, 61), (113, 59), (100, 200)]
    for i, (height, width) in enumerate(sizes):
        picture(height, width, i).save(root / f"{i}.png")
    return dm.FileList([root / f"{i}.png" for i in range(len(sizes))], list(range(len(sizes))))


def unchanged(images):
    """An `augment` that makes DALI resize."""
    return images


def expected(geometry, windows, row, path):
    """The window cut, resized and cut by Pillow and numpy."""
    (top, left), (height, width) = windows.anchor[row].tolist(), windows.shape[row].tolist()
    code = 1 if windows.interpolation is None else int(windows.interpolation[row])
    mode = InterpolationMode(INTERPOLATIONS[code])
    with Image.open(path) as image:
        array = np.asarray(
            functional.resize(functional.crop(image, top, left, height, width), windows.resized[row].tolist(), mode)
        )
    border = geometry.border or Border()
    room = 300 if border.mode in ("constant", "edge") else min(array.shape[:2]) - 1
    channels = [
        np.pad(
            array[..., k],
            room,
            mode=border.mode,
            **({"constant_values": border.fill[k]} if border.mode == "constant" else {}),
        )
        for k in range(3)
    ]
    height, width = (geometry.size, geometry.size) if isinstance(geometry.size, int) else geometry.size
    top, left = (windows.offset[row] + room).tolist()
    return np.stack(channels, -1)[top : top + height, left : left + width]


RESIZED = [dm.RandomResizedCrop(24, interpolation=mode) for mode in (*INTERPOLATIONS, "random")]
RESIZED += [dm.ResizeCenterCrop(40, 30, interpolation=mode) for mode in INTERPOLATIONS]
RESIZED += [dm.RandomCrop(24, resize=dm.Resize(30, 80, mode)) for mode in INTERPOLATIONS]
RESIZED += [dm.CenterCrop((50, 20), dm.Resize(40)), dm.Resize((31, 41)), dm.Resize((31, 41), interpolation="bicubic")]
CUT = [dm.RandomCrop(60, padding=(9, 8, 7, 6), padding_mode=mode, fill=(1, 2, 3)) for mode in MODES]
CUT += [
    dm.RandomCrop(40),
    dm.RandomCrop((150, 30), pad_if_needed=True, fill=9),
    dm.CenterCrop(90),
    dm.CenterCrop((20, 150), fill=(3, 2, 1)),
]
CUT += [dm.CropPad(50, 8), dm.CropPad(50, 8, "constant")]


def differences(dataset, geometry, **options):
    pipeline = dm.ImagePipeline(geometry=geometry, mean=(0, 0, 0), std=(1, 1, 1), **options)
    loader = dm.Loader(dataset, pipeline, batch_size=len(dataset), device="cpu")
    ((images, _),) = loader
    windows = loader.plan.batch(0, None, next(loader.plan.steps())).windows
    for row, levels in enumerate((images * 255).permute(0, 2, 3, 1).numpy()):
        yield np.abs(levels - expected(geometry, windows, row, dataset.paths[row]).astype(np.float64))


@pytest.mark.parametrize("geometry", RESIZED, ids=repr)
def test_resized_pixels_are_within_one_level_of_pillows(drawn, geometry):
    for difference in differences(drawn, geometry):
        if "'nearest'" in repr(geometry):
            assert difference.max() < 0.01
        else:
            assert np.quantile(difference, 0.999) < 1.01
            assert difference.max() < (
                1.01 if "'bilinear'" in repr(geometry) else 2.01
            )  # drawn edges; photos stay below 1


@pytest.mark.parametrize("geometry", CUT, ids=repr)
@pytest.mark.parametrize("augment", [None, unchanged])
def test_cut_pixels_are_those_of_the_image_and_its_padding(drawn, geometry, augment):
    for difference in differences(drawn, geometry, augment=augment):
        assert difference.max() < 0.01


@pytest.mark.parametrize("geometry", RESIZED, ids=repr)
def test_with_augment_dali_resizes_in_the_same_way(drawn, geometry):
    for difference in differences(drawn, geometry, augment=unchanged):
        assert difference.mean() < (
            1.5 if "'nearest'" in repr(geometry) else 0.4
        )  # at its edges DALI differs by more levels
        assert np.median(difference) < 0.01


def test_images_of_one_size_need_no_crop(tmp_path):
    for i in range(3):
        picture(20, 30, i).save(tmp_path / f"{i}.png")
    same = dm.FileList([tmp_path / f"{i}.png" for i in range(3)], [0, 1, 2])
    for geometry, shape in ((dm.KeepSize(), (20, 30)), (dm.Resize(10), (10, 15)), (dm.Resize(10, 12), (8, 12))):
        pipeline = dm.ImagePipeline(geometry=geometry)
        with pytest.raises(
            ValueError, match=r"geometry must be of a fixed size, got .*; a Loader takes the size from its dataset"
        ):
            _ = pipeline.size
        ((images, _),) = dm.Loader(same, pipeline, batch_size=3, device="cpu")
        assert images.shape == (3, 3, *shape)


def test_images_as_they_are_are_not_resized():
    geometry = dm.KeepSize()
    assert (geometry.output, geometry.interpolation, geometry.border) == (None, None, None)
    windows = geometry.windows(*one(20, 30), np.empty((1, 0)))
    assert windows.interpolation is None
    assert (*windows.anchor[0], *windows.shape[0], *windows.resized[0], *windows.offset[0]) == (
        0,
        0,
        *[20, 30] * 2,
        0,
        0,
    )


@pytest.mark.parametrize("geometry", [dm.KeepSize(), dm.Resize(10)])
def test_images_of_several_sizes_need_one(drawn, geometry):
    with pytest.raises(
        ValueError, match=r"geometry must give all images the same size, and .* gives 5 sizes from .* x .*; add a crop"
    ):
        dm.Loader(drawn, dm.ImagePipeline(geometry=geometry), batch_size=1)


def test_sizes_that_differ_are_named_from_the_smallest_to_the_largest():
    height, width = np.array([113, 61, 60, 61], np.int32), np.array([59, 61, 80, 61], np.int32)
    with pytest.raises(ValueError, match=r"KeepSize\(\) gives 3 sizes from 60 x 80 to 113 x 59; add a crop"):
        dm.KeepSize().settled(height, width)


@pytest.mark.parametrize("resize", [None, dm.Resize(7), dm.Resize(20, 30), dm.Resize((20, 20))], ids=repr)
def test_a_centre_crop_without_fill_needs_the_short_side_resized(resize):
    """Only then no image is smaller than the crop."""
    with pytest.raises(ValueError, match="fill must be a level from 0 to 255, or three, unless an int resizes"):
        dm.CenterCrop(8, resize, fill=None)
    assert dm.CenterCrop(8, dm.Resize(8), fill=None).border is None


def test_images_too_small_for_a_random_crop_are_named(drawn):
    with pytest.raises(
        ValueError, match=r"3 images such as .*0.png \(60 x 80 pixels\) have too few pixels for RandomCrop\(size=61"
    ):
        dm.Loader(drawn, dm.ImagePipeline(geometry=dm.RandomCrop(61)), batch_size=1)
    height, width = np.array([4, 5, 100], np.int32), np.array([99, 99, 99], np.int32)
    assert dm.RandomCrop(8, padding=4, padding_mode="reflect").too_small(height, width).tolist() == [True, False, False]
    assert dm.RandomCrop(8, padding=4, padding_mode="symmetric").too_small(height, width).tolist() == [
        False,
        False,
        False,
    ]
    assert dm.RandomCrop(50, pad_if_needed=True).too_small(height, width).tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.Resize(0), ValueError, "size must be an int of at least 1, got 0"),
        (lambda: dm.Resize((8, 8), 9), ValueError, "max_size must be None where size is height and width, got 9"),
        (lambda: dm.Resize(8, 8), ValueError, r"max_size must be more than size \(8\), got 8"),
        (lambda: dm.Resize(None), TypeError, "max_size must be an int of at least 1, got None"),
        (
            lambda: dm.Resize(8, interpolation="box"),
            ValueError,
            'interpolation must be "nearest", "bilinear", "bicubic" or "lanczos", got',
        ),
        (lambda: dm.RandomResizedCrop(8, interpolation="cubic"), ValueError, "interpolation must be"),
        (lambda: dm.ResizeCenterCrop(8, 8, interpolation=2), ValueError, "interpolation must be"),
        (lambda: dm.CenterCrop(8, 9), TypeError, "resize must be a Resize or None, got 9"),
        (
            lambda: dm.CenterCrop(8, fill=256),
            ValueError,
            "fill must be a level from 0 to 255, or three for R, G and B, got 256",
        ),
        (lambda: dm.RandomCrop(8, padding=-1), ValueError, "padding must be an int of at least 0, got -1"),
        (
            lambda: dm.RandomCrop(8, padding=(1, 2, 3)),
            ValueError,
            r"padding must be an int, a pair or four ints, got \(1, 2, 3\)",
        ),
        (lambda: dm.RandomCrop(8, padding_mode="wrap"), ValueError, "padding_mode must be .* got 'wrap'"),
        (
            lambda: dm.RandomCrop(8, pad_if_needed=True, padding_mode="edge"),
            ValueError,
            "pad_if_needed must be False where padding_mode",
        ),
        (lambda: dm.RandomCrop(8, fill=0.5), TypeError, "fill must be a level"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
