"""Pieces are whole or not there, fetched once by all who ask, and the least recently used ones leave."""

import errno
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dali_mixup.dataset import range_cache
from dali_mixup.dataset.range_cache import RangeCache
from tests.dataset.remote_loaders import kept_bytes

SIZE = 1000


def content(name):
    return name.encode() * SIZE


def open_cache(folder, most_bytes=None, patience=10.0):
    return RangeCache(folder, most_bytes=most_bytes, patience=patience)


def keep(cache, name, fetched=None):
    data = content(name[-1])

    def fetch():
        if fetched is not None:
            fetched.append(name)
        return data

    return cache.keep(name, len(data), fetch)


def kept(folder):
    return {path.name for path in folder.glob("*/*")}


def test_a_piece_is_fetched_once_and_then_read(tmp_path):
    cache, fetched = open_cache(tmp_path), []
    assert not cache.has("x/a")
    assert cache.read("x/a", SIZE) is None
    for _ in range(2):
        assert keep(cache, "x/a", fetched) == (content("a"), None)
    assert fetched == ["x/a"]
    assert cache.has("x/a")
    assert cache.read("x/a", SIZE) == content("a")
    assert kept(tmp_path) == {"a"}


def test_a_piece_of_another_length_is_none(tmp_path):
    cache = open_cache(tmp_path)
    keep(cache, "x/a")
    for length in (SIZE - 1, 0, SIZE + 1):
        (tmp_path / "x" / "a").write_bytes(b"a" * length)
        assert cache.read("x/a", SIZE) is None
        assert keep(cache, "x/a") == (content("a"), None)


def test_nothing_stays_of_a_fetch_that_fails(tmp_path):
    cache = open_cache(tmp_path)

    def fail():
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        cache.keep("x/a", SIZE, fail)
    assert kept(tmp_path) == set()
    assert keep(cache, "x/a") == (content("a"), None)


def test_what_a_killed_process_left_is_written_anew(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.part").write_bytes(b"z" * 5000)
    cache = open_cache(tmp_path)
    assert keep(cache, "x/a") == (content("a"), None)
    assert (tmp_path / "x" / "a").read_bytes() == content("a")
    assert kept(tmp_path) == {"a"}


def test_threads_that_ask_at_once_fetch_once(tmp_path):
    fetched = []

    def slow():
        fetched.append(1)
        time.sleep(0.2)
        return content("a")

    with ThreadPoolExecutor(8) as pool:
        caches = [open_cache(tmp_path) for _ in range(8)]
        found = [*pool.map(lambda cache: cache.keep("x/a", SIZE, slow), caches)]
    assert found == [(content("a"), None)] * 8
    assert fetched == [1]


def fetch_all(folder, most_bytes, names, told):
    cache = open_cache(folder, most_bytes)
    for name in names:
        fetched = []
        assert keep(cache, name, fetched)[0] == content(name[-1])
        for each in fetched:
            told.put(each)


@pytest.mark.parametrize("most_bytes", [None, 1 << 20])
def test_processes_that_ask_at_once_fetch_once(tmp_path, most_bytes):
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    names = [f"x/{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    workers = [context.Process(target=fetch_all, args=(tmp_path, most_bytes, names, told)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(told.get() for _ in range(told.qsize())) == names
    assert kept(tmp_path) == {name[-1] for name in names}


def test_the_least_recently_used_leave_and_the_limit_holds(tmp_path):
    cache = open_cache(tmp_path, most_bytes=5 * SIZE)
    for name in ("x/a", "x/b", "y/c", "y/d", "y/e"):
        keep(cache, name)
        time.sleep(0.01)
    cache.read("x/a", SIZE)
    keep(cache, "y/f")
    assert kept(tmp_path) == set("acdef")
    keep(cache, "y/g")
    assert kept(tmp_path) == set("adefg")


def test_the_limit_holds_over_processes(tmp_path):
    most = 20 * SIZE
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    workers = [
        context.Process(
            target=fetch_all, args=(tmp_path, most, [f"{k}{i}/{c}" for i in range(9) for c in "abcde"], told)
        )
        for k in range(4)
    ]
    for worker in workers:
        worker.start()
    largest = 0
    while any(worker.is_alive() for worker in workers):
        largest = max(largest, kept_bytes(tmp_path))
        time.sleep(0.005)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert 10 * SIZE < largest <= most


def test_a_piece_larger_than_the_limit_is_not_kept(tmp_path):
    cache = open_cache(tmp_path, most_bytes=SIZE - 1)
    assert keep(cache, "x/a") == (content("a"), None)
    assert kept(tmp_path) == set()


def test_a_full_disk_gives_the_bytes_and_the_reason(tmp_path, monkeypatch):
    cache = open_cache(tmp_path, most_bytes=10 * SIZE)
    keep(cache, "x/b")

    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(range_cache.os, "write", full)
    data, error = keep(cache, "x/a")
    assert data == content("a")
    assert error.errno == errno.ENOSPC
    assert kept(tmp_path) == {"b"}
    monkeypatch.undo()
    assert keep(cache, "x/a") == (content("a"), None)


def test_a_folder_that_cannot_be_made_gives_the_bytes_and_the_reason(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    data, error = keep(open_cache(tmp_path / "file" / "cache"), "x/a")
    assert data == content("a")
    assert error.errno == errno.ENOTDIR


def test_nobody_waits_for_ever_for_another_one(tmp_path):
    waiting, done = threading.Event(), threading.Event()

    def stuck():
        waiting.set()
        done.wait(20)
        return content("a")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(open_cache(tmp_path).keep, "x/a", SIZE, stuck)
        waiting.wait(10)
        assert keep(open_cache(tmp_path, patience=0.1), "x/a") == (content("a"), None)
        done.set()
        assert first.result() == (content("a"), None)


def test_pieces_that_many_write_at_once_stay_within_the_limit(tmp_path, monkeypatch):
    most, write = 3 * SIZE, os.write

    def slowly(fd, data):
        time.sleep(0.01)
        return write(fd, data)

    monkeypatch.setattr(range_cache.os, "write", slowly)
    cache = open_cache(tmp_path, most_bytes=most)
    together, found = threading.Barrier(16), []

    def fetch():
        together.wait()
        return content("a")

    with ThreadPoolExecutor(16) as pool:
        kept_now = [pool.submit(cache.keep, f"x/{name}", SIZE, fetch) for name in "abcdefghijklmnop"]
        while not all(each.done() for each in kept_now):
            found.append(kept_bytes(tmp_path) if (tmp_path / range_cache.COUNTER).exists() else 0)
    assert [each.result() for each in kept_now] == [(content("a"), None)] * 16
    assert max(found) <= most
    assert SIZE <= kept_bytes(tmp_path) <= most
