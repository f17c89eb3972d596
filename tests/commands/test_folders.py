import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.commands.folders import draw_subset, find_splits, open_good_images, open_source, open_train_and_val
from tests.commands.files import noise, save


def test_a_class_called_train_is_no_split(tmp_path):
    save(tmp_path / "train" / "locomotive.jpg", noise(8, 8))
    save(tmp_path / "bus" / "red.jpg", noise(8, 8))
    assert find_splits(tmp_path) == {"": tmp_path}


def test_tars_beside_class_folders_are_no_source(animals, tars):
    assert isinstance(open_source(tars), dm.TarDataset)
    (animals / "cat.tar").write_bytes((tars / "train-0.tar").read_bytes())
    assert isinstance(open_source(animals), dm.ImageFolder)
    (tars / "train").mkdir()
    assert find_splits(tars) == {"": tars}
    (tars / "train-0.tar").rename(tars / "train" / "0.tar")
    assert find_splits(tars) == {"train": tars / "train"}


def test_good_images_keep_their_labels_and_classes(animals, capsys):
    (animals / "cat" / "3.jpg").write_bytes(b"")
    files = open_good_images(animals)
    assert len(files) == 11
    assert files.classes == ["cat", "dog"]
    assert [files.targets[i] for i in range(11)] == [0 if "/cat/" in path else 1 for path in files.paths]


def test_bad_files_are_left_out_and_counted_on_stdout(animals, capsys):
    (animals / "dog" / "1.jpg").write_bytes(b"text")
    assert len(open_good_images(animals)) == 11
    assert capsys.readouterr().out.startswith(f"1 of 12 files of {animals} are left out; `dali-mixup index {animals}`")


def test_val_comes_before_test(splits):
    save(splits / "val" / "a" / "0.jpg", noise(8, 8))
    save(splits / "val" / "b" / "1.jpg", noise(8, 8))
    train, val = open_train_and_val(splits)
    assert (len(train), len(val)) == (30, 2)


def test_folders_without_a_counterpart_are_named(splits, animals):
    with pytest.raises(dm.DatasetError, match=r"DATA must be a folder that holds train/ and val/ \(or test/\)"):
        open_train_and_val(animals)
    save(splits / "test" / "c" / "x.jpg", Image.new("L", (8, 8)))
    with pytest.raises(dm.DatasetError, match=r"the classes of train/ and test/ must be the same, got \['c'\]"):
        open_train_and_val(splits)


def test_a_subset_is_drawn_by_its_seed_without_repeats_and_in_order(splits):
    whole = dm.ImageFolder(splits / "train")
    assert draw_subset(whole, 30, seed=0) is whole
    first, again, other = (draw_subset(whole, 12, seed) for seed in (1, 1, 2))
    assert list(first.paths) == list(again.paths) != list(other.paths)
    numbers = [list(whole.paths).index(path) for path in first.paths]
    assert numbers == sorted(set(numbers))
    assert np.array_equal(first.targets, whole.targets[numbers])
    assert first.classes == whole.classes


def test_only_folders_of_images_are_trained_on(splits, tmp_path):
    for split in ("train", "test"):
        dm.pack(dm.ImageFolder(splits / split), tmp_path / "packs" / split, progress=False)
    with pytest.raises(dm.DatasetError, match=r"must be a folder with one folder of images per class, got .*train"):
        open_train_and_val(tmp_path / "packs")
