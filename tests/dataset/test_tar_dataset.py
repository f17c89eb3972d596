"""Images in tars: the batches of the files, whatever is asked of them, and errors that name what is wrong."""

import copy
import os
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

import dali_mixup as dm
from dali_mixup.dataset import open_files, tar_dataset
from tests.conftest import jpeg_bytes, noise
from tests.made_tars import folder_as_files, write_tar

COUNT = 14
CROP = dm.RandomResizedCrop(32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An ImageFolder of JPEGs of different sizes, and a PNG, a GIF and two that are no images among them."""
    root, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(COUNT):
        pixels = generator.integers(256, size=(40 + i, 60 - i, 3)).astype(np.uint8)
        path = root / "ab"[i % 2] / f"{i:02}{'.png' if i == 3 else '.jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, {3: "PNG", 4: "GIF"}.get(i, "JPEG"), progressive=i == 5)
    for name in ("a/06.jpg", "b/11.jpg"):
        (root / name).write_bytes((root / name).read_bytes()[:900])
    (root / "b/07.jpg").write_bytes(b"text")
    return root


@pytest.fixture(scope="module")
def tar(root, tmp_path_factory):
    folder = open_quietly(dm.ImageFolder, root, cache=False)
    return write_tar(tmp_path_factory.mktemp("tars") / "train-0000.tar", folder_as_files(folder))


def open_quietly(kind, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        return kind(*arguments, **options)


@pytest.fixture
def folder(root):
    return open_quietly(dm.ImageFolder, root)


@pytest.fixture
def dataset(tar):
    return open_quietly(dm.TarDataset, tar, classes=["a", "b"])


def loader(dataset, geometry=CROP, *, transforms=(), augment=None, **options):
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5, transforms=transforms, augment=augment)
    options = {"batch_size": 5, "shuffle": True, "device": "cpu", "num_threads": 2, **options}
    return dm.Loader(dataset, pipeline, **{"on_bad_sample": "replace", "max_bad_fraction": 0.5, **options})


@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning")
def same(first, second):
    batches = list(zip(first, second, strict=True))
    return len(batches) > 0 and all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in batches)


def test_a_tar_of_a_folder_describes_what_the_folder_does(folder, dataset):
    assert dataset.fingerprint() == folder.fingerprint()
    for name in ("targets", "heights", "widths"):
        np.testing.assert_array_equal(getattr(dataset, name), getattr(folder, name))
    np.testing.assert_array_equal(dataset.sizes.verdict, folder.sizes.verdict)
    assert dataset.bad_files == folder.bad_files == {10: "not an image of a supported format"}
    assert dataset.class_to_idx == folder.class_to_idx
    assert [dataset.name(i) for i in (0, 13)] == ["train-0000.tar: a/00.jpg", "train-0000.tar: b/13.jpg"]
    assert repr(dataset) == "TarDataset(14 samples in 1 tar, 2 classes)"


CASES = {
    "mixup": {"mixup": dm.MixUp(0.4)},
    "cutmix in half precision": {"mixup": dm.CutMix(), "dtype": torch.float16},
    "a choice, channels last": {
        "mixup": dm.RandomChoice([dm.MixUp(), dm.CutMix()]),
        "memory_format": torch.channels_last,
    },
    "bfloat16 in order": {"shuffle": False, "dtype": torch.bfloat16},
    "whole images": {"geometry": dm.ResizeCenterCrop(28, 24), "mixup": dm.MixUp()},
    "crops with borders": {"geometry": dm.CropPad(32, 4)},
    "kept sizes of a crop": {"geometry": dm.RandomCrop(16)},
    "transforms": {"transforms": (dm.TrivialAugmentWide(), dm.RandomErasing(1.0)), "mixup": dm.MixUp()},
    "augment": {"augment": noise},
    "four threads, one ahead": {"num_threads": 4, "prefetch": 1},
    "a rank of three": {"shard": (1, 3), "mixup": dm.MixUp()},
    "small batches": {"batch_size": 3, "drop_last": True},
}


@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning")
@pytest.mark.parametrize("case", CASES)
def test_the_batches_are_those_of_the_files_also_resumed_and_with_bad_ones_replaced(folder, dataset, case):
    files, tars = loader(folder, **CASES[case]), loader(dataset, **CASES[case])
    for _ in range(2):
        assert same(files, tars)
    assert [each[::2] for each in tars.bad_samples] == [each[::2] for each in files.bad_samples]
    assert len(tars.bad_samples) >= (1 if case == "a rank of three" else 3)
    for loaders in (files, tars):
        next(iter(loaders))
    assert tars.state_dict().keys() == files.state_dict().keys()
    files.load_state_dict(tars.state_dict())
    tars.load_state_dict(tars.state_dict())
    assert same(files, tars)


def test_bad_members_are_named_and_the_loader_goes_on(dataset):
    made = loader(dataset, on_bad_sample="raise", shuffle=False, batch_size=7)
    with pytest.raises(dm.BadSampleError, match=r"sample 3: train-0000\.tar: a/06\.jpg: truncated at byte 900"):
        list(made)
    made.set_epoch(1)
    with pytest.raises(dm.BadSampleError, match="sample 3"):
        list(made)


def test_what_webdataset_wrote_comes_in_its_order_over_all_shards(tmp_path):
    photos = [jpeg_bytes(40, 50 + i, seed=i) for i in range(11)]
    with webdataset.ShardWriter(str(tmp_path / "train-%06d.tar"), maxcount=4, verbose=0) as writer:
        for i, photo in enumerate(photos):
            writer.write({"__key__": f"{i:06}", "jpg": photo, "cls": i % 3})
    pattern = f"{tmp_path}/train-{{000000..000002}}.tar"
    theirs = []
    for path in sorted(tmp_path.iterdir()):
        with open(path, "rb") as stream:
            samples = group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}]))
            theirs += [(sample["jpg"], int(sample["cls"])) for sample in samples]
    dataset = dm.TarDataset(pattern)
    ours = [(read.data, int(label)) for read, label in zip(dataset.read(list(range(11))), dataset.targets, strict=True)]
    assert ours == theirs == [(photo, i % 3) for i, photo in enumerate(photos)]
    assert [read.data for read in dataset.read([9, 0, 5, 9])] == [photos[i] for i in (9, 0, 5, 9)]
    assert dataset.name(10) == "train-000002.tar: 000010.jpg"


def test_a_shuffle_is_one_of_all_tars(tmp_path):
    tars = [
        write_tar(tmp_path / f"{i}.tar", {f"{i}.jpg": jpeg_bytes(20, 20), f"{i}.cls": str(i).encode()})
        for i in range(40)
    ]
    labels = torch.cat([labels for _, labels in loader(dm.TarDataset(tars))])
    assert sorted(labels.tolist()) == list(range(40))
    assert (labels.diff().abs() > 10).sum() > 10


def test_other_extensions_may_hold_images_and_classes(tmp_path):
    files = {"1.left.JPG": jpeg_bytes(20, 20), "1.right.jpg": jpeg_bytes(20, 30), "1.label.txt": b"4"}
    dataset = dm.TarDataset(write_tar(tmp_path / "a.tar", files), image="right.jpg", target="label.TXT")
    assert (dataset.targets.tolist(), dataset.widths.tolist()) == ([4], [30])


def test_all_tars_that_cannot_be_used_are_named(tmp_path, tar):
    cut = tmp_path / "cut.tar"
    cut.write_bytes(tar.read_bytes()[:5000])
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b" + bytes(1000))
    message = (
        r"3 of 4 tars can't be used:\n  .*cut\.tar: truncated at byte 5000, inside of a/02\.jpg\n"
        r"  .*x\.tar\.gz: it is compressed, .*\n  .*gone\.tar: missing$"
    )
    with pytest.raises(dm.DatasetError, match=message):
        dm.TarDataset([cut, tar, tmp_path / "x.tar.gz", tmp_path / "gone.tar"])
    many = [tmp_path / f"{i}.tar" for i in range(12)]
    with pytest.raises(dm.DatasetError, match=r"(?s)12 of 12 tars .*9\.tar: missing\n  and 2 more$"):
        dm.TarDataset(many)


def test_a_tar_without_images_is_refused_and_keys_without_one_are_warned_of(tmp_path):
    with pytest.raises(dm.DatasetError, match=r"urls must be tars with at least one image \(jpg jpeg png webp\)"):
        dm.TarDataset(write_tar(tmp_path / "none.tar", {"a.gif": b"", "a.cls": b"1"}))
    files = {"README.md": b"", "a.jpg": jpeg_bytes(9, 9), "a.cls": b"1"}
    message = r"1 keys passed over without an image \(jpg jpeg png webp\): a\.tar: README\.md"
    with pytest.warns(dm.BadFileWarning, match=message):
        dm.TarDataset(write_tar(tmp_path / "a.tar", files))
    with pytest.warns(dm.BadFileWarning, match=message):  # now from the cache
        dm.TarDataset(tmp_path / "a.tar")


@pytest.mark.parametrize("policy", ["raise", "replace"])
@pytest.mark.parametrize("change", ["grown", "touched", "removed", "cut", "another"])
def test_a_tar_that_changed_is_an_error_and_never_replaced(tar, tmp_path, policy, change):
    path = tmp_path / "a.tar"
    path.write_bytes(tar.read_bytes())
    good = path.stat()
    dataset = open_quietly(dm.TarDataset, path)
    opened = tmp_path / "kept.tar"
    if change in ("removed", "another"):
        path.rename(opened)
    if change == "another":
        path.write_bytes(tar.read_bytes() + bytes(512))
    if change == "touched":
        os.utime(path, ns=(0, good.st_mtime_ns + 1))
    if change in ("grown", "cut"):
        os.truncate(path, good.st_size + (512 if change == "grown" else -512))
    made = loader(dataset, on_bad_sample=policy, max_bad_fraction=1.0 if policy == "replace" else 0.5)
    message = r"a\.tar: missing" if change == "removed" else r"a\.tar changed since it was scanned; build the TarData"
    with pytest.raises(dm.ReadError, match=message):
        open_quietly(list, made)
    assert [name for _, name, _ in made.bad_samples if "changed" in name] == []
    if change in ("removed", "another"):
        opened.rename(path)
    os.truncate(path, good.st_size)
    path.write_bytes(tar.read_bytes())
    os.utime(path, ns=(0, good.st_mtime_ns))
    open_quietly(lambda: same(made, loader(dataset))) if policy == "replace" else None


def test_a_tar_that_was_renamed_over_still_gives_what_was_scanned(tar, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar.read_bytes())
    dataset = open_quietly(dm.TarDataset, path)
    before = dataset.read([0, 1])
    (tmp_path / "b.tar").write_bytes(bytes(2000))
    os.replace(tmp_path / "b.tar", path)
    with pytest.raises(dm.ReadError, match="changed since it was scanned"):
        pickle.loads(pickle.dumps(dataset)).read([0, 1])
    assert dataset.read([0, 1]) == before


def test_a_member_that_cannot_be_read_is_a_bad_sample(dataset, monkeypatch):
    real = os.pread

    def failing(fd, count, at):
        if at == dataset._index.start[2]:
            raise OSError(5, "Input/output error")
        return real(fd, count, at)

    monkeypatch.setattr(tar_dataset.os, "pread", failing)
    found = dataset.read([1, 2, 0])
    assert found[1] == "unreadable: Input/output error"
    assert [bool(each) and not isinstance(each, str) for each in found] == [True, False, True]


def test_hundreds_of_tars_need_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (32, 32))
    photos = [jpeg_bytes(20, 20, seed=i) for i in range(300)]
    for i, photo in enumerate(photos):
        write_tar(tmp_path / f"{i:03}.tar", {"x.jpg": photo, "x.cls": str(i).encode()})
    dataset = dm.TarDataset(tmp_path)
    before, most = len(os.listdir("/proc/self/fd")), []
    monkeypatch.setattr(dataset, "_read", lambda *_: most.append(len(os.listdir("/proc/self/fd"))))
    dataset.read(list(range(300)))
    monkeypatch.undo()
    assert len(most) == 300
    assert max(most) <= before + 8 + 2
    assert [each.data for each in dataset.read(list(range(300)))] == photos
    labels = torch.cat([labels for _, labels in loader(dataset, batch_size=100, num_threads=4)])
    assert sorted(labels.tolist()) == list(range(300))


def test_a_dataset_is_pickled_and_copied_without_its_open_files(dataset, folder):
    first = dataset.read([0])
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert other.read([0]) == first
        assert other.fingerprint() == dataset.fingerprint()
        assert open_quietly(same, loader(other), loader(folder))


def test_a_subset_leaves_samples_out(dataset, folder):
    good = np.setdiff1d(np.arange(COUNT), [3, 10, 12])
    kept = dataset.subset(good)
    assert (len(kept), kept.bad_files, kept.classes) == (11, {}, ["a", "b"])
    files = dm.FileList([folder.paths[i] for i in good], folder.targets[good], folder.classes)
    assert kept.fingerprint() == files.fingerprint()
    assert same(loader(kept), loader(files))
    assert len(dataset) == COUNT
    assert open_quietly(dataset.subset, [10, 0]).bad_files == {0: "not an image of a supported format"}
    assert open_quietly(dataset.subset, [10, 10]).bad_files.keys() == {0, 1}
    assert len(dataset.subset(np.arange(COUNT) < 2)) == 2
    for nothing in ([], np.zeros(COUNT, bool)):
        with pytest.raises(dm.DatasetError, match="numbers must be those of at least one sample, got"):
            dataset.subset(nothing)
    assert [dataset.subset([-1, 0]).name(i) for i in range(2)] == [dataset.name(13), dataset.name(0)]


@pytest.fixture
def scanned(monkeypatch):
    """The tars that were scanned."""
    from dali_mixup.dataset import tar_index

    found, original = [], tar_index.scan_tar
    monkeypatch.setattr(tar_index, "scan_tar", lambda path, *rest: (found.append(path), original(path, *rest))[1])
    return found


@pytest.mark.parametrize("target", [None, 5])
def test_a_target_that_is_neither_an_extension_nor_a_function_is_refused(tar, target):
    with pytest.raises(TypeError, match=f'target must be an extension such as "cls", or a function, got {target}'):
        dm.TarDataset(tar, target=target)


def test_a_second_look_scans_no_tar_and_finds_the_same(tar, scanned, cache_folder):
    first = open_quietly(dm.TarDataset, tar)
    second = open_quietly(dm.TarDataset, tar)
    assert scanned == [str(tar)]
    assert first.bad_files == second.bad_files
    assert first.fingerprint() == second.fingerprint()
    assert second.read([2, 5]) == first.read([2, 5])
    open_quietly(dm.TarDataset, tar, cache=False)
    open_quietly(dm.TarDataset, tar, image="png", target=lambda _: 0)
    open_quietly(dm.TarDataset, tar, cache_dir=cache_folder / "elsewhere")
    assert len(scanned) == 4
    open_quietly(dm.TarDataset, tar, cache_dir=cache_folder / "elsewhere")
    assert len(scanned) == 4


def test_what_an_epoch_learns_is_kept_with_the_scan(tar):
    dataset = open_quietly(dm.TarDataset, tar)
    assert 2 in dataset.sizes.verdict
    made = loader(dataset.subset(range(2)))
    list(made)
    list(made)
    verdicts = open_quietly(dm.TarDataset, tar).sizes.verdict
    assert verdicts[:2].tolist() == [1, 1]
    np.testing.assert_array_equal(verdicts[2:], dataset.sizes.verdict[2:])


def test_where_nothing_can_be_kept_a_warning_says_so(tar, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns() as caught:
        dm.TarDataset(tar, cache_dir=tmp_path / "file")
    assert re.match(r"image sizes can't be kept in .*file \(.*\) and will be read again next", str(caught[0].message))
    assert caught[0].filename == __file__
