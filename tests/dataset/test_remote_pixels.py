"""A pack of pixels at a URL gives the batches of the pack here, or says what it can't fetch."""

import errno
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pytest

import dali_mixup as dm
from dali_mixup.dataset import range_cache, remote_pixels
from tests.conftest import picture
from tests.dataset.remote_loaders import QUICK, loader, same, shard_requests
from tests.range_server import RangeServer, answer_with, cut_short, on, reset, stall

PIECE = 50_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a pack of small images of one size and one of photos of many sizes, each in several pieces."""
    root = tmp_path_factory.mktemp("pixels")
    rng = np.random.default_rng(0)
    arrays = dm.ArrayDataset(rng.integers(0, 256, (430, 32, 32, 3), np.uint8), rng.integers(0, 3, 430))
    dm.pack(arrays, root / "small", pixels=True, shard_mb=1, progress=False)
    (root / "photos").mkdir()
    for number in range(24):
        picture(50 + number, 100 - number, number).save(root / "photos" / f"{number:02}.png")
    files = dm.FileList(sorted((root / "photos").glob("*.png")), range(24), cache=False, progress=False)
    dm.pack(files, root / "large", pixels=True, progress=False)
    return root


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(remote_pixels, "PIECE", PIECE)


@pytest.fixture
def server(place):
    with RangeServer(place) as server:
        yield server


def epochs(dataset):
    made = loader(dataset, batch_size=8)
    return [batch for _ in range(2) for batch in made]


@pytest.mark.parametrize("kind", ["small", "large"])
@pytest.mark.parametrize("is_kept", [False, True])
def test_batches_are_those_of_the_pack_here(server, place, tmp_path, kind, is_kept):
    here = dm.PackedDataset(place / kind)
    there = dm.PackedDataset(f"{server.url}/{kind}/", cache_dir=tmp_path if is_kept else None)
    asked = shard_requests(server)
    assert len(asked) == len(set(asked)) > 3
    assert same(epochs(there), epochs(here))
    assert shard_requests(server) == asked
    assert (there.fingerprint(), there.name(7), repr(there)) == (here.fingerprint(), here.name(7), repr(here))
    np.testing.assert_array_equal(there.pixels(7), here.pixels(7))


def test_what_is_kept_is_fetched_once_by_all_that_open_the_pack(server, place, tmp_path):
    url = f"{server.url}/small"
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: dm.PackedDataset(url, cache_dir=tmp_path), range(4)))
    asked = shard_requests(server)
    assert len(asked) == len(set(asked))
    opened.append(pickle.loads(pickle.dumps(opened[0])))
    expected = dm.PackedDataset(place / "small").pixels(429)
    for dataset in opened:
        np.testing.assert_array_equal(dataset.pixels(429), expected)
    assert shard_requests(server) == asked


def test_a_copy_of_what_is_not_kept_fetches_what_it_needs(server, place):
    dataset = dm.PackedDataset(f"{server.url}/small")
    content = pickle.dumps(dataset)
    assert len(content) < 60_000
    asked = len(shard_requests(server))
    copy = pickle.loads(content)
    assert len(shard_requests(server)) == asked
    np.testing.assert_array_equal(copy.pixels(3), dm.PackedDataset(place / "small").pixels(3))
    assert len(shard_requests(server)) == asked + 1


@pytest.mark.parametrize("fault", [answer_with(500), answer_with(403), reset, stall, cut_short])
def test_what_a_store_gets_wrong_once_changes_nothing(server, place, tmp_path, fault):
    server.fault = on(r"\.tar bytes", fault, times=3)
    dataset = dm.PackedDataset(f"{server.url}/small", cache_dir=tmp_path, remote=QUICK)
    assert server.failed == 3
    assert same(epochs(dataset), epochs(dm.PackedDataset(place / "small")))


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("fault", [answer_with(500), stall, cut_short])
def test_what_stays_unreachable_is_named_and_no_part_of_it_is_kept(server, tmp_path, fault, is_kept):
    server.fault = on(r"shard-000001\.tar bytes", fault)
    options = {"remote": dm.Remote(timeout=0.4, retries=1), "cache_dir": tmp_path if is_kept else None}
    with pytest.raises(dm.DatasetError, match=r"^http://.*/small/shard-000001\.tar can't be read: .*tried 2 times"):
        dm.PackedDataset(f"{server.url}/small", **options)
    server.fault, until = None, time.monotonic() + 10
    while [*tmp_path.glob("samples/*/*.part")]:  # others were on their way
        assert time.monotonic() < until
    assert len(dm.PackedDataset(f"{server.url}/small", **options)) == 430


def test_an_index_that_cannot_be_read_is_an_error_that_says_so(server):
    server.fault = on("index.json", answer_with(500), times=1)
    with pytest.raises(
        dm.DatasetError, match=r"^folder must be the URL of a pack, got .*/small'.*index\.json: .*tried once"
    ):
        dm.PackedDataset(f"{server.url}/small", remote=dm.Remote(retries=0))
    assert server.failed == 1


def test_a_kept_piece_that_was_cut_short_is_fetched_again(server, place, tmp_path):
    dm.PackedDataset(f"{server.url}/small", cache_dir=tmp_path)
    piece = min(tmp_path.glob("samples/*/*"))
    os.truncate(piece, 100)
    asked = len(shard_requests(server))
    dataset = dm.PackedDataset(f"{server.url}/small", cache_dir=tmp_path)
    assert len(shard_requests(server)) == asked + 1
    assert same(epochs(dataset), epochs(dm.PackedDataset(place / "small")))


def test_a_full_disk_leaves_the_pixels_in_memory_and_says_so(server, place, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(range_cache.os, "replace", refuse)
    with pytest.warns(UserWarning, match="can't be kept in .*No space left on device"):
        dataset = dm.PackedDataset(f"{server.url}/small", cache_dir=tmp_path)
    assert same(epochs(dataset), epochs(dm.PackedDataset(place / "small")))


def test_a_limit_that_the_pixels_exceed_is_refused(server, tmp_path):
    total = 430 * 32 * 32 * 3
    with pytest.raises(ValueError, match=r"cache_bytes must be at least (\d+) for these pixels, got 1000000") as caught:
        dm.PackedDataset(f"{server.url}/small", cache_dir=tmp_path, cache_bytes=1_000_000)
    enough = int(str(caught.value).split()[5])
    assert total <= enough < 2 * total  # with the headers between them
    assert len(dm.PackedDataset(f"{server.url}/small", cache_dir=tmp_path, cache_bytes=enough)) == 430
    assert sum(path.stat().st_size for path in (tmp_path / "samples").glob("*/*")) <= enough


def test_a_memory_store_works(place):
    fsspec.filesystem("memory").put(str(place / "small"), "/pixels", recursive=True)
    assert same(epochs(dm.PackedDataset("memory://pixels")), epochs(dm.PackedDataset(place / "small")))


def test_pieces_hold_every_image_whole():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 3 * PIECE, 200)
    gaps = rng.integers(0, 2000, 200)
    shard = np.repeat([0, 1, 4], [70, 1, 129])
    start = np.concatenate([np.cumsum((size + gaps)[shard == each]) for each in (0, 1, 4)]) - size
    part, places = remote_pixels.cut_pieces(shard, start, size)
    assert np.array_equal(np.unique(part), np.arange(len(places)))
    for number, piece in enumerate(part.tolist()):
        place = places[piece]
        assert place.file == shard[number]
        assert place.start <= start[number]
        assert start[number] + size[number] <= place.start + place.size
    assert all(place.size <= PIECE + size.max() for place in places)
    assert len(places) < 200
