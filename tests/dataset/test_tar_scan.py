"""The samples of a tar, against the webdataset package."""

import inspect
import io
import os
import re
import tarfile

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext, group_by_keys, tar_file_expander, tar_file_iterator

from dali_mixup.dataset.header import look
from dali_mixup.dataset.source import BytesSource
from dali_mixup.dataset.tar_members import TarError
from dali_mixup.dataset.tar_scan import Layout, scan_tar, split_name
from dali_mixup.dataset.verdict import SPARE_BYTES, Verdict
from tests.conftest import jpeg_bytes
from tests.made_tars import write_tar

LAYOUT = Layout(image=("jpg", "png"), target="cls")
META = inspect.signature(tar_file_iterator).parameters["skip_meta"].default
FOR_A_FUNCTION = Layout(image=("jpg", "png"), target=None)


def scan(path, layout=LAYOUT):
    return scan_tar(str(path), layout, lambda _: None)


def theirs(path):
    """What webdataset makes of a tar: dicts of bytes by extension, with the key."""
    with open(path, "rb") as stream:
        return list(group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])))


@given(st.text(alphabet="a.B/_\n é", max_size=9))
def test_names_are_split_as_webdataset_splits_them(name):
    key, extension = base_plus_ext(name)
    found = split_name(name)
    if found is None:
        assert key is None or re.match(META, name)
    else:
        assert found == (key, extension.lower())
        assert not re.match(META, name)


@pytest.fixture
def photos():
    return [jpeg_bytes(20 + i, 30, seed=i) for i in range(6)]


def test_the_samples_are_those_of_webdatasets_reader(tmp_path, photos):
    files = [
        ("__meta__.json", b"{}"), ("__more__/x.jpg", b""), ("noext", b""), (".hidden", b""),
        ("a/.jpg", b"its key"), ("a/.cls", b"2"),
        ("a/1.cls", b"3"), ("a/1.JPG", photos[0]), ("a/1.seg.png", b"not the image"),
        ("b.c/1.jpg", photos[1]), ("b.c/noext", b"between"), ("b.c/1.cls", b" 12\n"),
        ("./c/ü 1.x.cls", b"5"), ("./c/noext", b""), ("./c/ü 1.cls", b"4"), ("./c/ü 1.jpg", photos[2]),
        ("d" * 300 + ".jpg", photos[3]), ("d" * 300 + ".cls", b"0"),
        ("e/1.png", photos[4]), ("e/1.cls", b"-1"),
        ("1.cls", b"1"), ("1.jpg", photos[5]),
    ]  # fmt: skip
    path = write_tar(tmp_path / "a.tar", files)
    found, content = scan(path), path.read_bytes()
    columns = found.images.columns
    ours = [
        (split_name(name)[0], content[start : start + size], target)
        for name, start, size, target in zip(
            found.images.names, columns["start"], columns["file_size"], columns["target"], strict=True
        )
    ]
    samples = [(each["__key__"], each.get("jpg", each.get("png")), each.get("cls")) for each in theirs(path)]
    assert ours == [(key, image, int(cls)) for key, image, cls in samples if image]
    assert len(ours) == 7
    assert list(found.passed) == ["__meta__.json"]
    assert [key for key, image, _ in samples if not image] == ["__meta__"]


def test_shards_of_webdatasets_writer_hold_what_was_written(tmp_path, photos):
    with webdataset.ShardWriter(str(tmp_path / "%03d.tar"), maxcount=4, verbose=0) as writer:
        for i, photo in enumerate(photos):
            writer.write({"__key__": f"{i:06}", "jpg": photo, "cls": 5 - i})
    for shard, numbers in ((0, range(4)), (1, range(4, 6))):
        path = tmp_path / f"{shard:03}.tar"
        columns, content = scan(path).images.columns, path.read_bytes()
        places = zip(columns["start"], columns["file_size"], strict=True)
        assert [content[start : start + size] for start, size in places] == [photos[i] for i in numbers]
        assert columns["target"].tolist() == [5 - i for i in numbers]


def test_sizes_and_verdicts_are_those_of_the_bytes(tmp_path, photos):
    images = [*photos[:3], b"", b"text", photos[0][:100]]
    files = [file for i, image in enumerate(images) for file in ((f"{i}.jpg", image), (f"{i}.cls", b"0"))]
    found = scan(write_tar(tmp_path / "a.tar", files))
    expected = [look(BytesSource(image)) for image in images]
    for name in ("height", "width", "verdict"):
        assert found.images.columns[name].tolist() == [getattr(each, name) for each in expected]
    assert found.reasons == {i: each.reason for i, each in enumerate(expected) if each.reason}


