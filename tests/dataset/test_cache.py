import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from dali_mixup.dataset.cache import COLUMNS, Cache, load_cache, save_cache
from dali_mixup.dataset.paths import PathList


def filled(names):
    rng = np.random.default_rng(0)
    return Cache(
        names=PathList(names),
        columns={name: rng.integers(1, 100, len(names)).astype(dtype) for name, dtype in COLUMNS.items()},
    )


def same(one, other):
    return list(one.names) == list(other.names) and all(
        np.array_equal(one.columns[name], other.columns[name]) and other.columns[name].dtype == dtype
        for name, dtype in COLUMNS.items()
    )


@pytest.fixture
def file(tmp_path):
    save_cache(tmp_path / "folder" / "a.sizes", filled(["a.jpg", "ü/b\n.jpg", os.fsdecode(b"\xff")]))
    return tmp_path / "folder" / "a.sizes"


def test_what_was_saved_is_loaded(file):
    assert same(load_cache(file), filled(["a.jpg", "ü/b\n.jpg", os.fsdecode(b"\xff")]))
    assert os.listdir(file.parent) == ["a.sizes"]


def test_no_mutant_is_believed(file):
    """3,000 damages: whatever was changed, the cache is empty, and nothing is raised."""
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(3_000):
        content = bytearray(whole)
        kind = rng.integers(4)
        if kind == 0:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        elif kind == 1:
            del content[rng.integers(len(content)) :]
        elif kind == 2:
            at = rng.integers(len(content))
            content[at : at + rng.integers(20)] = rng.bytes(rng.integers(20))
        else:
            content += rng.bytes(rng.integers(1, 100))
        file.write_bytes(content)
        assert bytes(content) == whole or len(load_cache(file).names) == 0


@pytest.mark.parametrize("length", [1, 100, 1 << 40])
def test_a_sparse_file_is_not_believed(file, length):
    with open(file, "wb") as opened:
        opened.truncate(length)
    assert len(load_cache(file).names) == 0


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "link to a device", "link to itself"])
def test_what_is_no_file_is_not_waited_for(file, kind):
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind != "missing":
        os.symlink("/dev/zero" if kind == "link to a device" else file, file)
    assert len(load_cache(file).names) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_strangers_file_counts_only_in_the_strangers_folder(file):
    os.chown(file, 4_242, -1)
    assert len(load_cache(file).names) == 0
    os.chown(file.parent, 4_242, -1)
    assert len(load_cache(file).names) == 3


def test_another_version_is_not_believed(file):
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b" 2\n", b" 3\n", 1))
    assert len(load_cache(file).names) == 0


def test_columns_that_do_not_fit_are_not_believed(file):
    for damage in (
        {"height": np.zeros(2, np.int32)},
        {"height": np.zeros(3, np.float64)},
        {"verdict": np.zeros((3, 1), np.uint8)},
    ):
        save_cache(file, Cache(names=filled("abc").names, columns=filled("abc").columns | damage))
        assert len(load_cache(file).names) == 0


def test_a_new_table_goes_before_what_was_known_of_others():
    cache, news = filled(["a", "b", "c"]), filled(["x", "b", "y"])
    news.columns["verdict"][2] = 0  # bad
    merged = cache.updated(news.names, news.columns)
    assert list(merged.names) == ["x", "b", "a", "c"]
    assert merged.columns["width"].tolist() == [*news.columns["width"][:2], *cache.columns["width"][[0, 2]]]


def test_a_cache_can_be_read_by_its_user_alone(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_user_without_a_home_reads_without_a_cache(tmp_path):
    script = (
        "import os, warnings; from dali_mixup.dataset.sizes import default_cache_folder\n"
        "os.environ.pop('HOME', None); os.setuid(4242)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    assert default_cache_folder() is None\n"
        "assert 'this user has no home folder; set DALI_MIXUP_CACHE' in str(caught[0].message)\n"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without a name")
    environment = {key: value for key, value in os.environ.items() if key not in ("DALI_MIXUP_CACHE", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
