"""A pack of pixels gives the batches of what was packed, past any decoder, and one that was damaged is refused."""

import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image, ImageOps
from webdataset.tariterators import group_by_keys, tar_file_expander

import dali_mixup as dm
from dali_mixup.decode.pixels import are_gathered, need_dali
from tests.conftest import noise, picture
from tests.dataset.damaged_packs import check_refused, edit_index

COUNT = 430  # of 5 kB each: three shards of a megabyte
SMALL = dm.RandomCrop(32, 4, padding_mode="reflect")


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return dm.ArrayDataset(
        rng.integers(0, 256, (COUNT, 32, 32, 3), np.uint8), rng.integers(0, 3, COUNT), ["a", "b", "c"]
    )


@pytest.fixture(scope="module")
def small(arrays, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "small"
    dm.pack(arrays, out, pixels=True, shard_mb=1, progress=False)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A JPEG, a PNG and a WebP of each EXIF orientation and of as many sizes."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(24):
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        path = root / "ab"[number % 2] / f"{number:02}.{('jpg', 'png', 'webp')[number // 8]}"
        path.parent.mkdir(exist_ok=True)
        picture(50 + number, 100 - number, number).save(path, exif=exif, lossless=True)
    return dm.ImageFolder(root, cache=False, progress=False)


@pytest.fixture(scope="module")
def large(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "large"
    report = dm.pack(folder, out, pixels=True, progress=False)
    assert (report.samples, report.cuttable) == (24, 24)
    return out


def loader(dataset, geometry=SMALL, batch_size=64, orient=False, augment=None, **options):
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5, orient=orient, augment=augment)
    return dm.Loader(
        dataset,
        pipeline,
        **{"batch_size": batch_size, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", **options},
    )


def epoch(made):
    return [(images.clone(), targets) for images, targets in made]


def same(first, second):
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "geometry",
    [SMALL, dm.RandomCrop(24), dm.CenterCrop(40, fill=3), dm.KeepSize(), dm.RandomResizedCrop(20), dm.Resize((40, 30))],
)
def test_batches_over_several_shards_are_those_of_the_arrays(arrays, small, geometry):
    packed = dm.PackedDataset(small)
    assert repr(packed) == f"PackedDataset({COUNT} samples in 3 shards, 3 classes)"
    theirs, ours = loader(arrays, geometry), loader(packed, geometry)
    assert same(epoch(theirs), epoch(ours))
    ours.load_state_dict(theirs.state_dict())  # nameless arrays are known by their pixels
    assert same(epoch(theirs), epoch(ours))


def test_it_takes_the_path_of_arrays(arrays, small):
    packed = dm.PackedDataset(small)
    pipeline = dm.ImagePipeline(geometry=SMALL, flip=0.5)
    assert not need_dali(packed, [pipeline], torch.device("cpu"))
    assert are_gathered(packed, pipeline, torch.device("cuda"))
    numbers = np.array([429, 0, 200, 0, 199, 428])
    np.testing.assert_array_equal(packed.whole(numbers), arrays.whole(numbers))


def test_dalis_operators_get_the_same_pixels(arrays, small):
    datasets = (arrays, dm.PackedDataset(small))
    assert same(*(epoch(loader(each, augment=noise)) for each in datasets))


@pytest.mark.parametrize("orient", [False, True])
@pytest.mark.parametrize(
    "geometry",
    [
        dm.RandomResizedCrop(32),
        dm.RandomCrop(40, 8, resize=dm.Resize(44)),
        dm.RandomCrop(48),
        dm.CenterCrop(120, fill=9),
    ],
)
def test_batches_of_many_sizes_are_those_of_the_files(folder, large, geometry, orient):
    datasets = (folder, dm.PackedDataset(large))
    files, read = (loader(each, geometry, 5, orient) for each in datasets)
    for _ in range(2):
        assert same(epoch(files), epoch(read))
    files.load_state_dict(read.state_dict())
    assert same(epoch(files), epoch(read))


def test_images_of_one_size_are_turned_upright(tmp_path):
    for number in range(8):
        exif = Image.Exif()
        exif[0x0112] = 1 + number
        picture(32, 32, number).save(tmp_path / f"{number}.png", exif=exif)
    files = dm.FileList(sorted(tmp_path.glob("*.png")), range(8), cache=False, progress=False)
    dm.pack(files, tmp_path / "pack", pixels=True, progress=False)
    levels = {"mean": (0, 0, 0), "std": (1 / 255,) * 3}
    for orient in (False, True):
        pipeline = dm.ImagePipeline(geometry=dm.CenterCrop(32), orient=orient, **levels)
        ((images, _),) = dm.Loader(dm.PackedDataset(tmp_path / "pack"), pipeline, batch_size=8, device="cpu")
        for found, path in zip(images, files.paths, strict=True):
            with Image.open(path) as image:
                expected = np.asarray(ImageOps.exif_transpose(image) if orient else image)
            np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_it_knows_what_the_folder_knew(folder, large):
    packed = dm.PackedDataset(large)
    assert isinstance(packed, dm.PackedDataset)
    assert packed.classes == folder.classes
    assert packed.fingerprint() == folder.fingerprint()
    np.testing.assert_array_equal(packed.targets, folder.targets)
    assert packed.name(1) == "shard-000000.tar: a/02.jpg"
    image, target = packed[9]
    with Image.open(folder.paths[9]) as original:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(original.convert("RGB")))
    assert target == folder.targets[9]


