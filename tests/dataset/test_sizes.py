import os

import numpy as np
import pytest

import dali_mixup as dm
import dali_mixup.dataset.sizes as sizes
from dali_mixup.dataset.paths import PathList
from tests.conftest import jpeg_bytes


@pytest.fixture
def probed(monkeypatch):
    """The paths that were opened."""
    opened = []
    original = sizes.probe
    monkeypatch.setattr(sizes, "probe", lambda path: (opened.append(os.fsdecode(path)), original(path))[1])
    return opened


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(10 + i, 20))
    return [str(path) for path in paths]


def heights(files, folder):
    return sizes.read_sizes(PathList(files), cache_folder=folder).height.tolist()


def test_a_second_look_opens_no_file(files, cache_folder, probed):
    assert heights(files, cache_folder) == [10, 11, 12, 13, 14]
    probed.clear()
    assert heights(files, cache_folder) == [10, 11, 12, 13, 14]
    assert probed == []


def test_files_of_another_size_or_time_are_read_again_and_only_they(files, cache_folder, probed):
    heights(files, cache_folder)
    probed.clear()
    with open(files[1], "wb") as file:
        file.write(jpeg_bytes(77, 20))
    status = os.stat(files[3])
    os.utime(files[3], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert heights(files, cache_folder) == [10, 77, 12, 13, 14]
    assert sorted(probed) == [files[1], files[3]]


def test_lists_of_one_folder_share_a_cache(files, cache_folder, probed):
    heights(files, cache_folder)
    heights(files[::2], cache_folder)
    probed.clear()
    assert heights(files[::-1], cache_folder) == [14, 13, 12, 11, 10]
    assert probed == []


def test_two_halves_of_a_folder_do_not_push_each_other_out(files, cache_folder, probed):
    heights(files[:3], cache_folder)
    heights(files[3:], cache_folder)
    probed.clear()
    assert heights(files[:3], cache_folder) == [10, 11, 12]
    assert probed == []


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "pickle", "negative", "shifted", "format"])
def test_a_damaged_or_foreign_cache_is_rebuilt(files, cache_folder, probed, damage):
    heights(files, cache_folder)
    (cache_file,) = cache_folder.glob("*.npz")
    with np.load(cache_file) as data:
        arrays = dict(data)
    content = cache_file.read_bytes()
    if damage == "negative":
        np.savez(cache_file, **{**arrays, "height": -arrays["height"]})
    elif damage == "shifted":
        np.savez(cache_file, **{**arrays, "ends": arrays["ends"] + 1})
    elif damage == "format":
        np.savez(cache_file, **{**arrays, "format": 999})
    elif damage == "pickle":
        np.savez(cache_file, **{**arrays, "height": np.array([{"a": 1}] * 5, object)})
    else:
        cache_file.write_bytes({"empty": b"", "text": b"hello", "cut": content[: len(content) // 2]}[damage])
    probed.clear()
    assert heights(files, cache_folder) == [10, 11, 12, 13, 14]
    assert len(probed) == 5
    probed.clear()
    assert heights(files, cache_folder) == [10, 11, 12, 13, 14]
    assert probed == []


def test_a_cache_folder_that_cannot_be_written_warns_and_goes_on(files, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="can't be kept in .*; set DALI_MIXUP_CACHE"):
        assert heights(files, blocked / "cache") == [10, 11, 12, 13, 14]


def test_no_cache_leaves_nothing_behind(folder, cache_folder):
    dm.ImageFolder(folder, cache=False)
    assert list(cache_folder.iterdir()) == []


def test_path_lists_behave_as_lists():
    names = ["a", "bb", "", "ccc/ü", "\udcff"]
    paths = PathList(names)
    assert (len(paths), list(paths), paths[-1], paths[1:3]) == (5, names, "\udcff", ["bb", ""])
    assert (paths.index("bb"), "ccc/ü" in paths, "x" in paths) == (1, True, False)
    with pytest.raises(IndexError, match="index must be below 5, got 5"):
        paths[5]
