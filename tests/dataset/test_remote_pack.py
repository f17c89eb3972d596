"""A pack at a URL gives the batches of the pack here, whatever its store does, or an error that names the sample."""

import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset import range_cache, remote_pack
from tests.dataset.remote_loaders import QUICK, kept_bytes, loader, same, shard_requests
from tests.range_server import RangeServer, answer_with, cut_short, on, reset, stall

COUNT = 24
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a pack of JPEGs, a PNG and a GIF in two shards."""
    root = tmp_path_factory.mktemp("packs")
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        path = root / "photos" / "ab"[i % 2] / f"{i:02}.{'png' if i == 3 else 'jpg'}"
        path.parent.mkdir(exist_ok=True, parents=True)
        image = Image.fromarray(generator.integers(256, size=(60 + i, 90, 3)).astype(np.uint8))
        image.resize((360, 240 + 4 * i)).save(path, {3: "PNG", 4: "GIF"}.get(i, "JPEG"))
    dm.pack(dm.ImageFolder(root / "photos", cache=False), root / "pack", shard_mb=1, progress=False)
    assert len([*(root / "pack").glob("*.tar")]) > 1
    return root


@pytest.fixture(scope="module")
def here(place):
    """Some epochs of the pack in the file system, each a list of batches."""
    made = loader(dm.PackedDataset(place / "pack"))
    return [[*made] for _ in range(3)]


@pytest.fixture
def server(place):
    with RangeServer(place) as server:
        yield server


def quiet(server):
    """Wait until nothing is asked any more."""
    before = -1
    while before != len(server.requests):
        before = len(server.requests)
        time.sleep(0.3)


def test_batches_are_those_of_the_pack_here(server, here):
    made = loader(dm.PackedDataset(f"{server.url}/pack/"))
    assert [same(made, epoch) for epoch in here] == [True] * 3


def test_only_what_windows_need_is_fetched(server, place):
    dataset = dm.PackedDataset(f"{server.url}/pack")
    made = dm.Loader(dataset, dm.ImagePipeline(geometry=dm.RandomResizedCrop(64, scale=(0.1, 0.2))), batch_size=4)
    whole = {f"/pack/{tar.name}": tar.stat().st_size for tar in (place / "pack").glob("*.tar")}
    server.requests.clear()
    epochs = 0
    for _ in range(3):
        epochs += len([*made])
    bounds = [re.fullmatch(r"bytes=(\d+)-(\d+)", text) for _, text in shard_requests(server)]
    fetched = sum(int(found[2]) + 1 - int(found[1]) for found in bounds) / len(bounds) * COUNT
    assert fetched < 0.8 * sum(whole.values())


def test_a_cold_epoch_fetches_each_sample_once_and_a_warm_one_nothing(server, here, tmp_path):
    dataset = dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path)
    made = loader(dataset)
    server.requests.clear()
    assert same(made, here[0])
    quiet(server)
    assert len(set(shard_requests(server))) == len(server.requests) == COUNT
    server.requests.clear()
    assert same(made, here[1])
    assert same(made, here[2])
    assert server.requests == []
    again = loader(dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path))  # asks whether it is still the same pack
    assert same(again, here[0])
    assert sorted({path for _, path, _ in server.requests} - {"/pack/index.json"}) == [
        "/pack/shard-000000.tar",
        "/pack/shard-000001.tar",
    ]
    assert shard_requests(server) == []


@pytest.mark.parametrize("fault", [answer_with(500), answer_with(403), reset, stall, cut_short])
@pytest.mark.parametrize("is_kept", [False, True])
def test_what_a_store_gets_wrong_once_changes_no_batch(server, here, tmp_path, fault, is_kept):
    options = {"cache_dir": tmp_path} if is_kept else {}
    dataset = dm.PackedDataset(f"{server.url}/pack", remote=QUICK, **options)
    server.fault = on(r"\.tar bytes", fault, times=3)
    assert same(loader(dataset), here[0])
    assert server.failed == 3


@pytest.mark.parametrize("fault", [answer_with(500), answer_with(403), reset, stall, cut_short])
@pytest.mark.parametrize("policy", ["raise", "replace"])
def test_what_stays_unreachable_is_named_and_the_loader_goes_on(server, here, tmp_path, fault, policy):
    remote = dm.Remote(timeout=0.4, retries=1)
    dataset = dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path, remote=remote)
    made = loader(dataset, on_bad_sample=policy)
    start = int(dataset._offset[7])
    server.fault = on(rf"shard-00000{dataset._shard[7]}\.tar bytes={start}-", fault)
    begin = time.monotonic()
    name = re.escape(dataset.name(7))
    with pytest.raises(dm.ReadError, match=rf"^{name}: http://.*/shard-\d+\.tar can't be read: .*tried 2 times"):
        list(made)
    assert time.monotonic() - begin < 10
    assert made.bad_samples == []
    assert not [*tmp_path.glob(f"samples/{dataset._remote.files[dataset._shard[7]].digest()}/{start}")]
    server.fault = None
    made.set_epoch(1)
    assert same(made, here[1])
    quiet(server)
    assert not [*tmp_path.glob("samples/*/*.part")]


def test_a_changed_shard_is_named_and_never_kept(place, here, tmp_path):
    shutil.copytree(place / "pack", tmp_path / "pack")
    with RangeServer(tmp_path) as server:
        dataset = dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path / "cache", remote=QUICK)
        for shard in (tmp_path / "pack").glob("*.tar"):
            shard.write_bytes(shard.read_bytes()[::-1])
            os.utime(shard, ns=(0, 7))
        with pytest.raises(dm.ReadError, match=r"shard-00000\d\.tar: .*: it changed since it was looked at"):
            list(loader(dataset))
        quiet(server)
        assert not [*(tmp_path / "cache" / "samples").glob("*/*")]


def test_two_ranks_fetch_each_sample_once(server, place, here, tmp_path):
    """Ranks with all samples each, as validation has them, in processes of their own."""
    code = (
        "import sys, dali_mixup as dm\n"
        "from tests.dataset.remote_loaders import loader\n"
        "made = loader(dm.PackedDataset(sys.argv[1], cache_dir=sys.argv[2]), shard=(0, 1))\n"
        "print(*(float(images.double().sum()) for images, _ in made))\n"
    )
    server.fault = lambda _: time.sleep(0.05)
    with ThreadPoolExecutor(2) as pool:
        command = [sys.executable, "-c", code, f"{server.url}/pack", str(tmp_path)]
        run = partial(subprocess.run, command, capture_output=True, text=True, check=False, cwd=ROOT)
        done = [*pool.map(lambda _: run(), range(2))]
    expected = [float(images.double().sum()) for images, _ in here[0]]
    for each in done:
        assert each.returncode == 0, each.stderr
        assert [float(text) for text in each.stdout.split()] == expected
    fetched = shard_requests(server)
    assert len(fetched) == len(set(fetched)) == COUNT


def test_cache_bytes_bound_the_samples_and_change_no_batch(server, here, tmp_path):
    most = 300_000
    made = loader(dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path, cache_bytes=most))
    for epoch in here:
        assert same(made, epoch)
        assert kept_bytes(tmp_path / "samples") <= most
    quiet(server)
    assert 0 < kept_bytes(tmp_path / "samples") <= most


def test_a_full_disk_is_said_once_and_changes_no_batch(server, here, tmp_path, monkeypatch):
    dataset = dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path)

    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(range_cache.os, "write", full)
    with pytest.warns(UserWarning, match=r"samples can't be kept in .* \(No space left on device\)") as said:
        assert same(loader(dataset), here[0])
    assert len(said) == 1
    quiet(server)
    assert not [*tmp_path.glob("samples/*/*")]


def test_the_index_is_kept_and_fetched_anew_where_it_was_damaged(server, here, tmp_path):
    url = f"{server.url}/pack"
    dm.PackedDataset(url, cache_dir=tmp_path)
    (kept,) = (tmp_path / remote_pack.INDEXES).iterdir()
    server.requests.clear()
    dm.PackedDataset(url, cache_dir=tmp_path)
    assert not [path for _, path, _ in server.requests if path.endswith(".npy")]
    (kept / "offset.npy").write_bytes(b"?" + (kept / "offset.npy").read_bytes()[1:])
    assert same(loader(dm.PackedDataset(url, cache_dir=tmp_path)), here[0])


def test_an_index_that_cannot_be_kept_is_said(server, here, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"the index of .* can't be kept in .*file \(Not a directory\)"):
        dm.PackedDataset(f"{server.url}/pack", cache_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("pattern", "fault", "message"),
    [
        ("index.json", answer_with(404), r"folder must be the URL of a pack, got 'http.*index\.json \(tried 3 times\)"),
        ("height.npy", cut_short, r"http.*/pack/height\.npy is damaged; pack it again"),
        ("marks.npy", answer_with(500), r"the index of http.*/pack can't be fetched: .*500"),
        ("shard-000001", answer_with(404), r"http.*/pack/shard-000001\.tar can't be read: .*404"),
    ],
)
def test_a_pack_that_is_not_all_there_is_refused(server, pattern, fault, message):
    server.fault = on(pattern, fault)
    with pytest.raises(dm.DatasetError, match=message):
        dm.PackedDataset(f"{server.url}/pack", remote=QUICK)


def test_a_shard_of_another_size_is_refused(place, tmp_path):
    shutil.copytree(place / "pack", tmp_path / "pack")
    with open(tmp_path / "pack" / "shard-000001.tar", "ab") as shard:
        shard.write(b"x")
    with (
        RangeServer(tmp_path) as server,
        pytest.raises(dm.DatasetError, match=r"shard-000001\.tar must have \d+ bytes, has \d+; copy the whole pack"),
    ):
        dm.PackedDataset(f"{server.url}/pack")


def test_a_break_does_not_wait_for_a_store_that_stalls(server, tmp_path):
    made = loader(
        dm.PackedDataset(f"{server.url}/pack", remote=dm.Remote(timeout=60, requests=4)), batch_size=1, prefetch=1
    )
    iterator = iter(made)
    next(iterator)
    quiet(server)  # what the next batch needs is here, also on a busy machine
    server.fault = on(r"\.tar bytes", stall)
    begin, asked = time.monotonic(), len(shard_requests(server))
    made.set_epoch(5)
    next(iterator)
    while len(shard_requests(server)) == asked and time.monotonic() - begin < 5:
        time.sleep(0.01)
    assert len(shard_requests(server)) > asked, "nothing is asked for any more, so nothing stalls"
    begin = time.monotonic()
    iterator.close()
    del made, iterator
    assert time.monotonic() - begin < 5


def test_a_pickled_copy_reads_and_a_memory_store_works(place, here, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(place / "pack"), "/pack", recursive=True)
    dataset = dm.PackedDataset("memory://pack", cache_dir=tmp_path)
    assert same(loader(pickle.loads(pickle.dumps(dataset))), here[0])
    assert dataset.fingerprint() == dm.PackedDataset(place / "pack").fingerprint()
    assert np.array_equal(dataset.pixels(5), dm.PackedDataset(place / "pack").pixels(5))
