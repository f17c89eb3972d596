"""Lists of files on the command line."""

import pytest

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.commands.lists import open_list


@pytest.fixture
def listed(animals):
    """A list beside the folders, of every file that doesn't say what it is by where it lies."""
    files = sorted(animals.rglob("*.jpg"))
    lines = [f"{file.relative_to(animals)} {number % 3}" for number, file in enumerate(files)]
    (animals / "train.txt").write_text("\n".join([*lines, "", ""]))
    return animals / "train.txt", files


def test_a_list_holds_its_files_beside_it_with_whole_numbers(listed):
    path, files = listed
    dataset = open_list(path, cache=False)
    assert list(dataset.paths) == list(map(str, files))
    assert dataset.targets.tolist() == [number % 3 for number in range(len(files))]
    assert dataset.classes is None


def test_names_of_classes_are_numbered_in_their_order_and_spaces_belong_to_files(animals):
    (animals / "cat" / "0.jpg").rename(animals / "cat" / "a cat.jpg")
    (animals / "all.lst").write_text(f"cat/a cat.jpg\twolf\n{animals}/dog/1.jpg  dog\n")
    dataset = open_list(animals / "all.lst", cache=False)
    assert (dataset.classes, dataset.targets.tolist()) == (["dog", "wolf"], [1, 0])
    assert [str(path) for path in dataset.paths] == [f"{animals}/cat/a cat.jpg", f"{animals}/dog/1.jpg"]


def test_a_list_is_packed_indexed_and_previewed(listed, tmp_path, capsys):
    path, files = listed
    assert main(["pack", str(path), str(tmp_path / "out"), "--verify"]) == 0
    assert "verified" in capsys.readouterr().out
    packed = dm.PackedDataset(tmp_path / "out")
    assert packed.targets.tolist() == [number % 3 for number in range(len(files))]
    assert packed.fingerprint() == open_list(path).fingerprint()
    assert main(["index", str(path)]) == 0
    assert "12 files in 3 classes" in capsys.readouterr().out
    assert main(["preview", str(path), "--out", str(tmp_path / "grid.png")]) == 0


def test_bad_files_of_a_list_are_named(listed, capsys):
    path, files = listed
    files[2].write_bytes(b"")
    assert main(["index", str(path)]) == 1
    assert f"{files[2].name}: empty file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat/0.jpg 0\ncat/1.jpg\n", r"train\.txt, line 2 must be a file and its label, got 'cat/1\.jpg'"),
        ("\n\n", "SOURCE must be a list with a file and its label, .*; it lists no file"),
        (None, r"SOURCE must be a list .*, got '.*train\.txt'; No such file"),
    ],
)
def test_a_list_that_can_not_be_used_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "train.txt").write_text(content)
    with pytest.raises(dm.DatasetError, match=message):
        open_list(tmp_path / "train.txt")
