"""dali-mixup index: what a folder holds."""

import re

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.__main__ import main
from tests.commands.files import noise, save
from tests.conftest import jpeg_bytes
from tests.made_tars import write_tar


def test_index_counts_classes_and_measures_sizes(animals, capsys):
    assert main(["index", str(animals)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{animals}: 12 files in 2 classes" in lines
    assert ["cat", "6"] in [line.split() for line in lines]
    assert [line.split() for line in lines if line.startswith(("height", "width"))] == [
        ["height", "60", "60", "60", "60", "60"],
        ["width", "40", "41", "43", "44", "45"],
    ]
    assert "bad files: none (headers only; --verify decodes each file)" in lines


def test_index_reports_each_split_of_a_folder(splits, capsys):
    assert main(["index", str(splits)]) == 0
    out = capsys.readouterr().out
    assert f"{splits}/train: 30 files in 2 classes" in out
    assert f"{splits}/test: 8 files in 2 classes" in out


def test_index_lists_many_classes_only_with_all(tmp_path, capsys):
    for i in range(30):
        save(tmp_path / "many" / f"class{i:02}" / "x.png", Image.new("L", (8, 8)))
    assert main(["index", str(tmp_path / "many")]) == 0
    short = capsys.readouterr().out
    assert "... 10 more (--all)" in short
    assert "class15" not in short
    assert main(["index", str(tmp_path / "many"), "--all"]) == 0
    assert "class15" in capsys.readouterr().out


def test_index_names_each_bad_file_once_and_exits_with_1(animals, capsys):
    (animals / "cat" / "empty.jpg").touch()
    (animals / "dog" / "text.png").write_text("hello")
    assert main(["index", str(animals)]) == 1
    out, err = capsys.readouterr()
    assert "bad files: 2 (headers only" in out
    assert f"  {animals}/cat/empty.jpg: empty file" in out
    assert f"  {animals}/dog/text.png: not an image" in out
    assert (out + err).count("empty.jpg") == 1


def test_index_survives_a_folder_of_bad_files_only(tmp_path, capsys):
    (tmp_path / "bad" / "cat").mkdir(parents=True)
    (tmp_path / "bad" / "cat" / "empty.jpg").touch()
    assert main(["index", str(tmp_path / "bad"), "--verify"]) == 1
    assert "no file is an image" in capsys.readouterr().out


def test_index_without_cache_writes_none(animals, cache_folder):
    assert main(["index", str(animals), "--no-cache"]) == 0
    assert not list(cache_folder.iterdir())


def test_index_shows_names_that_are_not_text(tmp_path, capsys):
    folder = tmp_path / "odd" / "line\nbreak"
    save(folder / "a.jpg", Image.new("RGB", (8, 8)))
    (folder / b"\xff.jpg".decode(errors="surrogateescape")).touch()
    assert main(["index", str(tmp_path / "odd")]) == 1
    out = capsys.readouterr().out
    assert "line\\nbreak  " in out
    assert "line\\nbreak/\\udcff.jpg: empty file" in out


def test_index_of_arrays_counts_classes_and_measures_sizes(tmp_path, capsys):
    file = tmp_path / "digits.npz"
    np.savez(file, images=np.zeros((5, 20, 30), np.uint8), targets=[0, 1, 1, 1, 1], classes=["zero", "one"])
    assert main(["index", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file}: 5 images in 2 classes"
    assert ["one", "4"] in [line.split() for line in lines]
    assert ["height", "20", "20", "20", "20", "20"] in [line.split() for line in lines]
    assert not [line for line in lines if line.startswith(("kB", "bad files"))]


def test_index_of_arrays_without_names_or_classes(tmp_path, capsys):
    np.savez(tmp_path / "numbers.npz", images=np.zeros((3, 20, 30), np.uint8), targets=[0, 2, 2])
    assert main(["index", str(tmp_path / "numbers.npz")]) == 0
    assert ["class", "2", "2"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    np.savez(tmp_path / "heights.npz", images=np.zeros((3, 20, 30), np.uint8), targets=[0.5, 2, 2])
    assert main(["index", str(tmp_path / "heights.npz")]) == 0
    assert "3 images, targets: a float32 array of shape (3,)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((3, 8, 8), np.uint8)}, r"np\.savez\(FILE, images=\.\.\., targets=\.\.\.\)"),
        (
            {"images": np.zeros((3, 8, 8)), "targets": [0, 1, 2]},
            r"arrays\.npz: images must be uint8 levels from 0 to 255",
        ),
        ({"images": np.array([{}, {}, {}]), "targets": [0, 1, 2]}, "allow_pickle=False"),
        (None, r"SOURCE must be a file that np\.savez\(FILE, images=.*arrays\.npz'; it isn't there"),
        (b"PK nothing", r"SOURCE must be a file that np\.savez\(FILE, images=.*arrays\.npz'; it is no such file"),
    ],
)
def test_an_npz_file_of_something_else_exits_with_2_and_says_what_is_needed(tmp_path, capsys, arrays, message):
    file = tmp_path / "arrays.npz"
    if isinstance(arrays, dict):
        np.savez(file, **arrays)
    elif arrays:
        file.write_bytes(arrays)
    assert main(["index", str(file)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_index_takes_tars_by_pattern_and_folder(tars, capsys):
    assert main(["index", f"{tars}/train-{{0..1}}.tar"]) == 0
    out = capsys.readouterr().out
    assert f"{tars}/train-{{0..1}}.tar: 12 files in 2 classes" in out
    assert ["class", "1", "6"] in [line.split() for line in out.splitlines()]
    assert main(["index", str(tars), "--verify"]) == 0
    out = capsys.readouterr().out
    assert f"{tars}: 12 files in 2 classes" in out
    assert "bad files: none (each file was decoded)" in out


def test_index_names_bad_members_and_lists_none_of_them_to_exclude(tars, tmp_path, capsys):
    write_tar(tars / "bad.tar", {"0.jpg": b"text", "0.cls": b"0", "1.jpg": jpeg_bytes(30, 30)[:700], "1.cls": b"0"})
    assert main(["index", f"{tars}/*.tar", "--verify", "--all"]) == 1
    out = capsys.readouterr().out
    assert "  bad.tar: 0.jpg: not an image of a supported format" in out
    assert "  bad.tar: 1.jpg: truncated at byte 700" in out
    assert main(["index", str(tars), "--quarantine", str(tmp_path / "list")]) == 2
    assert "--quarantine must be for folders of images" in capsys.readouterr().err
    assert not (tmp_path / "list").exists()


def test_index_says_what_is_wrong_with_a_tar(tars, capsys):
    (tars / "cut.tar").write_bytes((tars / "train-0.tar").read_bytes()[:4000])
    assert main(["index", str(tars)]) == 2
    assert "cut.tar: truncated at byte 4000" in capsys.readouterr().err


def test_index_reports_targets_that_are_no_classes(tmp_path, capsys):
    photos = [save(tmp_path / f"{i}.png", noise(8, 8)) for i in range(3)]
    dm.pack(dm.FileList(photos, [[0.5, 1.0]] * 3), tmp_path / "packed")
    assert main(["index", str(tmp_path / "packed")]) == 0
    assert "3 files, targets: a float32 array of shape (3, 2)" in capsys.readouterr().out
