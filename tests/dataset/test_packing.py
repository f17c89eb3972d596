"""Packing: what is refused, what an interruption leaves, what shrinking does."""

import errno
import fcntl
import io
import json
import os
import resource
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import dali_mixup as dm
from dali_mixup.dataset import packing

COUNT = 12


def photo(height, width, seed):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(256, size=(height // 50 + 1, width // 50 + 1, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    found = [root / "ab"[i % 2] / f"{i:02}.jpg" for i in range(COUNT)]
    for i, path in enumerate(found):
        path.parent.mkdir(exist_ok=True)
        photo(100 + i, 200 - i, i).save(path, quality=90)
    return found


@pytest.fixture
def files(paths):
    return dm.FileList(paths, [i % 2 for i in range(COUNT)], ["a", "b"], cache=False)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("pixels", [False, True])
def test_the_report_says_what_was_done_and_a_second_time_does_nothing(files, tmp_path, pixels):
    report = dm.pack(files, tmp_path / "out", pixels=pixels, progress=False)
    assert (report.samples, report.cuttable, report.bad) == (COUNT, COUNT, [])
    assert report.bytes_before == sum(os.path.getsize(path) for path in files.paths)
    assert report.bytes_after == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert dm.pack(files, tmp_path / "out", pixels=pixels, progress=False) == report
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


def test_what_another_version_has_begun_is_not_gone_on_with(files, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "VERSION", packing.VERSION - 1)
    monkeypatch.setattr(packing, "_write_index", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dm.pack(files, tmp_path / "out", progress=False)
    monkeypatch.undo()
    with pytest.raises(dm.DatasetError, match=r"out\.partial is the beginning of another pack; remove it"):
        dm.pack(files, tmp_path / "out", progress=False)


def test_another_pack_or_anything_else_is_never_overwritten(files, tmp_path):
    dm.pack(files, tmp_path / "out", progress=False)
    with pytest.raises(dm.DatasetError, match="out is a pack of other images or with other options"):
        dm.pack(files, tmp_path / "out", shrink=dm.Shrink(max_size=50), progress=False)
    with pytest.raises(dm.DatasetError, match="out is a pack of other images or with other options"):
        dm.pack(files, tmp_path / "out", pixels=True, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(dm.DatasetError, match="OUT must be a folder that isn't there yet"):
        dm.pack(files, tmp_path / "other", progress=False)
    (tmp_path / "third.partial").mkdir()
    (tmp_path / "third.partial" / "thesis.tex").touch()
    with pytest.raises(dm.DatasetError, match=r"third\.partial is the beginning of another pack"):
        dm.pack(files, tmp_path / "third", progress=False)


def test_bad_images_are_left_out_only_when_told(paths, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "gone.jpg").write_bytes(paths[0].read_bytes())
    with pytest.warns(dm.BadFileWarning):
        files = dm.FileList([*paths, tmp_path / "bad.jpg", tmp_path / "gone.jpg"], range(COUNT + 2), cache=False)
    with pytest.raises(dm.BadSampleError, match=r"1 of the images can't be read.*\n.*bad\.jpg: empty file"):
        dm.pack(files, tmp_path / "out", progress=False)
    (tmp_path / "gone.jpg").unlink()
    report = dm.pack(files, tmp_path / "out", skip_bad=True, progress=False)
    assert [(number, reason) for number, _, reason in report.bad] == [(COUNT, "empty file"), (COUNT + 1, "missing")]
    assert dm.PackedDataset(tmp_path / "out").targets.tolist() == list(range(COUNT))
    assert dm.pack(files, tmp_path / "out", skip_bad=True, progress=False).bad == report.bad


def test_an_image_that_turns_out_bad_stops_it_by_name(paths, tmp_path):
    (tmp_path / "gone.jpg").write_bytes(paths[0].read_bytes())
    files = dm.FileList([*paths, tmp_path / "gone.jpg"], range(COUNT + 1), cache=False)
    (tmp_path / "gone.jpg").unlink()
    with pytest.raises(dm.BadSampleError, match=r"sample 12: .*gone\.jpg: missing"):
        dm.pack(files, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_float_targets_and_odd_names_survive(paths, tmp_path):
    names = ["x.y.jpg", "x.y.png", "x_y.jpg", "d.e/.hidden", "d.e/" + 120 * "long" + ".jpg", "gr\udcffn.jpg"]
    targets = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    dataset = dm.BytesDataset(lambda i: paths[i].read_bytes(), targets, names=names)
    dm.pack(dataset, tmp_path / "out", progress=False)
    packed = dm.PackedDataset(tmp_path / "out")
    np.testing.assert_array_equal(packed.targets, targets)
    assert [packed.name(i).split(": ")[1] for i in range(6)] == names
    assert packed.fingerprint() == dataset.fingerprint()
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        found = tar.getnames()
        assert json.load(tar.extractfile(found[1])) == targets[0].tolist()
    assert len(set(found)) == 12
    assert {name.rpartition("/")[2].count(".") for name in found} == {1}


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"max_size": 100}, {(50, 100), (51, 100), (59, 100)}),
        ({"short_side": 50}, {(50, 100), (50, 99), (50, 85)}),
        ({"max_size": 100, "short_side": 40}, {(40, 80), (40, 79), (40, 68)}),
        ({"max_size": 200}, {(100, 200), (101, 199), (111, 189)}),
    ],
)
def test_shrunk_images_are_those_of_pillow_but_for_the_jpeg(files, tmp_path, options, sizes):
    dm.pack(files, tmp_path / "out", shrink=dm.Shrink(**options, quality=95), progress=False)
    packed = dm.PackedDataset(tmp_path / "out")
    assert sizes <= set(zip(packed.heights.tolist(), packed.widths.tolist(), strict=True))
    for number in (0, 11):
        with Image.open(files.paths[number]) as original:
            size = int(packed.widths[number]), int(packed.heights[number])
            expected = np.asarray(original.resize(size, Image.Resampling.LANCZOS), np.int16)
        with Image.open(io.BytesIO(packed.read([number])[0].data)) as stored:
            assert abs(np.asarray(stored, np.int16) - expected).mean() < 3
    assert packed._segments.header.all()


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(tmp_path):
    photo(1600, 2400, 0).filter(ImageFilter.GaussianBlur(20)).save(tmp_path / "large.jpg", quality=95)
    files = dm.FileList([tmp_path / "large.jpg"], [0], cache=False)
    dm.pack(files, tmp_path / "out", shrink=dm.Shrink(max_size=300, quality=95), progress=False)
    (found,) = dm.PackedDataset(tmp_path / "out").read([0])
    with Image.open(io.BytesIO(found.data)) as stored, Image.open(tmp_path / "large.jpg") as original:
        expected = np.asarray(original.resize((300, 200), Image.Resampling.LANCZOS), np.int16)
        assert abs(np.asarray(stored, np.int16) - expected).mean() < 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_size": 0}, ValueError, "max_size must be an int of at least 1, got 0"),
        ({"short_side": 2.5}, TypeError, "short_side must be an int"),
        ({"quality": 101}, ValueError, "quality must be at most 100, got 101"),
    ],
)
def test_options_out_of_range_are_named(options, error, message):
    with pytest.raises(error, match=message):
        dm.Shrink(**options)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dataset": "photos"}, TypeError, "dataset must be an ImageFolder, .* got 'photos'"),
        ({"shrink": 400}, TypeError, "shrink must be a Shrink or None, got 400"),
        ({"num_threads": 0}, ValueError, "num_threads must be an int of at least 1, got 0"),
        ({"shard_mb": 0.5}, TypeError, "shard_mb must be an int of at least 1, got 0.5"),
        ({"skip_bad": "yes"}, TypeError, "skip_bad must be True or False, got 'yes'"),
    ],
)
def test_other_arguments_are_named(files, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        dm.pack(**({"dataset": files, "out": tmp_path / "out", "progress": False} | change))
    assert not list(tmp_path.glob("out*"))


def test_without_jpegtran_it_says_what_to_install(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(dm.DatasetError, match="apt-get install libjpeg-turbo-progs"):
        dm.pack(files, tmp_path / "out", progress=False)
    assert dm.pack(files, tmp_path / "out", pixels=True, progress=False).samples == COUNT  # which needs none


@pytest.fixture
def levels():
    return np.random.default_rng(0).integers(0, 256, (20, 48, 32, 3), np.uint8)


@pytest.mark.parametrize("pixels", [False, True], ids=["as PNG", "pixels"])
def test_arrays_lose_nothing(levels, tmp_path, pixels):
    targets = np.random.default_rng(1).random((20, 2)).astype(np.float32)
    arrays = dm.ArrayDataset(levels, targets)
    report = dm.pack(arrays, tmp_path / "out", pixels=pixels, progress=False)
    assert (report.samples, report.bytes_before) == (20, levels.nbytes)
    packed = dm.PackedDataset(tmp_path / "out")
    np.testing.assert_array_equal(packed.targets, targets)
    np.testing.assert_array_equal(np.stack([packed.pixels(number) for number in range(20)]), levels)
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(32, 4), flip=0.5)
    loaders = [dm.Loader(each, pipeline, batch_size=6, shuffle=True, mixup=dm.MixUp()) for each in (arrays, packed)]
    loaders[1].load_state_dict(loaders[0].state_dict())
    for (images, labels), (expected, known) in zip(*loaders, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, known)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        assert {name.partition(".")[2] for name in tar.getnames()} == {"npy" if pixels else "png", "json"}


def test_gray_tensors_become_rgb_as_a_loader_makes_them(levels, tmp_path):
    gray = torch.from_numpy(levels[..., 0].copy())
    for pixels in (False, True):
        dm.pack(dm.ArrayDataset(gray, range(20)), tmp_path / str(pixels), pixels=pixels, progress=False)
        found = dm.PackedDataset(tmp_path / str(pixels)).pixels(7)
        np.testing.assert_array_equal(found, np.repeat(levels[7, ..., :1], 3, -1))


def test_shrunk_arrays_are_those_of_pillow(levels, tmp_path):
    shrink = dm.Shrink(short_side=16, quality=95)
    for pixels, most in ((True, 0), (False, 30)):
        out = tmp_path / str(pixels)
        dm.pack(dm.ArrayDataset(levels, range(20)), out, shrink=shrink, pixels=pixels, progress=False)
        packed = dm.PackedDataset(out)
        expected = np.asarray(Image.fromarray(levels[3]).resize((16, 24), Image.Resampling.LANCZOS), np.int16)
        assert abs(packed.pixels(3).astype(np.int16) - expected).mean() <= most


def test_shrunk_files_are_those_of_pillow_in_pixels(files, tmp_path):
    dm.pack(files, tmp_path / "out", shrink=dm.Shrink(max_size=150), pixels=True, progress=False)
    packed = dm.PackedDataset(tmp_path / "out")
    for number in range(COUNT):
        with Image.open(files.paths[number]) as original:
            size = int(packed.widths[number]), int(packed.heights[number])
            expected = np.asarray(original.resize(size, Image.Resampling.LANCZOS), np.int16)
        assert max(size) == 150
        assert abs(packed.pixels(number).astype(np.int16) - expected).mean() < 0.5


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough for several shards of a megabyte: six noisy photos under many names."""
    root = tmp_path_factory.mktemp("many")
    for i in range(6):
        noise = np.random.default_rng(i).integers(256, size=(300, 400, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / f"{i}.jpg", quality=95)
    for i in range(6, 90):
        os.link(root / f"{i % 6}.jpg", root / f"{i}.jpg")
    return dm.FileList(sorted(root.iterdir()), range(90), cache=False)


def pack_in_a_fork(files, out, prepare=lambda: None, **options):
    """The process that packs."""
    process = os.fork()
    if process:
        return process
    try:
        prepare()
        dm.pack(files, out, shard_mb=1, num_threads=2, progress=False, **options)
        os._exit(0)
    except OSError as error:
        os._exit(error.errno)
    finally:
        os._exit(255)


def wait_for(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("options", [{}, {"pixels": True}], ids=["lossless", "pixels"])
def test_twenty_kills_lose_no_whole_shard_and_change_nothing(many, tmp_path, options):
    begun = time.monotonic()
    assert wait_for(pack_in_a_fork(many, tmp_path / "whole", **options)) == 0
    lasted = time.monotonic() - begun
    partial, generator = tmp_path / "out.partial", np.random.default_rng(0)
    killed, most = 0, 0
    for _ in range(20):
        process = pack_in_a_fork(many, tmp_path / "out", **options)
        time.sleep(float(generator.uniform(0.02, 0.4)) * lasted)
        os.kill(process, signal.SIGKILL)
        killed += wait_for(process) == -signal.SIGKILL
        shards = len(list(partial.glob("*.npz"))) if partial.exists() else 0
        assert shards >= most or (partial / "index.json").exists() or (tmp_path / "out").exists()
        most = max(most, shards)
    assert wait_for(pack_in_a_fork(many, tmp_path / "out", **options)) == 0
    assert killed >= 3
    assert most >= 2
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


@pytest.mark.parametrize("pixels", [False, True])
def test_a_full_disk_leaves_no_half_pack_and_can_be_gone_on_from(many, tmp_path, pixels):
    def no_more_than_700_kilobytes_per_file():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))

    limited = pack_in_a_fork(many, tmp_path / "out", no_more_than_700_kilobytes_per_file, pixels=pixels)
    assert wait_for(limited) == errno.EFBIG
    assert not (tmp_path / "out").exists()
    assert wait_for(pack_in_a_fork(many, tmp_path / "out", pixels=pixels)) == 0
    assert len(dm.PackedDataset(tmp_path / "out")) == len(many)


@pytest.mark.parametrize("names", [None, [f"{number}.png" for number in range(300)]])
def test_its_time_grows_as_the_samples_do(tmp_path, monkeypatch, names):
    """The names of all samples are gathered a few times, not once for each of them."""
    arrays = dm.ArrayDataset(np.zeros((300, 1, 1, 3), np.uint8), range(300), names=names)
    asked = []
    gather = packing._names
    monkeypatch.setattr(packing, "_names", lambda dataset: asked.append(dataset) or gather(dataset))
    dm.pack(arrays, tmp_path / "out", pixels=True, progress=False)
    assert 0 < len(asked) <= 3


def test_two_at_once_do_not_mix(files, tmp_path):
    (tmp_path / "out.partial").mkdir()
    fd = os.open(tmp_path / "out.partial", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(dm.DatasetError, match="another process is writing"):
        dm.pack(files, tmp_path / "out", progress=False)
    os.close(fd)
    dm.pack(files, tmp_path / "out", progress=False)


def test_a_pack_of_a_pack_is_the_same(files, tmp_path):
    dm.pack(files, tmp_path / "one", progress=False)
    first = dm.PackedDataset(tmp_path / "one")
    dm.pack(first, tmp_path / "two", progress=False)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5)
    batches = [
        list(dm.Loader(dataset, pipeline, batch_size=4, device="cpu"))
        for dataset in (files, first, dm.PackedDataset(tmp_path / "two"))
    ]
    for one, two, three in zip(*batches, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[0], three[0])
    assert (
        Path(tmp_path / "one" / "shard-000000.tar").read_bytes()
        == Path(tmp_path / "two" / "shard-000000.tar").read_bytes()
    )
