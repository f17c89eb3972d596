"""A bounded number of open files, shared by threads."""

import copy
import gc
import os
import pickle
import resource
import threading

import numpy as np
import pytest

from dali_mixup.dataset import open_files
from dali_mixup.dataset.open_files import OpenFiles

COUNT, MOST = 60, 8


@pytest.fixture
def paths(tmp_path):
    for i in range(COUNT):
        (tmp_path / f"{i:02}").write_text(f"{i:02}")
    return [str(path) for path in sorted(tmp_path.iterdir())]


@pytest.fixture
def few(paths, monkeypatch):
    """As many files, of which only a few may be open."""
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (MOST * open_files.SHARE, -1))
    return OpenFiles(paths)


def read(files, number):
    with files.hold([number]) as fds:
        return os.pread(fds[number], 2, 0)


def count_open(folder):
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link).startswith(f"{folder}/") for link in links)


def test_files_stay_open_up_to_a_bound(few, tmp_path):
    assert [read(few, number) for number in range(COUNT)] == [b"%02d" % number for number in range(COUNT)]
    assert count_open(tmp_path) == MOST


def test_no_file_outlives_its_owner(paths, tmp_path):
    read(OpenFiles(paths), 0)
    assert count_open(tmp_path) == 0


def test_those_in_use_are_not_closed_and_not_counted(few, tmp_path):
    with few.hold(range(20)) as fds:
        assert [os.pread(fds[number], 2, 0) for number in range(20)] == [b"%02d" % number for number in range(20)]
        for number in range(20, COUNT):
            read(few, number)
        assert os.pread(fds[0], 2, 0) == b"00"
        assert count_open(tmp_path) == 20 + MOST
        del fds
    gc.collect()
    assert count_open(tmp_path) == MOST


def test_threads_read_the_right_files_while_others_push_them_out(few):
    before, wrong, most = len(os.listdir("/proc/self/fd")), [], []

    def work(seed):
        for number in np.random.default_rng(seed).integers(COUNT, size=2000).tolist():
            wrong.extend([number] * (read(few, number) != b"%02d" % number))
        most.append(len(os.listdir("/proc/self/fd")))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert max(most) <= before + MOST + 3 * len(threads)  # one in hand, one that is opened, and the folder of this list


def test_the_bound_is_a_part_of_what_is_allowed(monkeypatch):
    limits = {20: 5, 1024: 256, 1 << 20: 4096, resource.RLIM_INFINITY: 4096, 2: 1}
    for limit, expected in limits.items():
        monkeypatch.setattr(open_files.resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert open_files.most_open() == expected


def test_copies_open_their_own(paths, tmp_path):
    files = OpenFiles(paths)
    read(files, 3)
    for other in (pickle.loads(pickle.dumps(files)), copy.deepcopy(files)):
        assert read(other, 3) == b"03"
    del other
    gc.collect()
    assert count_open(tmp_path) == 1


def test_forgotten_files_are_opened_anew(paths):
    files = OpenFiles(paths)
    assert read(files, 3) == b"03"
    os.replace(paths[4], paths[3])
    assert read(files, 3) == b"03"
    files.forget()
    assert read(files, 3) == b"04"
    with pytest.raises(FileNotFoundError):
        read(files, 4)
