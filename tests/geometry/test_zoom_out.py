"""RandomZoomOut: torchvision's canvases, and the pixels on them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional, v2

import dali_mixup as dm
from dali_mixup.decode.scaled import scales_of
from tests.conftest import picture

COUNT = 500
HEIGHT, WIDTH = np.random.default_rng(0).integers(1, 900, (2, COUNT))
FILL = (10, 200, 30)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Lossless images of several sizes."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        picture(30 + 3 * i, 60 - 2 * i, i).save(root / f"{i}.png")
    return dm.FileList([root / f"{i}.png" for i in range(12)], list(range(12)))


def unchanged(images):
    """An `augment` that makes DALI crop and resize."""
    return images


def loaded(dataset, geometry, **options):
    pipeline = dm.ImagePipeline(geometry=geometry, mean=(0, 0, 0), std=(1 / 255,) * 3, **options)
    loader = dm.Loader(dataset, pipeline, batch_size=len(dataset), device="cpu", seed=3)
    ((images, _),) = loader
    return images, loader.plan.batch(0, None, next(loader.plan.steps())).windows


def test_canvases_are_torchvisions_for_the_same_random_numbers(monkeypatch):
    zoom_out = v2.RandomZoomOut(side_range=(1.2, 3.7))
    uniform = np.random.default_rng(1).random((COUNT, 4))
    uniform[:, 0] = 0
    windows = dm.RandomZoomOut(dm.Resize((7, 9)), side_range=(1.2, 3.7)).windows(HEIGHT, WIDTH, uniform)
    for row, (height, width) in enumerate(zip(HEIGHT.tolist(), WIDTH.tolist(), strict=True)):
        numbers = iter([uniform[row, 1:2], uniform[row, 2:]])
        monkeypatch.setattr(torch, "rand", lambda count, numbers=numbers: torch.tensor(next(numbers)).float())
        left, top, right, bottom = zoom_out.make_params([Image.new("L", (width, height))])["padding"]
        assert windows.canvas[row].tolist() == [-top, -left, top + height + bottom, left + width + right]
        assert [*windows.anchor[row], *windows.shape[row]] == [0, 0, height, width]


def test_so_many_get_a_canvas_as_the_probability_says():
    uniform = np.random.default_rng(2).random((COUNT, 4))
    for p in (0.0, 0.3, 1.0):
        windows = dm.RandomZoomOut(dm.Resize((7, 9)), side_range=(2.0, 3.0), p=p).windows(HEIGHT, WIDTH, uniform)
        assert list(windows.canvases()) == np.flatnonzero(uniform[:, 0] < p).tolist()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_pixels_are_those_of_the_padded_image(pictures, interpolation):
    geometry = dm.RandomZoomOut(dm.Resize((40, 50), None, interpolation), FILL, p=0.8)
    images, windows = loaded(pictures, geometry)
    assert 4 < len(windows.canvases()) < 12
    for row, (path, ours) in enumerate(zip(pictures.paths, images, strict=True)):
        top, left, height, width = windows.canvas[row].tolist()
        with Image.open(path) as image:
            margins = [-left, -top, width + left - image.width, height + top - image.height]
            canvas = functional.pad(image, margins, FILL)
            theirs = functional.resize(canvas, [40, 50], functional.InterpolationMode(interpolation))
        difference = (ours.permute(1, 2, 0) - torch.from_numpy(np.array(theirs)).float()).abs()
        assert difference.max() < (1.01 if interpolation == "bilinear" else 0.01)


def test_dali_makes_of_a_canvas_what_the_stage_makes_of_it(pictures):
    geometry = dm.RandomZoomOut(dm.RandomResizedCrop(32, scale=(0.3, 1.0)), FILL, p=0.7)
    images, windows = loaded(pictures, geometry)
    through_dali, _ = loaded(pictures, geometry, augment=unchanged)
    assert windows.canvases()
    assert (images - through_dali).abs().mean() < 0.3
    assert (images - through_dali).abs().max() < 16  # at its edges DALI's filter differs


@pytest.mark.parametrize("augment", [None, unchanged])
def test_a_window_beside_the_image_shows_the_canvas_alone(pictures, augment):
    geometry = dm.RandomZoomOut(dm.RandomResizedCrop(16, scale=(0.01, 0.05)), FILL, (4.0, 4.0), p=1.0)
    images, windows = loaded(pictures, geometry, augment=augment)
    canvas, sides = windows.canvas, windows.shape
    beside = ((canvas[:, :2] >= sides) | (canvas[:, :2] + canvas[:, 2:] <= 0)).any(1)
    assert 2 < beside.sum() < 12
    level = torch.tensor(FILL).float().view(3, 1, 1)
    shown = [bool(((image - level).abs() < 0.01).all()) for image in images]
    assert shown == beside.tolist()


def test_arrays_and_views_are_those_of_files(pictures):
    geometry = dm.RandomZoomOut(dm.RandomResizedCrop(16), 7)
    images, windows = loaded(pictures, geometry)
    arrays = [np.asarray(Image.open(path)) for path in pictures.paths]
    of_arrays, _ = loaded(dm.ArrayDataset(arrays, list(range(12))), geometry)
    assert torch.equal(of_arrays, images)
    pipeline = dm.ImagePipeline(geometry=geometry, mean=(0, 0, 0), std=(1 / 255,) * 3)
    ((views, _),) = dm.Loader(pictures, pipeline, batch_size=12, device="cpu", seed=3, views=2)
    assert torch.equal(views[0], images)
    assert not torch.equal(views[1], images)
    assert windows.rows([3, 1]).canvas.tolist() == windows.canvas[[3, 1]].tolist()


def test_canvases_are_decoded_at_full_size():
    geometry = dm.RandomZoomOut(dm.Resize((10, 10)), side_range=(2.0, 2.0))
    uniform = np.random.default_rng(2).random((COUNT, 4))
    windows = geometry.windows(np.full(COUNT, 500), np.full(COUNT, 500), uniform)
    assert (scales_of(windows) == np.where(uniform[:, 0] < 0.5, 1, 8)).all()


def test_a_canvas_above_max_pixels_is_named(pictures):
    geometry = dm.RandomZoomOut(dm.Resize((8, 8)), side_range=(3.0, 3.0), p=1.0)
    pipeline = dm.ImagePipeline(geometry=geometry)
    loader = dm.Loader(pictures, pipeline, batch_size=12, device="cpu", max_pixels=9000)
    message = r"0\.png.*: too many pixels: on a canvas of 90 x 180 is more than max_pixels=9000"
    with pytest.raises(dm.BadSampleError, match=message):
        next(iter(loader))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.RandomZoomOut(8), TypeError, "geometry must be a RandomResizedCrop or another"),
        (lambda: dm.RandomZoomOut(dm.Resize(8)), ValueError, "geometry must be one that resizes to a fixed size"),
        (lambda: dm.RandomZoomOut(dm.RandomCrop(8)), ValueError, r"geometry must be one that resizes.*Resize\(\(224"),
        (
            lambda: dm.RandomZoomOut(dm.CenterCrop(8, dm.Resize((9, 9)), fill=3), fill=4),
            ValueError,
            r"geometry must be one that pads with fill \(4\), or not at all",
        ),
        (
            lambda: dm.RandomZoomOut(dm.RandomResizedCrop(8, interpolation="random")),
            ValueError,
            "by one interpolation",
        ),
        (lambda: dm.RandomZoomOut(dm.Resize((8, 8)), 256), ValueError, "fill must be a level"),
        (lambda: dm.RandomZoomOut(dm.Resize((8, 8)), p=1.5), ValueError, "p must be a probability"),
        (lambda: dm.RandomZoomOut(dm.Resize((8, 8)), side_range=(0.5, 2.0)), ValueError, "side_range must be a pair"),
    ],
)
def test_options_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
