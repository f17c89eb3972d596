"""Large windows decoded at a fraction of their size: near Pillow's, chosen by the rule, exact elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.decode.scaled import MOST_IN_MEAN, scales_of
from dali_mixup.geometry.geometry import Windows

SIZES = [(960, 1280), (1000, 1288), (1280, 960), (963, 1277)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Smooth photos with some grain; of the last one neither side is a multiple of a block."""
    root = tmp_path_factory.mktemp("large")
    found = []
    for i, (height, width) in enumerate(SIZES):
        generator = np.random.default_rng(i)
        coarse = Image.fromarray(generator.integers(256, size=(12, 16, 3)).astype(np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grain = generator.integers(-6, 7, size=(height, width, 1))
        found.append(root / f"{i}.jpg")
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(found[-1], quality=92, subsampling=i % 3)
    return found


def delivered(dataset, geometry, decode, *, orient=False, **options):
    levels = {"mean": (0, 0, 0), "std": (1 / 255,) * 3}
    pipeline = dm.ImagePipeline(geometry=geometry, decode=decode, orient=orient, **levels)
    loader = dm.Loader(dataset, pipeline, **{"batch_size": 4, "device": "cpu", **options})
    return torch.cat([images for images, _ in loader])


def files(paths):
    return dm.FileList(paths, range(len(paths)), cache=False)


@pytest.mark.parametrize(
    "geometry",
    [
        dm.ResizeCenterCrop(64, 56),
        dm.ResizeCenterCrop(64, 56, interpolation="bicubic"),
        dm.RandomResizedCrop(64, scale=(0.3, 0.6)),
        dm.RandomResizedCrop(32, scale=(0.3, 0.6), interpolation="lanczos"),
    ],
)
def test_it_is_near_the_exact_one_and_not_equal(paths, geometry):
    exact, scaled = (delivered(files(paths), geometry, decode) for decode in ("exact", "scaled"))
    difference = (exact - scaled).abs()
    assert difference.mean() < MOST_IN_MEAN
    assert difference.max() < 12
    assert (difference.flatten(1).amax(1) > 0).sum() >= 3


def test_an_output_that_reaches_a_broken_block_is_exact(paths):
    """Of the last photo; the centre of it isn't touched by its edge."""
    whole = [delivered(files(paths), dm.Resize((32, 32)), decode) for decode in ("exact", "scaled")]
    assert torch.equal(whole[0][3], whole[1][3])
    assert not torch.equal(whole[0][0], whole[1][0])
    centre = [delivered(files(paths), dm.ResizeCenterCrop(64, 32), decode) for decode in ("exact", "scaled")]
    assert not torch.equal(centre[0][3], centre[1][3])


@pytest.mark.parametrize(
    "geometry", [dm.RandomResizedCrop(400), dm.Resize((32, 32), interpolation="nearest"), dm.CenterCrop(64)]
)
def test_small_windows_and_those_without_smoothing_are_exact(paths, geometry):
    assert torch.equal(*(delivered(files(paths), geometry, decode) for decode in ("exact", "scaled")))


def test_a_cut_of_a_pack_gives_the_same(paths, tmp_path):
    dm.pack(files(paths), tmp_path / "pack", progress=False)
    geometry = dm.RandomResizedCrop(48, scale=(0.2, 0.5))
    read, packed = (delivered(data, geometry, "scaled") for data in (files(paths), dm.PackedDataset(tmp_path / "pack")))
    assert (read - packed).abs().mean() < 0.2
    exact = delivered(files(paths), geometry, "exact")
    assert 0 < (exact - packed).abs().mean() < MOST_IN_MEAN


def test_a_bad_file_is_named_and_others_stay(paths, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[0].read_bytes()[:-5000])
    data = dm.FileList([paths[1], broken, paths[2]], range(3), cache=False)
    geometry = dm.ResizeCenterCrop(64, 56)
    with pytest.raises(dm.BadSampleError, match=r"broken\.jpg: truncated"):
        delivered(data, geometry, "scaled")
    with pytest.warns(dm.BadFileWarning):
        found = delivered(data, geometry, "scaled", on_bad_sample="replace", max_bad_fraction=1.0)
    good = delivered(files(paths), geometry, "scaled")
    assert torch.equal(found[[0, 2]], good[[1, 2]])


def test_photos_held_upright_differ_by_no_more_and_those_that_are_turned_not_at_all(paths, tmp_path):
    turned = [tmp_path / f"{orientation}.jpg" for orientation in range(1, 9)]
    for orientation, path in enumerate(turned, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(paths[0]) as image:
            image.save(path, quality=92, exif=exif)
    dm.pack(files(turned), tmp_path / "pack", progress=False)
    geometry = dm.RandomResizedCrop(48, scale=(0.3, 0.6))
    for dataset in (files(turned), dm.PackedDataset(tmp_path / "pack")):
        exact, scaled = (delivered(dataset, geometry, decode, orient=True) for decode in ("exact", "scaled"))
        difference = (exact - scaled).abs().flatten(1).mean(1)
        assert 0 < difference[0] < MOST_IN_MEAN
        assert difference[1:].tolist() == [0.0] * 7
        stored = delivered(dataset, geometry, "exact")
        assert not torch.equal(stored[2], exact[2])


def test_the_scale_leaves_twice_the_output():
    shape = np.array([(895, 2000), (896, 896), (1791, 5000), (1792, 1792), (3583, 9000), (3584, 3584), (9000, 9000)])
    resized = np.full((7, 2), 224)
    windows = Windows(anchor=0 * shape, shape=shape, resized=resized, offset=0 * shape)
    assert scales_of(windows).tolist() == [1, 2, 2, 4, 4, 8, 8]
    assert scales_of(replace(windows, interpolation=np.zeros(7, np.int32))).tolist() == [1] * 7


def test_a_state_belongs_to_one_way_of_decoding(paths):
    exact = dm.ImagePipeline(geometry=dm.Resize((32, 32)))
    first = dm.Loader(files(paths), exact, batch_size=2, device="cpu")
    second = dm.Loader(files(paths), replace(exact, decode="scaled"), batch_size=2, device="cpu")
    with pytest.raises(ValueError, match="decode"):
        second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="decode"):
        first.load_state_dict(second.state_dict())


def test_it_must_be_a_known_way_without_dali_operators():
    with pytest.raises(ValueError, match='decode must be "exact" or "scaled", got \'fast\''):
        dm.ImagePipeline(geometry=dm.Resize((32, 32)), decode="fast")
    with pytest.raises(ValueError, match='decode must be "exact" with augment'):
        dm.ImagePipeline(geometry=dm.Resize((32, 32)), decode="scaled", augment=lambda images: images)
