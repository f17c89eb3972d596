"""Images held upright: Pillow's `ImageOps.exif_transpose`, then all else as without."""

import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision
from dali_mixup.dataset.orientation import turn
from dali_mixup.dataset.pillow import orientation_of
from dali_mixup.dataset.source import BytesSource
from tests.conftest import noise, picture

functional = import_torchvision("torchvision.transforms.v2.functional")
EXIF_ORIENTATION = 0x0112
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
COUNT = 24
LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # so that 255 times a value is a level


def encoded(number):
    """Each orientation as a JPEG (one of them progressive), a PNG and a WebP; 0 stands for none."""
    image = picture(50 + number, 100 - number, number)
    exif = Image.Exif()
    if number % 9:
        exif[EXIF_ORIENTATION] = number % 9
    extension = list(FORMATS)[number // 9]
    options = {"progressive": number == 5, "quality": 90} if extension == "jpg" else {"lossless": True}
    file = io.BytesIO()
    image.save(file, FORMATS[extension], exif=exif, **options)
    return file.getvalue(), extension


def upright(path):
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    for number in range(COUNT):
        content, extension = encoded(number)
        path = folder / "ab"[number * 2 // COUNT] / f"{number:02}.{extension}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def stores(root, tmp_path_factory):
    """The same images in each kind of store that holds encoded ones."""
    aside = tmp_path_factory.mktemp("aside")
    files = dm.ImageFolder(root, cache=False, progress=False)
    paths, labels = [Path(path) for path in files.paths], files.targets.tolist()
    with tarfile.open(aside / "all.tar", "w") as tar:
        for path, label in zip(paths, labels, strict=True):
            name = str(path.relative_to(root))
            tar.add(path, name)
            member = tarfile.TarInfo(str(Path(name).with_suffix(".cls")))
            member.size = 1
            tar.addfile(member, io.BytesIO(str(label).encode()))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": path.read_bytes(), "path": None} for path in paths], "label": labels}
    dm.pack(files, aside / "pack", progress=False)
    dm.pack(dm.PackedDataset(aside / "pack"), aside / "again", progress=False)
    return {
        "files": files,
        "tar": dm.TarDataset(aside / "all.tar", progress=False),
        "huggingface": dm.HFDataset(datasets.Dataset.from_dict(rows, features), progress=False),
        "bytes": dm.BytesDataset(lambda number: paths[number].read_bytes(), labels, progress=False),
        "pack": dm.PackedDataset(aside / "pack"),
        "pack of a pack": dm.PackedDataset(aside / "again"),
    }


STORES = ("files", "tar", "huggingface", "bytes", "pack", "pack of a pack")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it(orientation):
    image = picture(7, 11, 0)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    assert orientation_of(BytesSource(file.getvalue())) == orientation
    with Image.open(file) as written:
        expected = np.asarray(ImageOps.exif_transpose(written))
    np.testing.assert_array_equal(turn(np.asarray(image), orientation), expected)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\x00\x10Exif\0\0MM\0\x2a\xff\xff\xff\xff"])
def test_what_holds_no_orientation_is_upright(content):
    assert orientation_of(BytesSource(content)) == 1


@pytest.mark.parametrize("value", [0, 9, 600])
def test_an_orientation_that_does_not_exist_is_upright(value):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = value
    file = io.BytesIO()
    picture(8, 8, 0).save(file, "JPEG", exif=exif)
    assert orientation_of(BytesSource(file.getvalue())) == 1


@pytest.mark.parametrize("store", STORES)
def test_whole_images_are_pillows(root, stores, store):
    files, dataset = stores["files"], stores[store]
    largest = 128
    pipeline = dm.ImagePipeline(geometry=dm.CenterCrop(largest), orient=True, **LEVELS)
    loader = dm.Loader(dataset, pipeline, batch_size=5, device="cpu")
    levels = torch.cat([(255 * images).round().to(torch.uint8) for images, _ in loader])
    for found, path in zip(levels, files.paths, strict=True):
        expected = functional.center_crop(functional.pil_to_tensor(upright(path)), [largest, largest])
        assert torch.equal(found, expected), path


@pytest.mark.parametrize("store", STORES)
def test_random_windows_are_those_of_files_that_were_turned_before(stores, store, tmp_path):
    files = stores["files"]
    turned = [tmp_path / f"{number:02}.png" for number in range(COUNT)]
    for path, copy in zip(files.paths, turned, strict=True):
        upright(path).save(copy)
    ready = dm.FileList(turned, files.targets, cache=False, progress=False)
    for geometry in (dm.RandomResizedCrop(32), dm.RandomCrop(40, 8, resize=dm.Resize(44)), dm.RandomCrop(48)):
        pipelines = [dm.ImagePipeline(geometry=geometry, flip=0.5, orient=orient) for orient in (True, False)]
        options = {"batch_size": 7, "shuffle": True, "mixup": dm.MixUp(), "device": "cpu"}
        ours, theirs = dm.Loader(stores[store], pipelines[0], **options), dm.Loader(ready, pipelines[1], **options)
        for (images, targets), (expected, labels) in zip(ours, theirs, strict=True):
            assert torch.equal(targets, labels)
            assert torch.equal(images, expected)


def test_dalis_own_operators_see_upright_images(stores, tmp_path):
    files = stores["files"]
    turned = [tmp_path / f"{number:02}.png" for number in range(COUNT)]
    for path, copy in zip(files.paths, turned, strict=True):
        upright(path).save(copy)
    ready = dm.FileList(turned, files.targets, cache=False, progress=False)
    options = {"geometry": dm.RandomResizedCrop(32), "augment": noise}
    ours, theirs = (
        list(dm.Loader(dataset, dm.ImagePipeline(orient=orient, **options), batch_size=7, device="cpu"))
        for dataset, orient in ((files, True), (ready, False))
    )
    for (images, _), (expected, _) in zip(ours, theirs, strict=True):
        assert torch.equal(images, expected)


def test_without_it_images_come_as_they_are_stored(stores):
    files = stores["files"]
    pipeline = dm.ImagePipeline(geometry=dm.CenterCrop(128), **LEVELS)
    levels = torch.cat([(255 * images).round() for images, _ in dm.Loader(files, pipeline, batch_size=5, device="cpu")])
    for found, path in zip(levels.to(torch.uint8), files.paths, strict=True):
        with Image.open(path) as image:
            expected = functional.center_crop(functional.pil_to_tensor(image.convert("RGB")), [128, 128])
        assert torch.equal(found, expected)


def test_sizes_are_checked_as_they_are_held(tmp_path):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    for number in range(4):
        picture(20, 30, number).save(tmp_path / f"{number}.jpg", exif=exif)
    dataset = dm.FileList(sorted(tmp_path.glob("*.jpg")), [0] * 4, cache=False, progress=False)
    kept = dm.Loader(dataset, dm.ImagePipeline(geometry=dm.KeepSize(), orient=True), batch_size=2, device="cpu")
    assert next(iter(kept))[0].shape == (2, 3, 30, 20)
    tall = dm.ImagePipeline(geometry=dm.RandomCrop((30, 20)), orient=True)
    assert next(iter(dm.Loader(dataset, tall, batch_size=2, device="cpu")))[0].shape == (2, 3, 30, 20)
    with pytest.raises(ValueError, match=r"\(30 x 20 pixels\) have too few pixels"):
        dm.Loader(dataset, dm.ImagePipeline(geometry=dm.RandomCrop((20, 30)), orient=True), batch_size=2, device="cpu")


def test_a_bad_file_that_should_be_turned_is_named_and_replaced(root, tmp_path):
    copies = [tmp_path / f"{number:02}{path.suffix}" for number, path in enumerate(sorted(root.rglob("*.*")))]
    for path, copy in zip(sorted(root.rglob("*.*")), copies, strict=True):
        copy.write_bytes(path.read_bytes())
    dataset = dm.FileList(copies, [0] * COUNT, cache=False, progress=False)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), orient=True)
    options = {"batch_size": 6, "device": "cpu"}
    before = torch.cat([images.clone() for images, _ in dm.Loader(dataset, pipeline, **options)])
    dataset.orientations()
    copies[7].write_bytes(copies[7].read_bytes()[:900])
    with pytest.raises(dm.BadSampleError, match=r"07\.jpg"):
        list(dm.Loader(dataset, pipeline, **options))
    replacing = dm.Loader(dataset, pipeline, on_bad_sample="replace", max_bad_fraction=0.5, **options)
    with pytest.warns(dm.BadFileWarning):
        after = torch.cat([images.clone() for images, _ in replacing])
    good = [number for number in range(COUNT) if number != 7]
    assert torch.equal(after[good], before[good])
    assert [sample.number for sample in replacing.bad_samples] == [7]


