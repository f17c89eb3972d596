"""Folders for the commands."""

import pytest
from PIL import Image

import dali_mixup as dm
from tests.commands.files import noise, save
from tests.made_tars import folder_as_files, write_tar


@pytest.fixture
def animals(tmp_path):
    """An ImageFolder of two classes, each of one plain colour."""
    for i in range(6):
        for name, colour in (("cat", "red"), ("dog", "blue")):
            save(tmp_path / "animals" / name / f"{i}.jpg", Image.new("RGB", (40 + i, 60), colour), quality=95)
    return tmp_path / "animals"


@pytest.fixture
def splits(tmp_path):
    """A folder with train/ and test/ of 32 x 32 pixels."""
    for split, count in (("train", 30), ("test", 8)):
        for i in range(count):
            save(tmp_path / "data" / split / "ab"[i % 2] / f"{i}.jpg", noise(32, 32, seed=i))
    return tmp_path / "data"


@pytest.fixture
def tars(animals, tmp_path):
    """The animals in two tars."""
    (tmp_path / "tars").mkdir()
    files = folder_as_files(dm.ImageFolder(animals))
    for number, kind in enumerate((b"cat", b"dog")):
        chosen = {name: content for name, content in files.items() if name.startswith(kind)}
        write_tar(tmp_path / "tars" / f"train-{number}.tar", chosen)
    return tmp_path / "tars"
