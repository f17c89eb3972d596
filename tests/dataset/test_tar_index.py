"""Many tars at once: in threads, in their order, and stopped by Ctrl-C."""

import io
import time

import numpy as np
import pytest

import dali_mixup as dm
from dali_mixup.dataset import tar_index
from dali_mixup.dataset.tar_index import make_index, scan_tars
from dali_mixup.dataset.tar_scan import Layout
from tests.conftest import jpeg_bytes
from tests.made_tars import write_tar

LAYOUT = Layout(image=("jpg",), target="cls")


@pytest.fixture
def tars(tmp_path):
    """Five tars of 0 to 4 images, whose classes tell where they are."""
    for i in range(5):
        files = {}
        for k in range(i):
            files |= {
                f"{k}.jpg": jpeg_bytes(10 + i, 10 + k) if k != 2 else b"text",
                f"{k}.cls": str(10 * i + k).encode(),
            }
        write_tar(tmp_path / f"{i}.tar", files)
    return [str(path) for path in sorted(tmp_path.iterdir())]


def test_samples_come_in_the_order_of_the_tars(tars):
    index = make_index(tars, scan_tars(tars, LAYOUT, None, progress=False), None)
    assert index.targets.tolist() == [10, 20, 21, 30, 31, 32, 40, 41, 42, 43]
    assert index.tar.tolist() == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert index.row.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert list(index.names) == [f"{k}.jpg" for i in range(5) for k in range(i)]
    assert set(index.sizes.reasons) == {5, 8}
    for number, tar in enumerate(index.tar.tolist()):
        with open(tars[tar], "rb") as file:
            file.seek(index.start[number])
            content = file.read(index.sizes.file_size[number])
        expected = b"text" if number in (5, 8) else jpeg_bytes(10 + tar, 10 + int(index.row[number]))
        assert content == expected


def test_a_subset_takes_its_rows_and_reasons(tars):
    index = make_index(tars, scan_tars(tars, LAYOUT, None, progress=False), None)
    kept = index.subset(np.array([9, 5, 0]))
    assert (kept.targets.tolist(), kept.tar.tolist(), kept.row.tolist()) == ([43, 32, 10], [4, 3, 1], [3, 2, 0])
    assert list(kept.names) == ["3.jpg", "2.jpg", "0.jpg"]
    assert kept.sizes.reasons == {1: "not an image of a supported format"}
    assert kept.sizes.height.tolist() == [14, 0, 11]


def test_ctrl_c_does_not_wait_for_the_rest(tars, monkeypatch):
    started = []
    original = tar_index.scan_tar

    def slow(path, layout, moved):
        started.append(path)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            moved(0)
            time.sleep(0.001)
        return original(path, layout, moved)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tar_index, "PROBE_THREADS", 2)
    monkeypatch.setattr(tar_index, "scan_tar", slow)
    monkeypatch.setattr(tar_index, "list", interrupted, raising=False)  # in the thread that waits
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scan_tars(tars, LAYOUT, None, progress=False)
    assert time.monotonic() - begin < 30
    assert len(started) <= 2


def test_a_bar_tells_how_far_it_is(tars, monkeypatch):
    err, disabled = io.StringIO(), []
    original = tar_index.progress_bar

    def bar(**options):
        disabled.append(options["disable"])
        return original(**{**options, "file": err, "delay": 0})

    monkeypatch.setattr(tar_index, "progress_bar", bar)
    scan_tars(tars, LAYOUT, None, progress=True)
    assert "scanning tars" in err.getvalue()
    scan_tars(tars, LAYOUT, None, progress=False)
    assert disabled == [False, True]
    with pytest.raises(dm.DatasetError, match="1 of 1 tars can't be used"):
        scan_tars(["gone.tar"], LAYOUT, None, progress=True)
