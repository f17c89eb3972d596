"""Images that a function gives: the batches of the files, and what the function raises."""

import io
import pickle
import threading
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm

COUNT = 12
PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5)


@pytest.fixture
def folder(tmp_path):
    """An ImageFolder of JPEGs of different sizes, and a PNG and a GIF among them."""
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = generator.integers(256, size=(40 + i, 60 - i, 3)).astype(np.uint8)
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i:02}{'.png' if i == 3 else '.jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, {3: "PNG", 4: "GIF"}.get(i, "JPEG"))
    return dm.ImageFolder(tmp_path / "photos", cache=False)


def in_bytes(folder, **options):
    contents = [Path(path).read_bytes() for path in folder.paths]
    names = [path.removeprefix(folder.root + "/") for path in folder.paths]
    return dm.BytesDataset(contents.__getitem__, folder.targets, folder.classes, names=names, **options)


def loader(dataset, **options):
    options = {"batch_size": 5, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", **options}
    return dm.Loader(dataset, PIPELINE, **options)


def same(first, second):
    batches = zip(first, second, strict=True)
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in batches)


class Lmdb:
    """A user's way to an LMDB: each thread's look at it is a transaction of its own."""

    def __init__(self, path):
        self.path = path
        self.open()
        with self.environment.begin() as transaction:
            self.keys = list(transaction.cursor().iternext(values=False))

    def open(self):
        self.environment = lmdb.open(self.path, readonly=True, lock=False)

    def __call__(self, number):
        with self.environment.begin() as transaction:
            data = transaction.get(self.keys[number])
        if data is None:
            raise KeyError(self.keys[number])
        return data

    def __getstate__(self):
        return self.path, self.keys

    def __setstate__(self, state):
        self.path, self.keys = state
        self.open()


def test_the_batches_are_those_of_the_files(folder):
    dataset = in_bytes(folder)
    assert dataset.fingerprint() == folder.fingerprint()
    np.testing.assert_array_equal(dataset.sizes.verdict, folder.sizes.verdict)
    np.testing.assert_array_equal(dataset.heights, folder.heights)
    files, read = loader(folder), loader(dataset)
    for _ in range(2):
        assert same(files, read)
    files.load_state_dict(read.state_dict())
    assert same(files, read)


def test_a_bad_sample_is_named_or_replaced_as_its_file_would_be(folder):
    with open(folder.paths[5], "r+b") as file:
        file.truncate(300)
    dataset = in_bytes(folder)
    with pytest.raises(dm.BadSampleError, match=r"sample 5: a/10\.jpg: truncated"):
        list(loader(dataset))
    options = {"on_bad_sample": "replace", "max_bad_fraction": 0.5}
    files, read = loader(folder, **options), loader(dataset, **options)
    with pytest.warns(dm.BadFileWarning, match="truncated"):
        assert same(files, read)
    assert [(number, reason) for number, _, reason in read.bad_samples] == [
        (number, reason) for number, _, reason in files.bad_samples
    ]


def test_what_read_raises_names_the_sample_and_the_loader_goes_on(folder):
    good = in_bytes(folder)
    broken = threading.Event()

    def read(number):
        if number == 7 and broken.is_set():
            raise ConnectionError("the line is dead")
        return good.read([number])[0].data

    dataset = dm.BytesDataset(read, folder.targets, names=[good.name(i) for i in range(COUNT)])
    for policy in ("raise", "replace"):
        made = loader(dataset, on_bad_sample=policy)
        broken.set()
        with pytest.raises(dm.ReadError, match=r"b/03\.png: read\(7\) raised ConnectionError: the line is dead"):
            list(made)
        assert made.bad_samples == []
        broken.clear()
        made.set_epoch(3)
        expected = loader(folder)
        expected.set_epoch(3)
        assert same(made, expected)


def test_a_sample_that_changed_is_bad_unless_its_size_is_the_same(folder):
    contents = [in_bytes(folder).read([i])[0].data for i in range(COUNT)]
    made = loader(dm.BytesDataset(contents.__getitem__, folder.targets), shuffle=False)
    file = io.BytesIO()
    Image.new("RGB", (10, 10)).save(file, "JPEG")
    contents[2] = file.getvalue()
    with pytest.raises(dm.BadSampleError, match=r"sample 2: sample 2: changed since it was indexed: 10 x 10 pixels"):
        list(made)


def test_a_zip_file_may_be_read_in_threads(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        for path in folder.paths:
            packed.write(path, path.removeprefix(folder.root + "/"))
    archive = zipfile.ZipFile(tmp_path / "photos.zip")
    names = archive.namelist()
    dataset = dm.BytesDataset(lambda number: archive.read(names[number]), folder.targets, names=names)
    assert same(loader(folder, num_threads=4), loader(dataset, num_threads=4))


def test_an_lmdb_may_be_read_in_threads_and_by_a_pickled_copy(folder, tmp_path):
    with (
        lmdb.open(str(tmp_path / "photos.lmdb"), map_size=1 << 24) as environment,
        environment.begin(write=True) as put,
    ):
        for path in folder.paths:
            put.put(path.removeprefix(folder.root + "/").encode(), Path(path).read_bytes())
    stored = Lmdb(str(tmp_path / "photos.lmdb"))
    dataset = dm.BytesDataset(stored, folder.targets, folder.classes, names=[key.decode() for key in stored.keys])
    assert dataset.fingerprint() == folder.fingerprint()
    made = loader(dataset, num_threads=4)
    assert same(loader(folder, num_threads=4), made)
    stored.environment.close()  # as LMDB asks for, before the same file is opened again
    copy = pickle.loads(pickle.dumps(made))
    assert same(loader(folder), copy)
    copy.dataset._read.environment.close()
    stored.keys[3] = b"b/no such key"
    stored.open()
    with pytest.raises(dm.ReadError, match=r"a/06\.jpg: read\(3\) raised KeyError: .*no such key"):
        list(made)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((b"x", [0]), TypeError, "read must be a function"),
        ((lambda _: "text", [0]), TypeError, r"read\(0\) must be the bytes of an encoded image, got 'text'"),
        ((lambda _: b"", []), dm.DatasetError, "targets must be one per sample, at least one"),
        ((lambda _: {}["key"], [0]), dm.ReadError, r"sample 0: read\(0\) raised KeyError: 'key'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dm.BytesDataset(*arguments)


def test_names_must_be_one_per_target():
    with pytest.raises(dm.DatasetError, match=r"names must be one per target \(1 targets\)"):
        dm.BytesDataset(lambda _: b"", [0], names=["a", "b"])


def test_what_is_no_image_is_warned_of_and_is_a_bad_sample():
    with pytest.warns(dm.BadFileWarning, match=r"1 of 1 files can't be read as images: sample 0 \(empty file\)"):
        assert dm.BytesDataset(lambda _: b"", [0]).bad_files == {0: "empty file"}
