import os

import numpy as np
import pytest

import dali_mixup as dm
import dali_mixup.dataset.sizes as sizes
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.verdict import Verdict
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


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "npz", "flipped"])
def test_a_damaged_or_foreign_cache_is_rebuilt(files, cache_folder, probed, damage):
    heights(files, cache_folder)
    (cache_file,) = cache_folder.iterdir()
    content = cache_file.read_bytes()
    if damage == "npz":
        with open(cache_file, "wb") as file:
            np.savez(file, height=np.array([{"a": 1}] * 5, object))
    else:
        flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        damaged = {"empty": b"", "text": b"hello", "cut": content[: len(content) // 2], "flipped": flipped}
        cache_file.write_bytes(damaged[damage])
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


@pytest.fixture
def verdicts(files, cache_folder):
    """Reads the verdicts of all files, afresh or from the cache."""
    return lambda: sizes.read_sizes(PathList(files), cache_folder=cache_folder).verdict.tolist()


def test_verdicts_are_kept(verdicts, probed):
    assert verdicts() == [Verdict.SCAN_FIRST] * 5
    assert verdicts() == [Verdict.SCAN_FIRST] * 5
    assert len(probed) == 5


def learn(files, cache_folder, **learnt):
    known = sizes.read_sizes(PathList(files), cache_folder=cache_folder)
    column = known.verdict.copy()
    for number, verdict in learnt.items():
        column[int(number[1:])] = verdict
    sizes.remember_verdicts(PathList(files), known, column, cache_folder=cache_folder)


def test_what_was_learnt_is_remembered(files, cache_folder, verdicts, probed):
    learn(files, cache_folder, _1=Verdict.DALI, _3=Verdict.PILLOW)
    assert verdicts() == [Verdict.SCAN_FIRST, Verdict.DALI, Verdict.SCAN_FIRST, Verdict.PILLOW, Verdict.SCAN_FIRST]
    assert len(probed) == 5


def test_parts_that_several_processes_learnt_come_together(files, cache_folder, verdicts):
    """None of them takes back what another one has learnt."""
    paths = PathList(files)
    known = sizes.read_sizes(paths, cache_folder=cache_folder)
    for number, verdict in ((1, Verdict.DALI), (4, Verdict.PILLOW), (2, Verdict.DALI)):
        column = known.verdict.copy()
        column[number] = verdict
        sizes.remember_verdicts(paths, known, column, cache_folder=cache_folder)
    assert verdicts() == [Verdict.SCAN_FIRST, Verdict.DALI, Verdict.DALI, Verdict.SCAN_FIRST, Verdict.PILLOW]


def test_nothing_new_writes_nothing(files, cache_folder):
    learn(files, cache_folder, _1=Verdict.DALI)
    (cache_file,) = cache_folder.iterdir()
    before = cache_file.stat()
    learn(files, cache_folder, _1=Verdict.DALI)
    assert cache_file.stat() == before


def test_a_file_that_changed_meanwhile_keeps_its_own_verdict(files, cache_folder, verdicts):
    known = sizes.read_sizes(PathList(files), cache_folder=cache_folder)
    with open(files[2], "wb") as file:
        file.write(jpeg_bytes(77, 20))
    sizes.read_sizes(PathList(files), cache_folder=cache_folder)
    column = np.full(5, Verdict.DALI, np.uint8)
    sizes.remember_verdicts(PathList(files), known, column, cache_folder=cache_folder)
    assert verdicts() == [1, 1, Verdict.SCAN_FIRST, 1, 1]


@pytest.mark.filterwarnings("ignore")
def test_bad_files_and_lost_caches_are_passed_over(files, cache_folder):
    with open(files[2], "wb"):
        pass
    learn(files, cache_folder, _1=Verdict.DALI, _2=Verdict.DALI)
    learn(files, None, _1=Verdict.DALI)
    assert sizes.read_sizes(PathList(files), cache_folder=cache_folder).verdict.tolist() == [2, 1, 0, 2, 2]
    known = sizes.read_sizes(PathList(files), cache_folder=cache_folder)
    next(cache_folder.iterdir()).write_bytes(b"")
    sizes.remember_verdicts(PathList(files), known, known.verdict, cache_folder=cache_folder)
    assert next(cache_folder.iterdir()).read_bytes() == b""
    sizes.remember_verdicts(PathList([]), known, np.zeros(0, np.uint8), cache_folder=cache_folder)
