"""What is known of files before DALI reads them, and what Pillow decodes of them."""

import io

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset.verdict import Verdict
from dali_mixup.decode import inspector
from dali_mixup.decode.inspector import Inspector
from tests.conftest import jpeg_bytes, noise, picture

WINDOWS = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))
COUNT = 12


@pytest.fixture
def files(tmp_path):
    """A folder of its own, since the cache has a file per folder."""
    paths = [tmp_path / "photos" / f"{i:02}.jpg" for i in range(COUNT)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(40, 50, seed=i, progressive=i % 2 == 0))
    return paths


@pytest.fixture
def scanned(monkeypatch):
    """The contents that were scanned."""
    seen, scan = [], inspector.scan
    monkeypatch.setattr(inspector, "scan", lambda data: (seen.append(data), scan(data))[1])
    return seen


def loader(files, pipeline=WINDOWS, **options):
    return dm.Loader(dm.FileList(files, [0] * len(files)), pipeline, **{"batch_size": 5, "device": "cpu", **options})


def look(files, damage=lambda: None, **options):
    dataset = dm.FileList(files, [0] * len(files))
    plan = dm.Loader(dataset, WINDOWS, batch_size=len(files), device="cpu").plan
    damage()
    made = Inspector(dataset, max_pixels=10_000, num_threads=2, **options)
    batch = plan.batch(0, None, next(plan.steps()))
    return made, batch, made.look(batch, range(len(files)))


def test_regular_jpegs_are_dalis_and_scanned_once(files, scanned):
    made, batch, looks = look(files)
    assert (looks.reasons, looks.pixels) == ({}, {})
    assert sorted(scanned) == sorted(path.read_bytes() for path in files)
    made.look(batch, range(COUNT))
    assert len(scanned) == COUNT


def test_windows_of_others_are_those_of_pillow(files):
    picture(40, 50, seed=7).save(files[3], "GIF")
    _, batch, looks = look(files)
    assert list(looks.pixels) == [3]
    (top, left), (height, width) = batch.windows.anchor[3].tolist(), batch.windows.shape[3].tolist()
    with Image.open(files[3]) as image:
        expected = np.asarray(image.convert("RGB"))[top : top + height, left : left + width]
    np.testing.assert_array_equal(looks.pixels[3], expected)
    assert looks.pixels[3].flags["C_CONTIGUOUS"]


def test_a_file_that_changed_has_its_reason_unless_its_size_is_the_same(files):
    def change():
        files[1].write_bytes(jpeg_bytes(40, 51))
        files[2].write_bytes(jpeg_bytes(40, 50, seed=99))
        picture(40, 50, seed=7).save(files[3], "GIF")
        files[4].unlink()
        files[4].mkdir()

    _, _, looks = look(files, change)
    assert looks.reasons == {
        1: "changed since it was indexed: 40 x 51 pixels, was 40 x 50",
        4: "not a regular file",
    }
    assert list(looks.pixels) == [3]


@pytest.mark.parametrize("augment", [None, noise], ids=["windows", "augment"])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_what_an_epoch_scanned_is_remembered_for_the_next_run(files, scanned, augment, prefetch):
    files[5].write_bytes(files[5].read_bytes()[:2] + b"\xff\x00" + files[5].read_bytes()[2:])
    whole = files[6].read_bytes()
    files[6].write_bytes(whole[: whole.rindex(b"\xff\xda")] + b"\xff\xd9")  # its last scan is missing
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), augment=augment)
    first = loader(files, pipeline, prefetch=prefetch)
    list(first)
    first._engine._decoder.close()  # as its end would do, and waits for the thread
    assert len(scanned) == COUNT - 1  # of one the header says enough
    scanned.clear()
    second = loader(files, pipeline)
    assert sum(len(targets) for _, targets in second) == COUNT
    assert scanned == []
    expected = [Verdict.DALI] * COUNT
    expected[5] = expected[6] = Verdict.PILLOW
    assert second.dataset.sizes.verdict.tolist() == expected


def test_what_was_learnt_of_a_file_is_dropped_when_it_changes(files, scanned):
    made = loader(files)
    list(made)
    made._engine._decoder.close()
    scanned.clear()
    files[2].write_bytes(jpeg_bytes(40, 50, seed=99))
    picture(40, 50, seed=7).save(files[3], "GIF")
    again = loader(files)
    list(again)
    assert scanned == [files[2].read_bytes()]
    assert again.bad_samples == []


def test_what_was_learnt_of_a_file_that_changed_meanwhile_is_not_kept(files, scanned):
    made = loader(files)
    files[2].write_bytes(jpeg_bytes(40, 50, seed=99))
    list(made)
    made._engine._decoder.close()
    scanned.clear()
    list(loader(files))
    assert scanned == [files[2].read_bytes()]


def test_without_a_cache_nothing_is_remembered(files, cache_folder):
    made = dm.Loader(dm.FileList(files, [0] * COUNT, cache=False), WINDOWS, batch_size=5, device="cpu")
    list(made)
    made._engine._decoder.close()
    assert list(cache_folder.iterdir()) == []


def put_in_place(path, content):
    """In one step: the Loader reads ahead meanwhile, and half of a file would be a bad one."""
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("policy", ["raise", "replace"])
def test_a_file_may_change_between_epochs(files, policy):
    """Into another format of its size it is delivered; of another size it is bad, and later good again."""
    made = loader(files, batch_size=COUNT, shuffle=False, on_bad_sample=policy, max_bad_fraction=0.5)
    list(made)
    original = files[3].read_bytes()
    changed = io.BytesIO()
    picture(40, 50, seed=7).save(changed, "GIF")
    put_in_place(files[3], changed.getvalue())
    for _ in range(3):  # the first of them may have been made before
        assert len(list(made)) == 1
    assert made.bad_samples == []
    put_in_place(files[3], jpeg_bytes(41, 50))
    made.set_epoch(9)
    if policy == "raise":
        with pytest.raises(dm.BadSampleError, match=r"sample 3: .*changed since it was indexed: 41 x 50"):
            list(made)
    else:
        with pytest.warns(dm.BadFileWarning, match=r"sample 3: .*changed since it was indexed: 41 x 50.*; replaced"):
            list(made)
    put_in_place(files[3], original)
    made.set_epoch(20)
    assert len(list(made)) == 1