def test_any_reader_of_webdatasets_finds_arrays_and_targets(folder, large):
    with open(large / "shard-000000.tar", "rb") as stream:
        members = tar_file_expander([{"url": "", "stream": stream}])
        samples = list(webdataset.decode()(group_by_keys(members)))
    assert len(samples) == 24
    for sample, path, target in zip(samples, folder.paths, folder.targets, strict=True):
        with Image.open(path) as image:
            np.testing.assert_array_equal(sample["npy"], np.asarray(image.convert("RGB")))
        assert sample["cls"] == target
    with tarfile.open(large / "shard-000000.tar") as tar:
        (first, *_) = tar.getnames()
        np.testing.assert_array_equal(np.load(io.BytesIO(tar.extractfile(first).read())), samples[0]["npy"])


def test_a_copy_holds_no_pixels_and_maps_its_own(arrays, small):
    packed = dm.PackedDataset(small)
    before = epoch(loader(packed))
    copy = pickle.dumps(packed)
    assert len(copy) < arrays.heights.size * 32 * 32
    assert same(before, epoch(loader(pickle.loads(copy))))


def test_large_pixels_are_refused_or_replaced_as_those_of_files(folder, large):
    options = {"max_pixels": 70 * 80, "on_bad_sample": "replace", "max_bad_fraction": 0.9}
    with pytest.warns(dm.BadFileWarning, match=r"shard-000000\.tar: [ab]/"):
        ours = epoch(loader(dm.PackedDataset(large), dm.RandomResizedCrop(32), 6, **options))
    with pytest.warns(dm.BadFileWarning):
        assert same(ours, epoch(loader(folder, dm.RandomResizedCrop(32), 6, **options)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda pack: _flip(pack / "offset.npy", 200), r"offset\.npy is damaged"),
        (lambda pack: _flip(pack / "shard.npy", 140), r"shard\.npy is damaged"),
        (lambda pack: (pack / "size.npy").unlink(), r"size\.npy can't be read"),
        (lambda pack: edit_index(pack, pixels=False), r"index\.json is damaged"),
        (lambda pack: edit_index(pack, version=1), r"the version of .* must be 3, got 1; pack it again"),
        (lambda pack: (pack / "index.json").unlink(), r"a folder that `dali-mixup pack` wrote.* no index\.json"),
        (lambda pack: (pack / "shard-000002.tar").unlink(), r"shard-000002\.tar can't be read"),
        (
            lambda pack: _cut(pack / "shard-000001.tar"),
            r"shard-000001\.tar must have \d+ bytes, has \d+; pack it again",
        ),
    ],
)
def test_a_damaged_pack_is_refused(small, tmp_path, damage, message):
    check_refused(small, tmp_path, damage, message)


def test_a_shard_that_is_cut_before_it_is_needed_is_named(small, tmp_path):
    pack = tmp_path / "pack"
    shutil.copytree(small, pack)
    packed = dm.PackedDataset(pack)
    _cut(pack / "shard-000001.tar")
    with pytest.raises(dm.DatasetError, match=r"shard-000001\.tar must have \d+ bytes, has \d+"):
        list(loader(packed))


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-2000])
