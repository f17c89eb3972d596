"""Data sets of Hugging Face on the command line, as `save_to_disk` writes them."""

import sys

import datasets
import pytest

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.commands.saved import open_saved

LABELS = ["cat", "dog"]


def rows(animals, column="label"):
    files = sorted(map(str, animals.rglob("*.jpg")))
    features = datasets.Features({"image": datasets.Image(), column: datasets.ClassLabel(names=LABELS)})
    return datasets.Dataset.from_dict({"image": files, column: [int("/dog/" in file) for file in files]}, features)


@pytest.mark.parametrize("column", ["label", "animal"])
def test_a_saved_data_set_is_packed_and_indexed(animals, tmp_path, capsys, column):
    rows(animals, column).save_to_disk(str(tmp_path / "saved"))
    assert main(["pack", str(tmp_path / "saved"), str(tmp_path / "out"), "--verify"]) == 0
    assert "verified" in capsys.readouterr().out
    packed = dm.PackedDataset(tmp_path / "out")
    assert (packed.classes, packed.targets.tolist()) == (LABELS, [0] * 6 + [1] * 6)
    assert main(["index", str(tmp_path / "saved")]) == 0
    assert "12 files in 2 classes" in capsys.readouterr().out


def test_each_split_of_a_saved_dict_becomes_a_pack(animals, tmp_path, capsys):
    whole = rows(animals)
    splits = datasets.DatasetDict({"train": whole.select(range(8)), "validation": whole.select(range(8, 12))})
    splits.save_to_disk(str(tmp_path / "saved"))
    assert main(["pack", str(tmp_path / "saved"), str(tmp_path / "out")]) == 0
    assert len(dm.PackedDataset(tmp_path / "out" / "train")) == 8
    assert len(dm.PackedDataset(tmp_path / "out" / "validation")) == 4
    assert main(["preview", str(tmp_path / "saved"), "--out", str(tmp_path / "grid.png")]) == 0


def test_columns_that_are_not_clear_are_named(animals, tmp_path):
    two = rows(animals)
    other = two.select_columns("image").rename_column("image", "other")
    datasets.concatenate_datasets([two, other], axis=1).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(
        dm.DatasetError, match=r"one column of images and one ClassLabel, got \['image', 'other', 'label'\]"
    ):
        open_saved(tmp_path / "saved")


def test_without_the_package_the_remedy_is_told(animals, tmp_path, monkeypatch, capsys):
    rows(animals).save_to_disk(str(tmp_path / "saved"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert main(["index", str(tmp_path / "saved")]) == 2
    assert 'pip install "dali-mixup[hf]"' in capsys.readouterr().err
