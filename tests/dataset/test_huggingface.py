"""Data sets of Hugging Face's: the batches of the files that they hold, views of them, and what is refused."""

import io
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm

os.environ["HF_HUB_OFFLINE"] = "1"
import datasets

datasets.disable_progress_bars()
COUNT = 12
PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5)
FEATURES = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ImageFolder of JPEGs of different sizes, and a PNG and a GIF among them."""
    generator, root = np.random.default_rng(0), tmp_path_factory.mktemp("hf") / "photos"
    for i in range(COUNT):
        pixels = generator.integers(256, size=(40 + i, 60 - i, 3)).astype(np.uint8)
        path = root / "ab"[i % 2] / f"{i:02}{'.png' if i == 3 else '.jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, {3: "PNG", 4: "GIF"}.get(i, "JPEG"))
    return dm.ImageFolder(root, cache=False)


def names_below(folder):
    return [path.removeprefix(folder.root + "/") for path in folder.paths]


def in_memory(folder, features=FEATURES, **columns):
    images = [{"bytes": Path(path).read_bytes()} for path in folder.paths]
    return datasets.Dataset.from_dict({"image": images, "label": folder.targets.tolist(), **columns}, features)


@pytest.fixture(scope="module")
def parquet(folder, tmp_path_factory):
    """The folder in two Parquet files of row groups of 4, as `load_dataset` maps it."""
    place, made = tmp_path_factory.mktemp("parquet"), in_memory(folder)
    files = [str(place / f"{half}.parquet") for half in range(2)]
    made.select(range(7)).to_parquet(files[0], batch_size=4)
    made.select(range(7, COUNT)).to_parquet(files[1], batch_size=4)
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(place / "cache"))


def loader(dataset, **options):
    options = {"batch_size": 5, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", **options}
    return dm.Loader(dataset, PIPELINE, **options)


def same(first, second):
    batches = zip(first, second, strict=True)
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in batches)


def test_parquet_files_give_the_batches_and_states_of_the_image_files(folder, parquet):
    dataset = dm.HFDataset(parquet, names=names_below(folder), cache=False)
    assert dataset.fingerprint() == folder.fingerprint()
    assert dataset.classes == folder.classes
    assert repr(dataset) == "HFDataset(12 samples, 2 classes)"
    np.testing.assert_array_equal(dataset.sizes.verdict, folder.sizes.verdict)
    files, read = loader(folder, num_threads=3), loader(dataset, num_threads=3)
    for _ in range(2):
        assert same(files, read)
    next(iter(read))
    for made in (files, read):
        made.load_state_dict(read.state_dict())
    assert same(files, read)
    for made in (files, read):
        made.load_state_dict(files.state_dict())
    assert same(files, read)


def test_an_imagefolder_is_read_from_its_files(folder, tmp_path):
    made = datasets.load_dataset("imagefolder", data_dir=folder.root, split="train", cache_dir=str(tmp_path / "cache"))
    dataset = dm.HFDataset(made, cache=False)
    assert [dataset.name(i) for i in range(COUNT)] == list(folder.paths)
    assert dataset.fingerprint() == folder.fingerprint()
    assert same(loader(folder), loader(dataset))


def test_views_are_read_in_their_order(folder, parquet):
    both = datasets.concatenate_datasets([in_memory(folder), parquet])
    for view in (
        parquet.shuffle(seed=3),
        parquet.train_test_split(0.4, seed=1)["test"],
        parquet.select(range(5, 9)).shuffle(seed=1),
        parquet.select([11, 0, 0, 4]),
        parquet.filter(lambda label: label == 1, input_columns="label"),
        both.shuffle(seed=2).select(range(2, 20)),
    ):
        dataset, plain = dm.HFDataset(view, cache=False), view.cast_column("image", datasets.Image(decode=False))
        assert dataset.targets.tolist() == list(view["label"])
        assert [bytes(found.data) for found in dataset.read(list(range(len(view))))] == [
            image["bytes"] for image in plain["image"]
        ]
        assert dataset.name(1) == "row 1"


def test_many_threads_read_what_one_reads(parquet):
    dataset = dm.HFDataset(parquet.shuffle(seed=0), cache=False)
    expected = [found.data for found in dataset.read(list(range(COUNT)))]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(dataset.read, [list(range(COUNT))] * 200):
            assert [one.data for one in found] == expected


def test_a_pickle_reads_the_same(folder, parquet):
    for made in (parquet.shuffle(seed=5), in_memory(folder)):
        dataset = dm.HFDataset(made, cache=False)
        copy = pickle.loads(pickle.dumps(dataset))
        assert same(loader(dataset), loader(copy))
    assert len(pickle.dumps(dm.HFDataset(parquet, cache=False))) < 10_000


def test_bad_images_are_named_and_replaced(folder, tmp_path):
    contents = [Path(path).read_bytes() for path in folder.paths]
    contents[5], contents[8] = contents[5][:300], b""
    paths = [tmp_path / f"{i}.jpg" for i in range(COUNT)]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    made = datasets.Dataset.from_dict({"image": [{"bytes": data} for data in contents], "label": [0] * COUNT}, FEATURES)
    with pytest.warns(dm.BadFileWarning, match=r"1 of 12 files can't be read as images: row 8 \(empty file\)"):
        assert dm.HFDataset(made, cache=False).bad_files == {8: "empty file"}
    with pytest.warns(dm.BadFileWarning, match="empty"):
        dataset = dm.HFDataset(made, names=[str(path) for path in paths], cache=False)
    with pytest.warns(dm.BadFileWarning, match="empty"):
        files = dm.FileList(paths, [0] * COUNT, cache=False)
    with pytest.raises(dm.BadSampleError, match=r"/5\.jpg: truncated"):
        list(loader(dataset, shuffle=False, batch_size=6))
    options = {"on_bad_sample": "replace", "max_bad_fraction": 0.5}
    with pytest.warns(dm.BadFileWarning, match="truncated"):
        assert same(loader(files, **options), loader(dataset, **options))


def test_a_file_that_is_gone_is_a_bad_sample(folder, tmp_path):
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    columns = {"image": [*folder.paths, str(tmp_path / "gone.jpg")], "label": [0] * (COUNT + 1)}
    with pytest.warns(dm.BadFileWarning, match=r"gone\.jpg \(missing\)"):
        dataset = dm.HFDataset(datasets.Dataset.from_dict(columns, features), cache=False)
    assert dataset.read([COUNT]) == ["missing"]
    columns["image"][1] = {"bytes": Path(folder.paths[1]).read_bytes(), "path": None}  # files and bytes in one column
    columns["image"][2] = None
    with pytest.warns(dm.BadFileWarning, match=r"row 2 \(neither bytes nor a path\), row 12 \(missing\)"):
        mixed = dm.HFDataset(datasets.Dataset.from_dict(columns, features), cache=False)
    assert bytes(mixed.read([1])[0].data) == bytes(dataset.read([1])[0].data)


MANY = [[0], [0, 2], [], [1, 0]] * 3
HOT = [[1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0]] * 3


@pytest.mark.parametrize(
    ("feature", "values", "expected", "classes"),
    [
        (datasets.List(datasets.ClassLabel(names=["x", "y", "z"])), MANY, HOT, ["x", "y", "z"]),
        (datasets.List(datasets.Value("int32")), MANY, HOT, None),
        (datasets.List(datasets.Value("float32"), length=2), [[0.25, 0.5]] * 12, [[0.25, 0.5]] * 12, None),
        (datasets.Value("float64"), [0.5] * 12, [0.5] * 12, None),
        (datasets.Value("uint8"), [3] * 12, [3] * 12, None),
    ],
)
def test_targets_may_be_numbers_and_lists(folder, feature, values, expected, classes):
    made = in_memory(folder, datasets.Features(FEATURES, label=feature), label=values)
    dataset = dm.HFDataset(made.select([*range(1, COUNT), 0]), cache=False)
    assert dataset.targets.dtype == (np.int64 if isinstance(expected[0], int) else np.float32)
    assert dataset.targets.tolist() == [*expected[1:], expected[0]]
    assert dataset.classes == classes


@pytest.mark.parametrize(
    ("feature", "values", "message"),
    [
        (datasets.Value("string"), ["a"] * 12, r"target 'label' must be .*class_encode_column\('label'\)"),
        (datasets.Value("int64"), [0, None, *[1] * 10], "target 'label' of row 1 must be there, got None"),
        (datasets.ClassLabel(names=["a"]), [-1] * 12, r"targets\[0\] must be a class index from 0 to 0, got -1"),
        (datasets.List(datasets.Value("int64")), [[-1]] * 12, "class indices from 0 to 0, got -1"),
        (datasets.List(datasets.Value("float32")), [[0.5], [0.5, 1]] * 6, "lists of floats of one length"),
    ],
)
def test_targets_of_another_kind_are_refused(folder, feature, values, message):
    made = in_memory(folder, datasets.Features(FEATURES, label=feature), label=values)
    with pytest.raises(dm.DatasetError, match=message):
        dm.HFDataset(made, cache=False)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda d: datasets.DatasetDict(test=d), {}, TypeError, r"take one of its splits, such as dataset\['test'\]"),
        (lambda d: d.to_iterable_dataset(), {}, TypeError, "got 'IterableDataset'; .*without streaming=True"),
        (lambda d: list(d), {}, TypeError, r"dataset must be a datasets\.Dataset, got"),
        (lambda d: d.select([]), {}, dm.DatasetError, "dataset must be of at least one row"),
        (
            lambda d: d,
            {"image": "photo"},
            dm.DatasetError,
            r"image must be one of the columns \['image', 'label'\], got 'pho",
        ),
        (lambda d: d, {"target": "class"}, dm.DatasetError, r"target must be one of the columns .*, got 'class'"),
        (lambda d: d, {"image": "label"}, dm.DatasetError, r"column 'label' must be a datasets.Image.*cast_column"),
        (lambda d: d, {"names": ["one"]}, dm.DatasetError, r"names must be one per row \(12 rows\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(folder, change, options, error, message):
    with pytest.raises(error, match=message):
        dm.HFDataset(change(in_memory(folder)), cache=False, **options)


def count_looks(monkeypatch, dataset):
    """How many images are looked at when the data set is built once more."""
    looked = []
    inner = dm.HFDataset._probe
    with monkeypatch.context() as patch:
        patch.setattr(dm.HFDataset, "_probe", lambda self, number: looked.append(number) or inner(self, number))
        dm.HFDataset(dataset)
    return len(looked)


def test_sizes_are_kept_for_a_table_in_files_and_all_its_views(folder, parquet, tmp_path, monkeypatch):
    monkeypatch.setenv("DALI_MIXUP_CACHE", str(tmp_path))
    split = parquet.train_test_split(0.5, seed=1)
    assert [count_looks(monkeypatch, view) for view in (split["test"], split["train"])] == [6, 6]
    assert [count_looks(monkeypatch, view) for view in (parquet, split["test"], parquet.shuffle())] == [0, 0, 0]
    fresh, kept = dm.HFDataset(split["test"], cache=False), dm.HFDataset(split["test"])
    for name in ("height", "width", "file_size", "verdict"):
        np.testing.assert_array_equal(getattr(fresh.sizes, name), getattr(kept.sizes, name))
    part = parquet.select(range(2, 6))  # another table, in the same file
    assert count_looks(monkeypatch, part) == 4
    np.testing.assert_array_equal(dm.HFDataset(part).heights, folder.heights[2:6])
    assert [count_looks(monkeypatch, in_memory(folder)) for _ in range(2)] == [COUNT, COUNT]
    list(loader(kept))  # which scans the JPEGs
    assert set(dm.HFDataset(split["test"]).sizes.verdict) < set(fresh.sizes.verdict)


def test_sizes_of_an_imagefolder_are_those_of_its_files(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DALI_MIXUP_CACHE", str(tmp_path / "sizes"))
    files = dm.ImageFolder(folder.root)
    list(loader(files))
    made = datasets.load_dataset("imagefolder", data_dir=folder.root, split="train", cache_dir=str(tmp_path / "cache"))
    dataset = dm.HFDataset(made)
    assert dataset.sizes.verdict.tolist() == dm.ImageFolder(folder.root).sizes.verdict.tolist()
    assert dataset.sizes.verdict.tolist() != files.sizes.verdict.tolist()


def test_nothing_is_decoded(folder, monkeypatch):
    made = in_memory(folder)
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("decoded"))
    file = io.BytesIO(dm.HFDataset(made, cache=False).read([0])[0].data)
    with Image.open(file) as image:
        assert image.size == (60, 40)