def test_orient_must_be_a_bool():
    with pytest.raises(TypeError, match="orient must be True or False, got 1"):
        dm.ImagePipeline(geometry=dm.CenterCrop(8), orient=1)


def test_orientations_are_read_once_and_again_of_files_that_changed(root, tmp_path, monkeypatch):
    paths = []
    for number, path in enumerate(sorted(root.rglob("*.*"))):
        paths.append(tmp_path / f"{number:02}{path.suffix}")
        paths[-1].write_bytes(path.read_bytes())
    first = dm.FileList(paths, [0] * COUNT, progress=False).orientations()
    assert len(set(first.tolist())) == 8
    asked, orientation = [], dm.FileList.orientation
    monkeypatch.setattr(
        dm.FileList, "orientation", lambda self, number: asked.append(number) or orientation(self, number)
    )
    np.testing.assert_array_equal(dm.FileList(paths, [0] * COUNT, progress=False).orientations(), first)
    np.testing.assert_array_equal(dm.FileList(paths[3:9], [0] * 6, progress=False).orientations(), first[3:9])
    assert asked == []
    paths[7].write_bytes(paths[8].read_bytes())
    again = dm.FileList(paths, [0] * COUNT, progress=False).orientations()
    assert asked == [7]
    assert again.tolist() == [*first[:7], first[8], *first[8:]]


def test_a_damaged_cache_of_orientations_is_read_afresh(root, cache_folder):
    expected = dm.ImageFolder(root, progress=False).orientations()
    (file,) = cache_folder.glob("*.orientations")
    for content in (b"", file.read_bytes()[:-3] + b"abc", b"x" * 300):
        file.write_bytes(content)
        np.testing.assert_array_equal(dm.ImageFolder(root, progress=False).orientations(), expected)


def test_nothing_is_kept_without_a_cache(root, cache_folder):
    dm.ImageFolder(root, cache=False, progress=False).orientations()
    assert not list(cache_folder.glob("*.orientations"))
