import json
import os
import subprocess
import sys

import pytest

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.dataset.quarantine import read_quarantine, write_quarantine
from tests.conftest import jpeg_bytes

NAMES = ("plain.jpg", "with space.jpg", "new\nline.jpg", 'quote".jpg', "umläut.jpg", os.fsdecode(b"\xff\xfe.jpg"))


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(NAMES):
        for kind in ("good", "bad"):
            path = tmp_path / "photos" / f"class {i % 2}" / f"{kind} {name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = jpeg_bytes(40, 50, seed=i)
            path.write_bytes(whole if kind == "good" else whole[: len(whole) // 2])
    return tmp_path / "photos"


def test_a_list_of_verify_leaves_exactly_the_damaged_files_out(folder, tmp_path, capsys, monkeypatch):
    bad = tmp_path / "bad.jsonl"
    assert main(["index", str(folder), "--verify", "--quarantine", str(bad)]) == 1
    assert f"6 files listed in {bad}" in capsys.readouterr().out
    monkeypatch.chdir(folder)  # paths are compared as absolute ones
    for dataset in (dm.ImageFolder(folder, exclude=bad), dm.ImageFolder(".", exclude=str(bad))):
        assert sorted(os.path.basename(path) for path in dataset.paths) == sorted(f"good {name}" for name in NAMES)
        assert [int(path.split(os.sep)[-2][-1]) for path in dataset.paths] == dataset.targets.tolist()
        assert dataset.classes == ["class 0", "class 1"]
        assert len(dataset.heights) == len(dataset) == 6
    assert (
        len(list(dm.Loader(dataset, dm.ImagePipeline(geometry=dm.RandomResizedCrop(16)), batch_size=2, device="cpu")))
        == 3
    )


def test_each_line_holds_a_path_and_its_reason(folder, tmp_path):
    bad = tmp_path / "bad.jsonl"
    main(["index", str(folder), "--verify", "--quarantine", str(bad)])
    lines = [json.loads(line) for line in bad.read_bytes().split(b"\n") if line]
    assert [line["path"] for line in lines] == sorted(line["path"] for line in lines)
    assert all(line["reason"].startswith("truncated at byte ") and os.path.exists(line["path"]) for line in lines)


def test_a_list_without_bad_files_is_empty_and_excludes_nothing(folder, tmp_path):
    for path in folder.rglob("bad*"):
        path.unlink()
    bad = tmp_path / "bad.jsonl"
    assert main(["index", str(folder), "--quarantine", str(bad)]) == 0
    assert bad.read_bytes() == b""
    assert len(dm.ImageFolder(folder, exclude=bad)) == 6


def test_paths_can_be_excluded_directly(folder):
    paths = sorted(folder.rglob("*.jpg"))
    dataset = dm.FileList(paths, list(range(12)), exclude=[paths[3], os.fsencode(paths[5]), "not there.jpg"])
    assert dataset.targets.tolist() == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert list(dataset.paths) == [os.fspath(path) for i, path in enumerate(paths) if i not in (3, 5)]


def test_excluding_everything_is_an_error(folder):
    paths = sorted(folder.rglob("*.jpg"))
    with pytest.raises(dm.DatasetError, match="paths must hold at least one file that isn't excluded, got none"):
        dm.FileList(paths, [0] * 12, exclude=paths)


@pytest.mark.parametrize("content", [b"photos/1.jpg\n", b'{"file": "1.jpg"}\n', b"[1]\n", b'{"path": 3}\n'])
def test_a_list_of_another_form_is_named_with_its_line(folder, tmp_path, content):
    (tmp_path / "bad.jsonl").write_bytes(b'{"path": "a"}\n' + content)
    with pytest.raises(
        dm.DatasetError, match=r'line 2 of .*bad.jsonl must be one JSON object with a "path", got .*pass a list of them'
    ):
        dm.ImageFolder(folder, exclude=tmp_path / "bad.jsonl")


def test_a_missing_list_is_an_error(folder):
    with pytest.raises(
        dm.DatasetError, match=r"exclude must be a list that `dali-mixup index --quarantine` wrote, got 'nowhere.jsonl'"
    ):
        dm.ImageFolder(folder, exclude="nowhere.jsonl")


def test_a_list_comes_back_as_it_was_written(tmp_path):
    samples = [dm.BadSample(i, f"/photos/{name}", "empty file") for i, name in enumerate(NAMES)]
    write_quarantine(tmp_path / "list", samples)
    assert read_quarantine(tmp_path / "list") == [sample.path for sample in samples]


def test_a_list_that_cannot_be_written_is_refused_before_the_work(folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["index", str(folder), "--quarantine", "/nowhere/bad.jsonl"])
    assert stopped.value.code == 2
    assert "must be in a folder that exists and can be written" in capsys.readouterr().err


def test_lists_round_trip_for_any_bytes(tmp_path):
    names = [
        b"/a/\xff\xfe",
        b"/a/\xc3\xa4",
        b"/a/\xed\xa0\x80",
        b"/a/\xe2\x80\xa8",
        b"/a/\n\r\x85",
        b'/a/"\\',
        b"/a/\x80" * 9,
    ]
    samples = [dm.errors.BadSample(i, os.fsdecode(name), "why") for i, name in enumerate(names)]
    write_quarantine(tmp_path / "list", samples)
    assert (tmp_path / "list").read_bytes().isascii()
    assert [os.fsencode(path) for path in read_quarantine(tmp_path / "list")] == names


def test_raw_unicode_in_a_list_is_read(tmp_path):
    (tmp_path / "list").write_bytes('{"path": "/a/ä\u2028\x85b"}\r\n{"path": "/c"}'.encode())
    assert [os.fsencode(path) for path in read_quarantine(tmp_path / "list")] == ["/a/ä\u2028\x85b".encode(), b"/c"]


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"path": ' + b"[" * 100_000, b'{"path": "\\ud800"}', b"\xff\xfe{", b'{"path": null}']
)
def test_hostile_lists_are_named_with_their_line(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(dm.DatasetError, match=r'line 1 of .*list must be one JSON object with a "path"'):
        read_quarantine(tmp_path / "list")


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_any_locale_writes_and_reads_the_same_lists(tmp_path, utf8):
    names = ["umläut.jpg".encode(), b"\xff.jpg"]
    script = (
        "import os, sys; from dali_mixup.dataset.quarantine import *; from dali_mixup.errors import BadSample\n"
        "folder = os.fsencode(sys.argv[1]); theirs = read_quarantine(sys.argv[1] + '/theirs')\n"
        "assert [os.fsencode(path) for path in theirs] == [folder + b'/uml\\xc3\\xa4ut.jpg', folder + b'/\\xff.jpg']\n"
        "write_quarantine(sys.argv[1] + '/ours', [BadSample(0, path, 'why') for path in theirs])\n"
    )
    samples = [dm.errors.BadSample(0, os.path.join(tmp_path, os.fsdecode(name)), "why") for name in names]
    write_quarantine(tmp_path / "theirs", samples)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=True, timeout=120)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