def test_no_more_is_read_of_a_member_than_an_image_of_its_size_needs(tmp_path, photos):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        label = tarfile.TarInfo("a.cls")
        label.size = 1
        tar.addfile(label, io.BytesIO(b"0"))
    with open(tmp_path / "a.tar", "r+b") as file:
        long = tarfile.TarInfo("a.jpg")
        long.size = 3 << 30
        file.seek(1024)
        file.write(long.tobuf() + photos[0])
        file.truncate(1024 + 512 + long.size + 1024)
    columns = scan(tmp_path / "a.tar").images.columns
    assert columns["file_size"][0] < SPARE_BYTES + 20_000
    assert columns["verdict"][0] == Verdict.PILLOW
    assert look(BytesSource(photos[0] + bytes(columns["file_size"][0] - len(photos[0])))).verdict == Verdict.PILLOW


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["a.jpg", "b.cls"],
            r"a\.jpg has no target, a\.cls is missing; pass target= with another extension, or a func",
        ),
        (["a.jpg", "a.cls", "a.JPG"], "a.JPG comes twice: the key a has two files with the extension jpg"),
        (["a.jpg", "a.cls", "b.jpg", "b.cls", "a.jpg", "a.cls"], r"a\.jpg: the key a comes twice, with other files"),
        (["a.jpg", "a.png", "a.cls"], r"a\.jpg and a\.png are images with the same key; pass image= with the exten"),
    ],
)
def test_samples_that_are_none_are_refused_by_name(tmp_path, names, message):
    path = write_tar(tmp_path / "a.tar", [(name, b"1") for name in names])
    with pytest.raises(TarError, match=message):
        scan(path)


@pytest.mark.parametrize("content", [b"", b"cat", b"1.0", b"1 2", b"\xff", b"1" * 30, b"9" * 19])
def test_a_class_that_is_no_number_is_refused_by_name(tmp_path, content):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"", "a.cls": content})
    with pytest.raises(TarError, match=r"a\.cls must hold a class index in decimal digits, got .*; for anything else"):
        scan(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize(("name", "layout"), [("b.jpg", LAYOUT), ("b.cls", LAYOUT), ("b.json", FOR_A_FUNCTION)])
def test_links_where_bytes_are_needed_are_refused_by_name(tmp_path, kind, name, layout):
    with tarfile.open(write_tar(tmp_path / "a.tar", {"a.jpg": b"1", "a.cls": b"1"}), "a") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "a.jpg"
        tar.addfile(info)
    with pytest.raises(TarError, match=rf"{name} is a link, .*; write the tar with --dereference and --hard-deref"):
        scan(tmp_path / "a.tar", layout)
    if name != "b.json":
        assert scan(tmp_path / "a.tar", Layout(image=("gif",), target="txt")).passed[0] == "a.jpg"


def test_keys_without_an_image_are_listed(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", {"README.md": b"", "a.cls": b"1", "a.jpg": b"", "classes.txt": b"", "b.cls": b"0"}
    )
    assert list(scan(path).passed) == ["README.md", "classes.txt", "b.cls"]


def test_sidecars_are_kept_for_a_function_only(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"", "b.json": b"{}", "b.jpg": b"", "b.txt": b"hello"})
    with pytest.raises(TarError, match=r"a\.jpg has no target"):
        scan(path)
    found = scan(path, FOR_A_FUNCTION).sidecars
    assert list(found.names) == ["b.json", "b.txt"]
    assert found.columns["sample"].tolist() == [1, 1]
    content = path.read_bytes()
    assert [content[s:][:n] for s, n in zip(found.columns["start"], found.columns["size"], strict=True)] == [
        b"{}",
        b"hello",
    ]


def test_a_tar_that_grows_while_it_is_scanned_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(f"{i}.{e}", b"1") for i in range(300) for e in ("jpg", "cls")])
    with pytest.raises(TarError, match="changed while it was scanned"):
        scan_tar(str(path), LAYOUT, lambda _: os.utime(path, ns=(0, 7)))


def test_the_way_that_was_gone_is_told(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(f"{i}.{e}", b"1") for i in range(1000) for e in ("jpg", "cls")])
    told = []
    scan_tar(str(path), LAYOUT, told.append)
    assert len(told) == 8
    assert path.stat().st_size * 0.8 < np.sum(told) < path.stat().st_size
