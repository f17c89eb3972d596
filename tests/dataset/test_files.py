import os
import shutil

import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder as TorchvisionImageFolder

import dali_mixup as dm
from tests.conftest import jpeg_bytes


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg_bytes(20, 30) if content is None else content)


def test_order_classes_and_targets_equal_torchvision_on_an_odd_tree(tmp_path):
    names = [
        "b/2.jpg", "b/10.jpg", "b/1.JPG", "B/x.jpeg", "a/deep/er/1.jpg", "a/deep/1.jpg", "a/deep-2/1.jpg",
        "a/1.PNG", "a/z/1.jpg",
        "ä ö/naïve name.jpg", "10/1.webp", "9/1.jpg", "9/.hidden.jpg", "with space/a b.jpg",
        "new\nline/a\n.jpg", "9/notes.txt", "9/jpg",
        "a.b/1.tif", "a.b/1.jpg.bak", "a.b/2.PpM",
    ]  # fmt: skip
    for name in names:
        write(tmp_path / name)
    os.symlink(tmp_path / "9", tmp_path / "link", target_is_directory=True)
    write(tmp_path / "loose.jpg")

    ours, theirs = dm.ImageFolder(tmp_path), TorchvisionImageFolder(tmp_path)

    assert list(ours.paths) == [path for path, _ in theirs.samples]
    assert ours.targets.tolist() == theirs.targets
    assert ours.classes == theirs.classes
    assert ours.class_to_idx == theirs.class_to_idx
    assert list(ours.samples) == list(ours.imgs) == theirs.samples
    assert ours.samples[-3:] == theirs.samples[-3:]
    assert ours.root == str(theirs.root)
    assert len(list(ours)) == len(theirs)  # a loop over it ends


def test_links_that_lead_back_are_not_followed(tmp_path):
    for name in ("cat/1.jpg", "cat/deep/er/2.jpg", "dog/3.jpg"):
        write(tmp_path / name)
    before = list(dm.ImageFolder(tmp_path).paths)
    for link in ("cat/self", "cat/me", "cat/deep/up", "cat/deep/er/up", "dog/self", "dog/me"):
        os.symlink((tmp_path / link).parent, tmp_path / link)
    os.symlink("../..", tmp_path / "cat/deep/top")
    assert [path for path in dm.ImageFolder(tmp_path).paths if "top" not in path] == before


def test_links_to_folders_beside_are_followed_as_torchvision_does(tmp_path):
    for name in ("cat/1.jpg", "cat/deep/er/2.jpg", "dog/3.jpg"):
        write(tmp_path / name)
    os.symlink("../dog", tmp_path / "cat/dogs")
    os.symlink("../cat/deep", tmp_path / "dog/a")
    os.symlink("../cat/deep", tmp_path / "dog/b")
    os.symlink("nowhere", tmp_path / "dog/c")
    found = [path for path, _ in TorchvisionImageFolder(tmp_path).samples]
    assert list(dm.ImageFolder(tmp_path).paths) == found
    assert len(found) == 8


def test_order_equals_torchvisions_on_photos(photos):
    assert list(dm.ImageFolder(photos).paths) == [path for path, _ in TorchvisionImageFolder(photos).samples]


def test_names_that_are_not_utf_8_are_found_and_loaded(tmp_path, dataset):
    folder = os.fsencode(tmp_path) + b"/class \xff"
    os.mkdir(folder)
    with open(folder + b"/caf\xe9.jpg", "wb") as file:
        file.write(jpeg_bytes(20, 30))
    found = dm.ImageFolder(tmp_path)
    assert os.fsencode(found.paths[0]) == folder + b"/caf\xe9.jpg"
    assert dm.Loader(found, dm.ImagePipeline(geometry=dm.ResizeCenterCrop(8, 8)), batch_size=1).__iter__().__next__()[
        0
    ].shape == (
        1,
        3,
        8,
        8,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda root: shutil.rmtree(root),
            "root must be a folder with one folder of images per class, got '.*'; it is no folder",
        ),
        (lambda root: None, "root must be a folder .*; it holds no folders; for plain files use FileList"),
        (lambda root: write(root / "1.jpg"), "it holds no folders; for plain files use FileList"),
        (lambda root: (root / "cat").mkdir(), "each class folder must hold an image .* but 'cat' of '.*' hold none"),
        (
            lambda root: (write(root / "dog/1.jpg"), write(root / "cat/1.txt")),
            "but 'cat' of '.*' hold none; remove or fill them",
        ),
    ],
)
def test_a_folder_that_is_no_dataset_is_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(dm.DatasetError, match=message):
        dm.ImageFolder(tmp_path)
    with pytest.raises(FileNotFoundError):  # what torchvision's users catch
        dm.ImageFolder(tmp_path)


