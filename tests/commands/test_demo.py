"""dali-mixup demo: two trainings, one picture, and images that are drawn once."""

import shutil

import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.commands import demo
from dali_mixup.commands.training import Outcome
from tests.commands.files import noise, save


def test_demo_trains_on_drawn_images_and_uses_them_again(tmp_path, capsys):
    arguments = [
        "demo",
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "p.png"),
        "--images",
        "60",
        "--epochs",
        "1",
        "--size",
        "32",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "60 training images, 20 validation images of 10 classes" in out
    assert "bench.cifar10" not in out
    assert [line.split("  ")[0] for line in out.splitlines() if "of the time" in line] == [
        "mixup (alpha 0.2)",
        "no mixup",
    ]
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 900
    (folder,) = (tmp_path / "work").iterdir()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert len(written) == 80
    assert main(arguments) == 0
    assert written == {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    accuracies = [
        [line.split()[-8:-5] for line in text.splitlines() if "of the time" in line]
        for text in (out, capsys.readouterr().out)
    ]
    assert accuracies[0] == accuracies[1]


def test_demo_trains_on_a_folder_with_test_in_place_of_val(splits, tmp_path, capsys):
    arguments = [
        "demo",
        "--data",
        str(splits),
        "--out",
        str(tmp_path / "p.png"),
        "--epochs",
        "1",
        "--images",
        "20",
        "--batch-size",
        "8",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "20 training images, 7 validation images of 2 classes" in out
    assert "32 x 32 pixels" in out
    assert f"images of CIFAR-10's size: python -m bench.cifar10 {splits}" in out


def test_demo_needs_train_and_val(animals, tmp_path, capsys):
    assert main(["demo", "--data", str(animals), "--out", str(tmp_path / "p.png")]) == 2
    assert "DATA must be a folder that holds train/ and val/ (or test/)" in capsys.readouterr().err


def test_demo_needs_the_same_classes_in_both(splits, tmp_path, capsys):
    save(splits / "train" / "c" / "x.jpg", noise(32, 32))
    assert main(["demo", "--data", str(splits), "--out", str(tmp_path / "p.png")]) == 2
    assert "the classes of train/ and test/ must be the same, got ['c']" in capsys.readouterr().err


@pytest.fixture
def recipe_of(monkeypatch, tmp_path):
    """The recipe that `dali-mixup demo` trains by, and the mixups of its trainings; without training."""

    def run(folder, *arguments):
        trained = []

        def record(recipe, mixup, _description):
            trained.append((recipe, mixup))
            return Outcome(val_accuracy=0.5, val_loss=1.0, train_accuracy=0.5, images_per_second=1.0, waiting=0.0)

        monkeypatch.setattr(demo, "train_and_validate", record)
        assert main(["demo", "--data", str(folder), "--out", str(tmp_path / "p.png"), *arguments]) == 0
        (recipe, mixup), (same, none) = trained
        assert recipe is same
        assert none is None
        return recipe, mixup

    return run


def test_small_squares_are_padded(splits, recipe_of):
    recipe, _ = recipe_of(splits)
    assert recipe.train_pipeline.geometry == dm.CropPad(32, padding=4)
    assert recipe.val_pipeline.geometry == dm.ResizeCenterCrop(32, 32)


def test_other_images_are_cropped_at_random_and_resized(animals, tmp_path, recipe_of):
    for split in ("train", "val"):
        shutil.copytree(animals, tmp_path / "photos" / split)
    recipe, mixup = recipe_of(tmp_path / "photos", "--size", "96", "--alpha", "0.7", "--epochs", "3", "--seed", "5")
    assert recipe.train_pipeline.geometry == dm.RandomResizedCrop(96, scale=(0.6, 1.0))
    assert recipe.val_pipeline.geometry == dm.ResizeCenterCrop(109, 96)
    assert (recipe.epochs, recipe.seed, recipe.batch_size) == (3, 5, 12)  # there are no more images
    assert mixup == dm.MixUp(0.7)
