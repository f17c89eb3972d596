"""Ranges are what a store has, and what fails is asked for again, within bounds, then named."""

import os
import pickle
import threading
import time

import pytest

from dali_mixup.dataset.remote import Remote
from dali_mixup.dataset.remote_files import RemoteError, RemoteFiles
from tests.range_server import RangeServer, answer_with, cut_short, on, reset, stall

DATA = os.urandom(5000)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "file.bin").write_bytes(DATA)
    with RangeServer(tmp_path) as server:
        yield server


@pytest.fixture
def store():
    return RemoteFiles(Remote(timeout=1, retries=2))


def test_ranges_are_those_of_the_file(server, store):
    file = store.ask(f"{server.url}/file.bin")
    assert (file.size, bool(file.etag)) == (5000, True)
    for start, stop in ((0, 1), (17, 4000), (4999, 5000), (0, 5000), (30, 30)):
        assert store.read(file, start, stop) == DATA[start:stop]
    assert store.read_all(file.url) == DATA


@pytest.mark.parametrize("fault", [answer_with(500), answer_with(503), answer_with(403), reset, stall, cut_short])
def test_what_fails_once_or_twice_is_asked_for_again(server, store, fault):
    file = store.ask(f"{server.url}/file.bin")
    server.fault = on("bytes=10-", fault, times=2 if fault is not stall else 1)
    assert store.read(file, 10, 3000) == DATA[10:3000]
    assert server.failed == (1 if fault is stall else 2)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (answer_with(500), r"500.*\(tried 3 times\)"),
        (answer_with(403), r"403.*\(tried 3 times\)"),
        (reset, r"\(tried 3 times\)"),
        (stall, r"no answer within 0\.4 s \(tried 3 times\)"),
        (cut_short, r"gave 1495 bytes for the 2990 from byte 10 on \(tried 3 times\)"),
    ],
)
def test_what_goes_on_failing_is_an_error_in_time(server, fault, message):
    store = RemoteFiles(Remote(timeout=0.4, retries=2))
    file = store.ask(f"{server.url}/file.bin")
    server.fault = on("bytes=10-", fault)
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=message):
        store.read(file, 10, 3000)
    assert time.monotonic() - begin < 3 * 0.4 + 0.2 + 0.4 + 2


def test_a_changed_file_is_an_error_even_of_the_same_size(server, store, tmp_path):
    file = store.ask(f"{server.url}/file.bin")
    (tmp_path / "file.bin").write_bytes(DATA[::-1])
    os.utime(tmp_path / "file.bin", ns=(0, 7))
    with pytest.raises(RemoteError, match="it changed since it was looked at"):
        store.read(file, 10, 3000)
    again = store.ask(file.url)
    assert again.stamp() != file.stamp()
    assert again.digest() != file.digest()
    assert store.read(again, 0, 9) == DATA[::-1][:9]


def test_what_is_missing_is_named_with_the_answer(server, store):
    with pytest.raises(RemoteError, match=r"404.*/gone.*\(tried 3 times\)"):
        store.ask(f"{server.url}/gone")


def test_a_copy_by_pickle_reads_too(server, store):
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read(copy.ask(f"{server.url}/file.bin"), 0, 4) == DATA[:4]


def test_many_threads_read_at_once(server, store):
    file = store.ask(f"{server.url}/file.bin")
    server.fault = lambda _: time.sleep(0.2)
    found = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: store.read(file, i, 100 + i)})) for i in range(32)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin < 32 * 0.2 / 2
    assert found == {i: DATA[i : 100 + i] for i in range(32)}