def test_targets_that_do_not_fit_are_refused(folder):
    paths = list(dm.ImageFolder(folder).paths)[:3]
    with pytest.raises(
        dm.DatasetError, match=r"targets must be one per sample \(3 samples\), got a int64 array of shape \(2,\)"
    ):
        dm.FileList(paths, [0, 1])
    with pytest.raises(dm.DatasetError, match=r"targets\[2\] must be a class index from 0 to 1, got 2"):
        dm.FileList(paths, [0, 1, 2], classes=["x", "y"])
    with pytest.raises(dm.DatasetError, match=r"targets\[1\] must be a class index from 0 to 1, got -1"):
        dm.FileList(paths, [0, -1, 0], classes=["x", "y"])
    with pytest.raises(TypeError, match="targets must be integers"):
        dm.FileList(paths, ["a", "b", "c"])
    with pytest.raises(dm.DatasetError, match="convert multi-label targets to float32"):
        dm.FileList(paths, [[0, 1], [1, 0], [0, 0]])
    with pytest.raises(dm.DatasetError, match="paths must be at least one file"):
        dm.FileList([], [])


def test_float_targets_keep_their_shape(folder):
    paths = list(dm.ImageFolder(folder).paths)[:3]
    assert dm.FileList(paths, torch.eye(3).double()).targets.dtype == np.float32
    assert dm.FileList(paths, np.zeros((3, 2, 5))).targets.shape == (3, 2, 5)


def test_items_are_torchvisions_also_through_a_transform_and_in_a_dataloader(folder):
    from torch.utils.data import DataLoader, Subset
    from torchvision.transforms import ToTensor

    ours, theirs = dm.ImageFolder(folder), TorchvisionImageFolder(folder)
    for index in (0, 11, -1, np.int64(3)):
        (image, target), (expected, expected_target) = ours[index], theirs[index]
        assert image.mode == expected.mode
        assert image.tobytes() == expected.tobytes()
        assert (target, type(target)) == (expected_target, int)
    with pytest.raises(IndexError):
        ours[23]
    ours.transform = theirs.transform = ToTensor()
    rest = range(17, 23)
    batches, expected_batches = (DataLoader(Subset(each, rest), num_workers=1) for each in (ours, theirs))
    for (images, targets), (expected, expected_targets) in zip(batches, expected_batches, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(targets, expected_targets)


def test_an_item_that_cannot_be_decoded_is_named_with_the_reason(tmp_path):
    write(tmp_path / "c/1.jpg", b"hello")
    write(tmp_path / "c/2.jpg")
    with pytest.warns(dm.BadFileWarning):
        found = dm.ImageFolder(tmp_path)
    with pytest.raises(dm.BadSampleError, match=r"(?s)sample 0: .*1.jpg: not an image of a supported format"):
        found[0]
    (tmp_path / "c/2.jpg").unlink()
    with pytest.raises(dm.BadSampleError, match=r"(?s)sample 1: .*2.jpg: .*No such file"):
        found[1]


def test_sizes_are_those_of_the_files(dataset):
    from PIL import Image

    for path, height, width in zip(dataset.paths, dataset.heights, dataset.widths, strict=True):
        with Image.open(path) as image:
            assert (width, height) == image.size


def test_bad_files_are_named_at_once_with_the_reason_and_stay_in_the_list(tmp_path):
    write(tmp_path / "c/1.jpg")
    write(tmp_path / "c/2.jpg", b"")
    write(tmp_path / "c/3.jpg", b"hello")
    write(tmp_path / "c/4.jpg", jpeg_bytes(20, 30)[:100])
    write(tmp_path / "c/5.jpg")
    with pytest.warns(
        dm.BadFileWarning,
        match=(
            r"(?s)3 of 5 files can't be read as images: .*2.jpg \(empty file\), .*3.jpg "
            r"\(not an image of a supported format\).*4.jpg \(trunc"
        ),
    ):
        found = dm.ImageFolder(tmp_path)
    assert len(found) == 5
    assert found.bad_files == {
        1: "empty file",
        2: "not an image of a supported format",
        3: "truncated at byte 100: no frame header",
    }
    assert found.heights.tolist() == [20, 0, 0, 0, 20]


def test_a_missing_file_is_named(folder, tmp_path):
    with pytest.warns(UserWarning, match=r"gone.jpg \(missing\)"):
        dm.FileList([*dm.ImageFolder(folder).paths, tmp_path / "gone.jpg"], [0] * 24)


def test_the_fingerprint_knows_names_targets_and_order(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(4)]
    for path in paths:
        path.write_bytes(jpeg_bytes(20, 20))
    prints = {
        dm.FileList(files, targets, cache=False).fingerprint()
        for files, targets in [
            (paths, [0, 1, 2, 3]),
            (paths, [0, 1, 3, 2]),
            (paths[::-1], [0, 1, 2, 3]),
            (paths, [0.0, 1.0, 2.0, 3.0]),
            (paths[:3], [0, 1, 2]),
        ]
    }
    assert len(prints) == 5
