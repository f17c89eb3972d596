"""The pack of a folder gives the batches of the folder, and one that was damaged is refused or named."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

import dali_mixup as dm
from tests.dataset.damaged_packs import check_refused, edit_index
from tests.made_jpegs import made_jpeg

COUNT = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ImageFolder of JPEGs of several samplings and sizes, a gray one, a CMYK one, a PNG and a GIF."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        size = (45 + 7 * i, 160 - 9 * i)
        path = root / "ab"[i % 2] / f"{i:02}.{'png' if i == 3 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(generator.integers(256, size=(*size, 3)).astype(np.uint8))
        image = image.resize((4 * image.width, 4 * image.height), Image.Resampling.BICUBIC)
        if i == 5:
            image = image.convert("L")
        if i == 6:
            image = image.convert("CMYK")
        options = {"subsampling": i % 3, "progressive": i % 4 == 1} if i not in (3, 4) else {}
        image.save(path, {3: "PNG", 4: "GIF"}.get(i, "JPEG"), **options)
    (root / "a" / "made.jpg").write_bytes(made_jpeg(90, 130, [(4, 1), (1, 1), (1, 1)]))
    (root / "b" / "made.jpg").write_bytes(made_jpeg(90, 130, [(1, 2), (1, 1), (1, 1)]))
    return dm.ImageFolder(root, cache=False)


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "pack"
    dm.pack(folder, out, shard_mb=1, progress=False)
    return out


def loader(dataset, geometry=None, **options):
    pipeline = dm.ImagePipeline(geometry=geometry or dm.RandomResizedCrop(64), flip=0.5)
    options = {"batch_size": 5, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", **options}
    return dm.Loader(dataset, pipeline, **options)


def same(first, second):
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "geometry",
    [
        dm.RandomResizedCrop(64),
        dm.RandomResizedCrop(32, scale=(0.01, 0.1)),
        dm.ResizeCenterCrop(64, 48),
        dm.Resize((40, 50)),
    ],
)
def test_its_batches_are_those_of_the_folder(folder, packed, geometry):
    dataset = dm.PackedDataset(packed)
    files, read = loader(folder, geometry), loader(dataset, geometry)
    for _ in range(3):
        assert same(files, read)
    files.load_state_dict(read.state_dict())
    assert same(files, read)


def test_it_knows_what_the_folder_knew(folder, packed):
    dataset = dm.PackedDataset(packed)
    assert dataset.classes == folder.classes
    assert dataset.class_to_idx == folder.class_to_idx
    assert dataset.fingerprint() == folder.fingerprint()
    np.testing.assert_array_equal(dataset.targets, folder.targets)
    np.testing.assert_array_equal(dataset.heights, folder.heights)
    assert len(dataset) == COUNT + 2
    assert repr(dataset) == f"PackedDataset({COUNT + 2} samples in 2 shards, 2 classes)"
    assert dataset.name(1) == "shard-000000.tar: a/02.jpg"


def test_only_the_bytes_of_a_window_are_read(folder, packed):
    dataset = dm.PackedDataset(packed)
    geometry = dm.RandomResizedCrop(32, scale=(0.01, 0.02))
    numbers = list(range(len(dataset)))
    uniform = np.random.default_rng(0).random((len(numbers), geometry.uniforms))
    windows = geometry.windows(dataset.heights[numbers], dataset.widths[numbers], uniform)
    cuts = dataset.read(numbers, windows)
    cut = [i for i, each in zip(numbers, cuts, strict=True) if not each.whole]
    kinds = {folder.paths[i][-6:] for i in set(numbers) - set(cut)}
    assert kinds == {"03.png", "04.jpg", "06.jpg"}  # of these the GIF and the CMYK one are Pillow's
    wholes = sum(int(dataset.sizes.file_size[i]) for i in cut)
    assert sum(len(each.data) for each in cuts if not each.whole) < wholes / 3


@pytest.mark.parametrize("seconds", [0, 0.0005], ids=["at once", "waiting"])
def test_threads_take_what_waits_for_a_disk(packed, monkeypatch, seconds):
    dataset, geometry = dm.PackedDataset(packed), dm.RandomResizedCrop(32)
    numbers = 4 * list(range(len(dataset)))
    uniform = np.random.default_rng(0).random((len(numbers), geometry.uniforms))
    windows = geometry.windows(dataset.heights[numbers], dataset.widths[numbers], uniform)
    expected, runs, pread = dataset.read(numbers, windows), [], os.pread
    monkeypatch.setattr(os, "pread", lambda *place: time.sleep(seconds) or pread(*place))

    def in_threes(work, count):
        runs.append(count)
        return [found for start in range(0, count, 3) for found in work(range(start, min(start + 3, count)))]

    assert dataset.read(numbers, windows, in_threes) == expected
    whole, *pieces = runs
    assert whole == 4 * 3
    assert not seconds or len(pieces) == 1  # the rows of the windows of the others


def test_a_shard_that_is_gone_takes_no_others_along(packed, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "copy")
    dataset, expected = dm.PackedDataset(copy), dm.PackedDataset(packed).read(list(range(COUNT + 2)))
    (copy / "shard-000001.tar").unlink()
    found = dataset.read(list(range(COUNT + 2)))
    gone = [number for number in range(COUNT + 2) if "shard-000001" in dataset.name(number)]
    assert 0 < len(gone) < COUNT
    for number, each in enumerate(found):
        assert each == ("missing" if number in gone else expected[number])


def test_any_reader_of_tars_finds_images_and_targets(folder, packed):
    members = {}
    for path in sorted(packed.glob("*.tar")):
        with tarfile.open(path) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
    assert len(members) == 2 * (COUNT + 2)
    assert members["a/02.cls"] == b"0"
    assert members["b/03.cls"] == b"1"
    with Image.open(folder.paths[1]) as original, Image.open(io.BytesIO(members["a/02.jpg"])) as stored:
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(original))
        assert not stored.info.get("progressive")


def test_webdataset_decodes_what_the_folder_holds(folder, packed):
    found = {}
    for path in sorted(packed.glob("*.tar")):
        with open(path, "rb") as stream:
            members = tar_file_expander([{"url": "", "stream": stream}])
            found |= {sample["__key__"]: sample for sample in webdataset.decode("rgb8")(group_by_keys(members))}
    assert len(found) == len(folder)
    for key, number in (("a/02", 1), ("b/03", 9), ("a/08", 4)):
        assert folder.paths[number].rpartition(".")[0].endswith(key)
        with Image.open(folder.paths[number]) as original:
            expected = np.asarray(original.convert("RGB"))
        np.testing.assert_array_equal(found[key].get("png", found[key].get("jpg")), expected)
        assert found[key]["cls"] == folder.targets[number]


def test_a_copy_opens_its_own_files(packed):
    dataset = dm.PackedDataset(packed)
    first = dataset.read([0])
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.read([0]) == first


def test_a_script_that_ends_with_an_open_loader_says_nothing(packed):
    code = f"import dali_mixup as dm\npack = dm.PackedDataset({str(packed)!r})\n"
    code += "pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32))\n"
    code += "loader = dm.Loader(pack, pipeline, batch_size=4, device='cpu')\nnext(iter(loader))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")


def test_bad_images_are_named_by_shard_and_replaced(folder, packed, tmp_path):
    damaged = tmp_path / "pack"
    shutil.copytree(packed, damaged)
    dataset = dm.PackedDataset(damaged)
    with open(damaged / "shard-000000.tar", "r+b") as file:
        file.seek(int(dataset._offset[1]) + 700)
        file.write(bytes(int(dataset.sizes.file_size[1]) - 800))
    with pytest.raises(dm.BadSampleError, match=r"sample 1: shard-000000\.tar: a/02\.jpg: damaged: a restart marker"):
        list(loader(dm.PackedDataset(damaged), dm.Resize((64, 64)), shuffle=False))
    options = {"on_bad_sample": "replace", "max_bad_fraction": 0.5, "shuffle": False, "mixup": None}
    with pytest.warns(dm.BadFileWarning, match="a restart marker is missing"):
        found = torch.cat([images for images, _ in loader(dm.PackedDataset(damaged), dm.Resize((64, 64)), **options)])
    expected = torch.cat([images for images, _ in loader(folder, dm.Resize((64, 64)), **options)])
    differing = (found != expected).flatten(1).any(1)
    assert differing.nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda pack: (pack / "height.npy").write_bytes(b"?" + (pack / "height.npy").read_bytes()[1:]), "is damaged"),
        (lambda pack: (pack / "marks.npy").unlink(), r"marks\.npy can't be read"),
        (lambda pack: (pack / "index.json").write_text("{}"), r"index\.json is damaged"),
        (lambda pack: (pack / "index.json").write_text("[" * 9999), r"index\.json is damaged"),
        (lambda pack: edit_index(pack, classes=["c", "d"]), r"index\.json is damaged"),
        (lambda pack: edit_index(pack, version=99), r"the version of .* must be 3, got 99; pack it again"),
        (lambda pack: (pack / "index.json").unlink(), r"a folder that `dali-mixup pack` wrote.* no index\.json"),
        (lambda pack: (pack / "shard-000001.tar").unlink(), r"shard-000001\.tar can't be read"),
        (lambda pack: (pack / "shard-000001.tar").write_bytes(b""), r"shard-000001\.tar must have \d+ bytes, has 0"),
    ],
)
def test_a_damaged_pack_is_refused(packed, tmp_path, damage, message):
    check_refused(packed, tmp_path, damage, message)
