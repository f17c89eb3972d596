"""Samples come from the cache where they are kept, and waiting for them can be given up."""

import pickle
import threading
import time
from concurrent.futures import CancelledError

import fsspec
import pytest

import dali_mixup as dm
from dali_mixup.dataset.dataset import Encoded
from dali_mixup.dataset.remote_files import RemoteFiles
from dali_mixup.dataset.remote_samples import Place, RemoteRead, RemoteSamples
from tests.range_server import RangeServer, on, stall

DATA = bytes(range(256)) * 8
PLACES = [Place(0, 0, 10), Place(0, 100, 50), Place(0, 1000, 1048)]
WANTED = [Encoded(DATA[place.start : place.start + place.size]) for place in PLACES]


def as_encoded(data):
    return [Encoded(each) for each in data]


def read(samples, places=PLACES):
    return RemoteRead(samples, places, [f"sample {k}" for k in range(len(places))], as_encoded)


def open_samples(url, cache=None, **options):
    options = dm.Remote(**{"timeout": 1, "retries": 0, **options})
    file = RemoteFiles(options).ask(url)
    return RemoteSamples([file], options, cache_folder=cache, cache_bytes=None)


@pytest.fixture
def url():
    fsspec.filesystem("memory").pipe_file("/samples/file.bin", DATA)
    return "memory://samples/file.bin"


@pytest.mark.parametrize("is_kept", [False, True])
def test_samples_come_in_their_order(url, tmp_path, is_kept):
    samples = open_samples(url, tmp_path if is_kept else None)
    for _ in range(2):
        assert read(samples).result() == WANTED
        assert read(samples, PLACES[::-1]).result() == WANTED[::-1]
    assert len([*tmp_path.glob("samples/*/*")]) == (len(PLACES) if is_kept else 0)


def test_what_had_to_leave_the_cache_is_fetched_again(url, tmp_path):
    samples = open_samples(url, tmp_path)
    read(samples).result()
    again = read(samples)
    for path in tmp_path.glob("samples/*/*"):
        path.unlink()
    assert again.result() == WANTED


def test_a_copy_by_pickle_has_the_same_cache(url, tmp_path):
    read(open_samples(url, tmp_path)).result()
    copy = pickle.loads(pickle.dumps(open_samples(url, tmp_path)))
    fsspec.filesystem("memory").rm("/samples/file.bin")
    assert read(copy).result() == WANTED


def test_an_error_names_the_sample_and_the_url(url):
    samples = open_samples(url)
    fsspec.filesystem("memory").rm("/samples/file.bin")
    with pytest.raises(dm.ReadError, match=r"^sample 0: memory://samples/file\.bin can't be read: FileNotFoundError"):
        read(samples).result()


@pytest.mark.parametrize("is_kept", [False, True])
def test_waiting_is_given_up_when_the_reading_is_dropped(tmp_path, is_kept):
    (tmp_path / "file.bin").write_bytes(DATA)
    with RangeServer(tmp_path) as server:
        samples = open_samples(f"{server.url}/file.bin", tmp_path / "cache" if is_kept else None, timeout=4)
        server.fault = on("bytes=100-", stall)
        reading = read(samples)
        threading.Timer(0.3, reading.drop).start()
        begin = time.monotonic()
        with pytest.raises(dm.ReadError, match=r"sample 1: .* given up") as error:
            reading.result()
        assert time.monotonic() - begin < 2
        assert isinstance(error.value.__cause__, CancelledError)
