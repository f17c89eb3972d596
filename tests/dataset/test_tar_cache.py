"""What is kept of a tar is believed only if it is whole and about the tar as it is."""

import os

import numpy as np
import pytest

from dali_mixup.dataset.tar_cache import cache_file, load_scan, remember_verdicts, save_scan
from dali_mixup.dataset.tar_scan import Layout, scan_tar
from dali_mixup.dataset.verdict import Verdict
from tests.conftest import jpeg_bytes
from tests.made_tars import write_tar

LAYOUT = Layout(image=("jpg",), target=None)


@pytest.fixture
def tar(tmp_path):
    files = {"README": b"", "read.me": b"", "a/1.jpg": jpeg_bytes(20, 30), "a/1.json": b"{}", "ü.jpg": b"text"}
    return str(write_tar(tmp_path / "a.tar", files))


@pytest.fixture
def kept(tar, cache_folder):
    file = cache_file(cache_folder, tar, LAYOUT)
    save_scan(file, scan_tar(tar, LAYOUT, lambda _: None))
    return file


def tables_equal(one, other):
    return list(one.names) == list(other.names) and all(
        np.array_equal(one.columns[name], column) and one.columns[name].dtype == column.dtype
        for name, column in other.columns.items()
    )


def test_what_was_kept_is_what_a_scan_finds(tar, kept):
    found, expected = load_scan(kept, tar), scan_tar(tar, LAYOUT, lambda _: None)
    assert tables_equal(found.images, expected.images)
    assert tables_equal(found.sidecars, expected.sidecars)
    assert found.stamp == expected.stamp
    assert list(found.passed) == list(expected.passed) == ["read.me"]
    assert found.reasons == expected.reasons == {1: "not an image of a supported format"}


def test_an_image_that_could_not_be_read_is_looked_at_again(tar, kept):
    scan = load_scan(kept, tar)
    scan.images.columns["verdict"][0] = Verdict.BAD
    save_scan(kept, scan)
    assert load_scan(kept, tar) is None


def test_another_size_or_time_of_the_tar_is_another_tar(tar, kept):
    status = os.stat(tar)
    os.utime(tar, ns=(0, status.st_mtime_ns + 1))
    assert load_scan(kept, tar) is None
    os.truncate(tar, status.st_size + 512)
    os.utime(tar, ns=(0, status.st_mtime_ns))
    assert load_scan(kept, tar) is None
    os.truncate(tar, status.st_size)
    os.utime(tar, ns=(0, status.st_mtime_ns))
    assert load_scan(kept, tar) is not None


def test_no_damaged_file_is_believed(tar, kept):
    whole, generator = kept.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        content[generator.integers(len(content))] ^= 1 << generator.integers(8)
        kept.write_bytes(content)
        assert load_scan(kept, tar) is None
    kept.write_bytes(whole[:-1])
    assert load_scan(kept, tar) is None


def test_each_tar_and_each_way_to_look_at_it_has_a_file_of_its_own(cache_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    layouts = (LAYOUT, Layout(image=("png",), target=None), Layout(image=("jpg",), target="cls"))
    files = {cache_file(cache_folder, path, layout) for path in ("a.tar", "b.tar") for layout in layouts}
    assert len(files) == 6
    assert cache_file(cache_folder, str(tmp_path / "a.tar"), LAYOUT) == cache_file(cache_folder, "a.tar", LAYOUT)


def test_verdicts_are_added_where_they_are_news_about_the_same_tar(tar, kept):
    def verdicts():
        return load_scan(kept, tar).images.columns["verdict"].tolist()

    stamp, rows = load_scan(kept, tar).stamp, np.array([1, 0])
    assert verdicts() == [Verdict.SCAN_FIRST, Verdict.BAD]
    before = kept.stat().st_mtime_ns
    for learnt in ([Verdict.BAD, Verdict.BAD], [Verdict.SCAN_FIRST, Verdict.SCAN_FIRST]):
        remember_verdicts(kept, stamp, rows, np.array(learnt, np.uint8))
    remember_verdicts(kept, (stamp[0], stamp[1] + 1), rows, np.array([Verdict.PILLOW, Verdict.DALI], np.uint8))
    assert kept.stat().st_mtime_ns == before
    remember_verdicts(kept, stamp, rows, np.array([Verdict.BAD, Verdict.DALI], np.uint8))
    assert verdicts() == [Verdict.DALI, Verdict.BAD]
    remember_verdicts(kept, stamp, rows, np.array([Verdict.BAD, Verdict.SCAN_FIRST], np.uint8))
    assert verdicts() == [Verdict.DALI, Verdict.BAD]
    kept.unlink()
    remember_verdicts(kept, stamp, rows, np.array([Verdict.BAD, Verdict.DALI], np.uint8))
    assert not kept.exists()
