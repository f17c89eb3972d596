"""A list of paths in one block is a list of paths."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_mixup.dataset.paths import PathList

NAMES = st.lists(st.binary(max_size=12).map(lambda name: name.replace(b"\0", b"")), max_size=8)


@given(NAMES, st.integers(-10, 10), st.integers(-10, 10), st.sampled_from([1, 2, -1]))
def test_it_behaves_as_a_list_of_the_same_paths(names, start, stop, step):
    paths, expected = PathList(names), [os.fsdecode(name) for name in names]
    assert len(paths) == len(expected)
    assert list(paths) == expected
    assert paths[start:stop:step] == expected[start:stop:step]
    for index in range(-len(expected), len(expected)):
        assert paths[index] == expected[index]
        assert paths.encoded(index).tobytes() == names[index]
    for index in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            paths[index]


@given(NAMES, st.data())
def test_padded_rows_hold_the_paths_and_zeros(names, data):
    chosen = data.draw(st.lists(st.integers(0, len(names) - 1))) if names else []
    rows, lengths = PathList(names).padded(np.array(chosen, np.int64))
    assert (rows.dtype, lengths.dtype) == (np.uint8, np.int32)
    assert [row.tobytes() for row in rows] == [names[i].ljust(rows.shape[1], b"\0") for i in chosen]
    assert lengths.tolist() == [len(names[i]) for i in chosen]


def test_paths_of_any_kind_are_taken_and_none_can_be_changed():
    paths = PathList(["a/1.jpg", b"b/\xff.jpg", Path("c") / "ä.jpg"])
    assert list(paths) == ["a/1.jpg", os.fsdecode(b"b/\xff.jpg"), "c/ä.jpg"]
    assert repr(paths) == "PathList of 3 paths"
    with pytest.raises(TypeError):
        paths[0] = "other"


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (["/data/train/a/1.jpg", "/data/train/b/2.jpg"], b"/data/train/"),
        (["/data/train/a/1.jpg", "/data/train/ab/2.jpg"], b"/data/train/"),
        (["/data/1.jpg"], b"/data/"),
        (["a.jpg", "b.jpg"], b""),
        (["/a.jpg", "b.jpg"], b""),
        (["x/y.jpg", "x"], b""),
    ],
)
def test_the_common_folder_is_cut_off_whole(names, folder):
    paths = PathList(names)
    assert paths.common_folder() == folder
    assert [os.fsdecode(folder) + name for name in paths.below(folder)] == names


PARTS = st.lists(st.sampled_from(["a", "ab", "b"]), min_size=1, max_size=4)


@given(st.lists(PARTS.map(lambda parts: "/" + "/".join(parts)), min_size=1, max_size=5))
def test_the_common_folder_is_the_common_path_of_their_folders(names):
    common = os.path.commonpath([os.path.dirname(name) for name in names])
    assert os.fsdecode(PathList(names).common_folder()) == common.rstrip("/") + "/"


@pytest.mark.parametrize(
    ("blob", "ends"),
    [
        (np.zeros(3, np.int8), np.array([0, 3])),
        (np.zeros(3, np.uint8), np.array([0, 2])),
        (np.zeros(3, np.uint8), np.array([0, 2, 1, 3])),
        (np.zeros(3, np.uint8), np.array([1, 3])),
        (np.zeros(3, np.uint8), np.array([], np.int64)),
        (np.zeros(3, np.uint8), np.array([0.0, 3.0])),
        (np.zeros((1, 3), np.uint8), np.array([0, 3])),
    ],
)
def test_arrays_that_hold_no_list_are_refused(blob, ends):
    with pytest.raises(ValueError, match="ends must be ascending int64 positions in a uint8 blob"):
        PathList.from_arrays(blob, ends)


@given(NAMES)
def test_arrays_make_the_list_again(names):
    paths = PathList(names)
    assert list(PathList.from_arrays(paths.blob, paths.ends)) == list(paths)
