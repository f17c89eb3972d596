"""Tars at URLs give the batches of the same tars here; of their scan only headers are fetched."""

import io
import re
import time

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset import remote_tars
from tests.dataset.remote_loaders import QUICK, loader, same
from tests.made_tars import folder_as_files, write_tar
from tests.range_server import RangeServer, answer_with, on

COUNT = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two tars of noisy JPEGs."""
    root = tmp_path_factory.mktemp("tars")
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        path = root / "photos" / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(generator.integers(256, size=(200 + i, 300, 3)).astype(np.uint8)).save(path)
    files = [*folder_as_files(dm.ImageFolder(root / "photos", cache=False)).items()]
    write_tar(root / "train-0.tar", files[: len(files) // 2])
    write_tar(root / "train-1.tar", files[len(files) // 2 :])
    return root


@pytest.fixture
def server(place):
    with RangeServer(place) as server:
        yield server


def pattern(server):
    return f"{server.url}/train-{{0..1}}.tar"


def test_batches_names_and_fingerprint_are_those_of_the_tars_here(place, server, tmp_path):
    here = dm.TarDataset(f"{place}/train-{{0..1}}.tar", cache=False)
    there = dm.TarDataset(pattern(server), cache_dir=tmp_path)
    assert [there.name(i) for i in range(COUNT)] == [here.name(i) for i in range(COUNT)]
    assert there.fingerprint() == here.fingerprint()
    assert same(loader(here), loader(there))
    assert np.array_equal(there.pixels(3), here.pixels(3))


def test_a_scan_fetches_heads_and_is_kept(place, server, tmp_path):
    dm.TarDataset(pattern(server), cache_dir=tmp_path)
    bounds = [found for _, _, text in server.requests if (found := re.match(r"bytes=(\d+)-(\d+)", text or ""))]
    fetched = sum(int(found[2]) + 1 - int(found[1]) for found in bounds)
    assert fetched < 0.4 * sum(tar.stat().st_size for tar in place.glob("*.tar"))
    server.requests.clear()
    dm.TarDataset(pattern(server), cache_dir=tmp_path)
    assert [method for method, _, _ in server.requests] == ["HEAD", "HEAD"]


def test_a_function_makes_targets_of_the_files_beside_images(place, server):
    dataset = dm.TarDataset(pattern(server), target=lambda files: float(files["cls"]), cache=False)
    assert dataset.targets.dtype == np.float32
    assert dataset.targets.tolist() == [0] * (COUNT // 2) + [1] * (COUNT // 2)


def test_glob_patterns_are_asked_of_the_store(place):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name in ("train-0.tar", "train-1.tar"):
        memory.pipe_file(f"/tars/{name}", (place / name).read_bytes())
    dataset = dm.TarDataset("memory://tars/train-*.tar", cache=False)
    assert [*dataset.tars] == ["memory:///tars/train-0.tar", "memory:///tars/train-1.tar"]
    assert same(loader(dm.TarDataset(f"{place}/train-*.tar", cache=False)), loader(dataset))
    with pytest.raises(dm.DatasetError, match=r"got 'memory://tars/val-\*\.tar'; nothing matches"):
        dm.TarDataset("memory://tars/val-*.tar", cache=False)


def test_tars_that_are_missing_or_refused_are_named(server):
    with pytest.raises(
        dm.DatasetError, match=r"1 of 2 tars can't be used:\n  .*/train-2\.tar: .*404.*\(tried 3 times\)"
    ):
        dm.TarDataset(f"{server.url}/train-{{1..2}}.tar", cache=False, remote=QUICK)
    server.fault = on("train-0", answer_with(403))
    with pytest.raises(dm.DatasetError, match=r"/train-0\.tar: .*403"):
        dm.TarDataset(pattern(server), cache=False, remote=QUICK)


def test_paths_and_urls_do_not_mix(place, server):
    with pytest.raises(dm.DatasetError, match="urls must be paths alone or URLs alone"):
        dm.TarDataset([place / "train-0.tar", f"{server.url}/train-1.tar"])


def test_a_subset_reads_from_the_same_place(place, server):
    here = dm.TarDataset(f"{place}/train-{{0..1}}.tar", cache=False).subset([1, 7, 4, 9, 2])
    there = dm.TarDataset(pattern(server), cache=False).subset([1, 7, 4, 9, 2])
    assert same(loader(here), loader(there))


def test_a_large_tar_is_scanned_from_many_places_at_once(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    files = {}
    for i in range(60):
        data = io.BytesIO()
        Image.fromarray(generator.integers(256, size=(120 + i, 150, 3)).astype(np.uint8)).save(data, "JPEG")
        inner = io.BytesIO()
        if i % 7 == 0:  # headers that are none of this tar's
            write_tar(tmp_path / "inner.tar", {"deep.jpg": b"x" * 30_000, "deep.cls": b"7"})
            inner.write((tmp_path / "inner.tar").read_bytes())
        files |= {f"{i:03}.jpg": data.getvalue(), f"{i:03}.cls": b"%d" % (i % 5), f"{i:03}.extra": inner.getvalue()}
    write_tar(tmp_path / "train.tar", files)
    monkeypatch.setattr(remote_tars, "SHORTEST_WALK", 1 << 17)
    with RangeServer(tmp_path) as server:
        server.fault = slow
        began = time.monotonic()
        there = dm.TarDataset(f"{server.url}/train.tar", cache=False)
        took, asked = time.monotonic() - began, len(server.requests)
    here = dm.TarDataset(tmp_path / "train.tar", cache=False)
    assert there.fingerprint() == here.fingerprint()
    assert there._index.start.tolist() == here._index.start.tolist()
    assert [there.sizes.height.tolist(), there.sizes.width.tolist()] == [
        here.sizes.height.tolist(),
        here.sizes.width.tolist(),
    ]
    assert took < 0.5 * DELAY * asked


DELAY = 0.05


def slow(_):
    time.sleep(DELAY)
    return False
