"""dali-mixup pack: what it writes, says and refuses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.__main__ import main


@pytest.fixture
def photos(animals):
    """A folder of JPEGs instead of the PNGs."""
    for path in animals.rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    return animals


def test_a_verified_pack_gives_the_batches_of_the_folder(photos, tmp_path, capsys):
    assert main(["pack", str(photos), str(tmp_path / "out"), "--verify"]) == 0
    out = capsys.readouterr().out
    assert "12 images" in out
    assert "12 of which windows can be read alone" in out
    assert "verified: all images decode to the pixels of their originals" in out
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5)
    for one, two in zip(
        dm.Loader(dm.ImageFolder(photos), pipeline, batch_size=4, device="cpu"),
        dm.Loader(dm.PackedDataset(tmp_path / "out"), pipeline, batch_size=4, device="cpu"),
        strict=True,
    ):
        assert torch.equal(one[0], two[0])


def test_pixels_are_verified_and_packed_again(photos, tmp_path, capsys):
    assert main(["pack", str(photos), str(tmp_path / "out"), "--pixels", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "12 images" in out
    assert "verified: all images decode to the pixels of their originals" in out
    assert main(["pack", str(tmp_path / "out"), str(tmp_path / "again"), "--verify"]) == 0
    assert "verified" in capsys.readouterr().out
    assert main(["index", str(tmp_path / "out")]) == 0
    assert "12 images in 2 classes" in capsys.readouterr().out
    first, second = dm.PackedDataset(tmp_path / "out"), dm.PackedDataset(tmp_path / "again")
    assert first.fingerprint() == second.fingerprint() == dm.ImageFolder(photos).fingerprint()
    np.testing.assert_array_equal(first.pixels(5), second.pixels(5))


@pytest.mark.parametrize("options", [[], ["--pixels"]])
def test_arrays_of_a_file_are_packed(tmp_path, capsys, options):
    images = np.random.default_rng(0).integers(0, 256, (9, 20, 24, 3), np.uint8)
    np.savez(tmp_path / "small.npz", images=images, targets=np.arange(9) % 2, classes=["cat", "dog"])
    assert main(["pack", str(tmp_path / "small.npz"), str(tmp_path / "out"), "--verify", *options]) == 0
    assert "verified" in capsys.readouterr().out
    packed = dm.PackedDataset(tmp_path / "out")
    assert (packed.classes, packed.targets.tolist()) == (["cat", "dog"], [0, 1] * 4 + [0])
    np.testing.assert_array_equal(packed.pixels(8), images[8])


def test_each_split_becomes_a_pack(splits, tmp_path, capsys):
    assert main(["pack", str(splits), str(tmp_path / "out")]) == 0
    assert len(dm.PackedDataset(tmp_path / "out" / "train")) == 30
    assert len(dm.PackedDataset(tmp_path / "out" / "test")) == 8
    assert main(["pack", str(tmp_path / "out"), str(tmp_path / "again"), "--verify"]) == 0
    assert "verified" in capsys.readouterr().out


def test_bad_files_stop_it_and_are_listed(photos, tmp_path, capsys):
    (photos / "cat" / "empty.jpg").touch()
    arguments = ["pack", str(photos), str(tmp_path / "out"), "--quarantine", str(tmp_path / "bad.jsonl")]
    assert main(arguments) == 1
    assert "empty.jpg: empty file" in capsys.readouterr().err
    assert json.loads((tmp_path / "bad.jsonl").read_text())["reason"] == "empty file"
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--skip-bad"]) == 1
    assert "left out" in capsys.readouterr().out
    assert len(dm.PackedDataset(tmp_path / "out")) == 12


def test_shrunk_images_have_the_side_that_was_asked_for(photos, tmp_path, capsys):
    assert main(["pack", str(photos), str(tmp_path / "out"), "--short-side", "20", "--verify"]) == 0
    packed = dm.PackedDataset(tmp_path / "out")
    assert set(np.minimum(packed.heights, packed.widths).tolist()) == {20}
    assert "verified" in capsys.readouterr().out


def test_a_pixel_that_differs_is_found(photos, tmp_path, capsys):
    assert main(["pack", str(photos), str(tmp_path / "out")]) == 0
    path = next(photos.rglob("*.jpg"))
    with Image.open(path) as image:
        Image.effect_noise(image.size, 50).save(path, quality=90)
    dataset = dm.ImageFolder(photos)
    from dali_mixup.commands.pack import find_differing

    (line,) = find_differing(dataset, dm.PackedDataset(tmp_path / "out"), [], dm.Shrink())
    assert line.endswith(f"its pixels differ from those of {path}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-size", "100", "--short-side", "50"], "not allowed with argument"),
        (["--quality", "101"], "quality must be at most 100"),
        (["--shard-mb", "0"], "must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_named(photos, tmp_path, capsys, arguments, message):
    try:
        code = main(["pack", str(photos), str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
