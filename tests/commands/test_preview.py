"""dali-mixup preview: mixed images beside their parents."""

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.commands import preview
from tests.commands.files import noise, save
from tests.made_tars import write_tar


def test_preview_writes_a_picture_of_the_grid(animals, tmp_path, capsys):
    out = tmp_path / "grid.png"
    assert main(["preview", str(animals), "--out", str(out), "--tiles", "4", "--size", "64"]) == 0
    with Image.open(out) as picture:
        assert capsys.readouterr().out == f"{out}: {picture.width} x {picture.height} pixels\n"
        assert picture.width > 2 * 3 * 64
        assert picture.height > 2 * 64


def test_preview_leaves_bad_files_out_and_says_so(animals, tmp_path, capsys):
    (animals / "cat" / "0.jpg").write_bytes(b"")
    assert main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--tiles", "6", "--size", "32"]) == 0
    assert "1 of 12 files of" in capsys.readouterr().out


def test_an_option_that_the_library_refuses_exits_with_2(animals, tmp_path, capsys):
    assert main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--alpha", "-1"]) == 2
    assert "alpha must be a finite number above 0, got -1.0" in capsys.readouterr().err


def test_a_file_that_does_not_decode_stops_the_preview_with_its_name_and_1(animals, tmp_path, capsys):
    broken = save(animals / "cat" / "0.jpg", noise(), quality=95)
    broken.write_bytes(broken.read_bytes()[:2000])
    assert main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--size", "32"]) == 1
    err = capsys.readouterr().err
    assert str(broken) in err
    assert "Traceback" not in err


def test_every_tile_is_the_mix_of_the_parents_beside_it(animals, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles))
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5)
    preview.draw_preview(dm.ImageFolder(animals), pipeline, tiles=5, seed=1)
    assert len(drawn) == 5
    colours = {"cat": (254, 0, 0), "dog": (0, 0, 254)}
    for tile in drawn:
        assert tile.own.mean((0, 1)).tolist() == pytest.approx(colours[tile.own_name], abs=2)
        assert tile.partner.mean((0, 1)).tolist() == pytest.approx(colours[tile.partner_name], abs=2)
        mixed = tile.lam * tile.own.astype(float) + (1 - tile.lam) * tile.partner
        assert np.abs(tile.mixed - mixed).max() <= 1
    weights = [tile.lam for tile in drawn]
    assert weights == sorted(weights)
    assert weights[0] < 0.9


def test_with_cutmix_every_tile_has_a_box_of_its_partner(animals, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles) or Image.new("RGB", (8, 8)))
    assert (
        main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--size", "32", "--cutmix", "--alpha", "1"])
        == 0
    )
    assert len(drawn) == 6
    for tile in drawn:
        of_partner = (tile.mixed == tile.partner).all(2) & ~(tile.own == tile.partner).all(2)
        assert (of_partner | (tile.mixed == tile.own).all(2)).all()
        if tile.own_name != tile.partner_name:
            assert of_partner.mean() == pytest.approx(1 - tile.lam, abs=1e-6)
    assert any(0.1 < tile.lam < 0.9 for tile in drawn)


def test_a_preview_of_few_images_has_fewer_tiles(animals, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles))
    files = dm.FileList([animals / "cat" / "0.jpg", animals / "dog" / "0.jpg"], [3, 4])
    preview.draw_preview(files, dm.ImagePipeline(geometry=dm.RandomResizedCrop(32)), tiles=6)
    assert sorted(tile.own_name for tile in drawn) == ["class 3", "class 4"]


def test_a_preview_of_float_targets_is_a_type_error(animals):
    files = dm.FileList([animals / "cat" / "0.jpg"], [[0.5, 0.5]])
    with pytest.raises(
        TypeError, match=r"dataset.targets must be class indices, got a float32 array of shape \(1, 2\)"
    ):
        preview.draw_preview(files, dm.ImagePipeline(geometry=dm.RandomResizedCrop(32)))


def test_a_preview_of_arrays_shows_their_classes(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles) or Image.new("RGB", (8, 8)))
    images = np.zeros((8, 20, 20), np.uint8)
    images[::2] = 200
    np.savez(tmp_path / "arrays.npz", images=images, targets=np.arange(8) % 2, classes=["light", "dark"])
    assert main(["preview", str(tmp_path / "arrays.npz"), "--out", str(tmp_path / "grid.png"), "--size", "32"]) == 0
    assert {tile.own_name for tile in drawn} == {"light", "dark"}
    assert all((tile.own == (200 if tile.own_name == "light" else 0)).all() for tile in drawn)


def test_preview_takes_tars_and_leaves_bad_members_out(tars, tmp_path, capsys):
    write_tar(tars / "bad.tar", {"0.jpg": b"text", "0.cls": b"0"})
    out = tmp_path / "grid.png"
    assert main(["preview", f"{tars}/*.tar", "--out", str(out), "--tiles", "2", "--size", "32"]) == 0
    assert f"1 of 13 files of {tars}/*.tar are left out" in capsys.readouterr().out
    assert out.stat().st_size > 1000
