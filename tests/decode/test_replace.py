"""`on_bad_sample="replace"`: one file gives way, and nothing else changes."""

import gc
import os
import warnings
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.plan.step import Step
from tests.conftest import jpeg_bytes, noise, picture

COUNT = 60
WINDOWS = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


RANDOM = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5, augment=noise)
PADDED = dm.ImagePipeline(geometry=dm.CropPad(16, padding=2), flip=0.5)
PIPELINES = pytest.mark.parametrize("pipeline", [WINDOWS, RANDOM, PADDED], ids=["windows", "augment", "padded"])


@pytest.fixture
def files(tmp_path):
    """60 good files of three classes, each with its own picture."""
    paths = [tmp_path / f"{i:02}.jpg" for i in range(COUNT)]
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(40 + i, 60 - i // 2, seed=i))
    return paths


def indexed(files):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        return dm.FileList(files, [i % 3 for i in range(len(files))], cache=False)


def loader(dataset, pipeline=WINDOWS, **options):
    options = {
        "batch_size": 7,
        "shuffle": True,
        "device": "cpu",
        "on_bad_sample": "replace",
        "max_bad_fraction": 0.5,
        **options,
    }
    return dm.Loader(dataset, pipeline, **options)


def epoch(made):
    """Images and targets of the next epoch, and the dataset's number of each position in it."""
    order = np.array(list(made.sampler))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        images, targets = zip(*made, strict=True)
    return torch.cat(images), torch.cat(targets), order


def break_file(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_bytes(b"no image at all")
    elif how == "smaller":
        path.write_bytes(jpeg_bytes(20, 20))
    elif how == "larger":
        path.write_bytes(jpeg_bytes(200, 200))


HOWS = ("truncated", "missing", "empty", "text", "smaller", "larger")


@PIPELINES
@pytest.mark.parametrize("when", ["before the index", "after the index"])
def test_all_other_samples_of_two_epochs_stay_bit_for_bit(files, pipeline, when):
    clean = loader(indexed(files), pipeline)
    expected = [epoch(clean) for _ in range(2)]
    broken = {3: "truncated", 11: "missing", 12: "empty", 30: "text", 31: "smaller", 47: "larger", 59: "empty"}
    found = indexed(files) if when == "after the index" else None
    for i, how in broken.items():
        break_file(files[i], how)
    found = found or indexed(files)
    if when == "before the index":
        broken = {i: how for i, how in broken.items() if how not in ("smaller", "larger")}
        changed = {31, 47}  # good files of another size: their own samples differ
    else:
        changed = set()
    made = loader(found, pipeline)
    for images, labels, order in expected:
        got_images, got_labels, got_order = epoch(made)
        assert np.array_equal(order, got_order)
        good = torch.tensor([i not in broken and i not in changed for i in order.tolist()])
        assert torch.equal(got_images[good], images[good])
        assert torch.equal(got_labels, labels)  # the replacement is of the same class
        replaced = torch.tensor([i in broken for i in order.tolist()])
        assert not any(torch.equal(a, b) for a, b in zip(got_images[replaced], images[replaced], strict=True))
    assert [number for number, _, _ in made.bad_samples] == sorted(broken)
    assert all(reason.endswith("; replaced") for _, _, reason in made.bad_samples)


def test_the_replacement_is_a_good_sample_of_the_class_with_the_windows_of_the_place(files):
    dataset = indexed(files)
    break_file(files[9], "missing")
    made = loader(dataset, shuffle=False)
    images, _, _ = epoch(made)
    chosen = next(i for i in made.plan.replacements(0, 9, 9) if i != 9)
    assert chosen % 3 == 0
    assert chosen != 9
    window = made.plan.windows(0, 9, np.array([chosen]))
    (top, left), (height, width) = window.anchor[0].tolist(), window.shape[0].tolist()
    with Image.open(files[chosen]) as image:
        crop = (
            image.convert("RGB")
            .crop((left, top, left + width, top + height))
            .resize((16, 16), Image.Resampling.BILINEAR)
        )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (WINDOWS.mean, WINDOWS.std))
    pixels = ((images[9] * std + mean) * 255).permute(1, 2, 0).numpy()
    flipped = made.plan.batch(0, None, Step(9, 1, 10)).flips[0]
    expected = np.asarray(crop).astype(float)
    assert np.abs(pixels - (expected[:, ::-1] if flipped else expected))[1:-1, 1:-1].max() <= 1.01


def test_replacements_differ_between_epochs_and_places(files):
    plan = loader(indexed(files)).plan
    chosen = {next(plan.replacements(epoch, position, 4)) for epoch in range(4) for position in range(10)}
    assert len(chosen) > 10
    assert all(i % 3 == 1 for i in chosen)


def test_all_of_the_class_are_tried_and_then_all_others(files):
    tried = list(loader(indexed(files)).plan.replacements(0, 5, 3))
    first_other = next(at for at, i in enumerate(tried) if i % 3)
    assert set(tried[:first_other]) == set(range(0, 60, 3))
    assert set(tried) == set(range(60))


def test_a_class_without_a_good_file_is_replaced_from_the_others(files):
    dataset = indexed(files)
    for i in range(0, 60, 3):
        break_file(files[i], "missing")
    _, labels, _ = epoch(loader(dataset))
    assert sorted(set(labels.tolist())) == [1, 2]
    assert len(labels) == 60


def test_a_data_set_without_a_good_file_is_an_error(files):
    dataset = indexed(files)
    for path in files:
        break_file(path, "missing")
    with pytest.raises(dm.BadSampleError, match=r"no file of the data set can be decoded:\n  sample \d+: .*missing"):
        epoch(loader(dataset, max_bad_fraction=1.0))


def test_what_is_replaced_does_not_depend_on_what_was_met_before(files):
    """Windows above the damage of a truncated file decode."""
    dataset = indexed(files)
    for path in files[::2]:
        break_file(path, "truncated")
    made = loader(dataset, max_bad_fraction=1.0, batch_size=60)
    expected = [epoch(made)[:2] for _ in range(4)]
    for number in (3, 1):
        fresh = loader(dataset, max_bad_fraction=1.0, batch_size=2)
        fresh.set_epoch(number)
        images, labels, _ = epoch(fresh)
        assert torch.equal(images, expected[number][0])
        assert torch.equal(labels, expected[number][1])


def test_float_targets_are_replaced_from_all_files(files):
    dataset = dm.FileList(files, np.arange(COUNT, dtype=np.float32), cache=False)
    break_file(files[8], "missing")
    made = loader(dataset, shuffle=False)
    _, targets, _ = epoch(made)
    assert targets[8] == next(i for i in made.plan.replacements(0, 8, 8) if i != 8)
    assert torch.equal(targets[9:], torch.arange(9.0, COUNT))


def test_each_bad_file_is_warned_of_once(files):
    dataset = indexed(files)
    break_file(files[2], "missing")
    break_file(files[5], "truncated")
    made = loader(dataset)
    with pytest.warns(dm.BadFileWarning) as caught:
        list(chain(made, made, made))
    texts = sorted(str(warning.message) for warning in caught)
    assert len(texts) == 2
    assert texts[0] == f"sample 2: {files[2]}: missing; replaced"
    assert texts[1].startswith(f"sample 5: {files[5]}: truncated at byte ")


def test_files_that_the_index_warned_of_are_listed_without_another_warning(files):
    break_file(files[2], "text")
    with pytest.warns(dm.BadFileWarning, match="1 of 60 files"):
        dataset = dm.FileList(files, [0] * COUNT, cache=False)
    made = loader(dataset)
    list(made)  # warnings are errors
    assert made.bad_samples == [dm.BadSample(2, str(files[2]), "not an image of a supported format; replaced")]


@PIPELINES
def test_too_many_bad_files_stop_the_run(files, pipeline):
    dataset = indexed(files)
    for i in range(10):
        break_file(files[i], "missing")
    made = loader(dataset, pipeline, max_bad_fraction=0.1)
    with (
        pytest.warns(dm.BadFileWarning),
        pytest.raises(
            dm.BadSampleError, match=r"7 of 60 files can't be decoded, more than max_bad_fraction=0.1 allows"
        ) as caught,
    ):
        list(made)
    assert len(caught.value.samples) >= 7
    assert all(number < 10 for number, _, _ in caught.value.samples)


def test_a_data_set_that_the_index_knows_to_be_rotten_is_refused_at_once(files):
    for i in range(10):
        break_file(files[i], "empty")
    with pytest.raises(dm.BadSampleError, match=r"10 of 60 files.*\n  sample 0: .*00.jpg: empty file"):
        loader(indexed(files), max_bad_fraction=0.01)


@pytest.mark.parametrize("policy", ["replace", "raise"])
@pytest.mark.parametrize(
    "pipeline",
    [
        dm.ImagePipeline(geometry=dm.Resize((16, 16)), flip=0.5),
        dm.ImagePipeline(geometry=dm.Resize((16, 16)), flip=0.5, augment=noise),
        PADDED,
    ],
    ids=["windows", "augment", "padded"],
)
@pytest.mark.parametrize("kind", ["gif", "bytes between segments"])
def test_what_pillow_reads_is_delivered_and_no_bad_sample(files, pipeline, kind, policy, tmp_path):
    path, whole = files[20], jpeg_bytes(50, 40, seed=99)
    if kind == "gif":
        picture(50, 40, seed=99).quantize(32).save(path, "GIF")
    else:
        path.write_bytes(whole[: (at := whole.index(b"\xff\xdb"))] + bytes(3) + whole[at:])
    lossless = tmp_path / "lossless.png"
    with Image.open(path) as opened:
        opened.convert("RGB").save(lossless)
    expected = epoch(loader(indexed([*files[:20], lossless, *files[21:]]), pipeline))
    made = loader(indexed(files), pipeline, on_bad_sample=policy, max_bad_fraction=0.0)  # it is no loss
    for _ in range(2):
        images, targets, _ = epoch(made)
        assert torch.equal(images, expected[0])
        assert torch.equal(targets, expected[1])
        made.set_epoch(0)
    assert made.bad_samples == []


def test_a_jpeg_without_an_end_marker_is_replaced(files):
    """Pillow refuses it, and torchvision with it."""
    files[20].write_bytes(files[20].read_bytes()[:-2])
    made = loader(indexed(files))
    epoch(made)
    size = files[20].stat().st_size
    assert made.bad_samples == [dm.BadSample(20, str(files[20]), f"truncated at byte {size}: no end marker; replaced")]


def test_a_kept_file_that_goes_bad_later_is_replaced(files):
    picture(50, 40, seed=1).quantize(32).save(files[0], "GIF")
    made = loader(indexed(files))
    epoch(made)
    files[0].unlink()
    epoch(made)
    epoch(made)
    assert made.bad_samples == [dm.BadSample(0, str(files[0]), "missing; replaced")]


def test_half_a_jpeg_is_no_picture(files):
    """libjpeg would fill the rest with gray."""
    dataset = indexed(files)
    break_file(files[0], "truncated")
    made = loader(dataset)
    epoch(made)
    assert made.bad_samples[0].reason.endswith("replaced")


def test_a_touched_file_with_the_same_picture_is_no_fault(files):
    dataset = indexed(files)
    expected = epoch(loader(dataset))
    os.utime(files[4], (1, 1))
    for policy in ("replace", "raise"):
        made = loader(dataset, on_bad_sample=policy)
        assert torch.equal(epoch(made)[0], expected[0])
        assert made.bad_samples == []


@pytest.mark.parametrize("how", HOWS)
def test_raise_names_a_file_that_changed_after_the_index(files, how):
    dataset = indexed(files)
    break_file(files[17], how)
    made = loader(dataset, shuffle=False, on_bad_sample="raise")
    batches = iter(made)
    assert [len(next(batches)[1]) for _ in range(2)] == [7, 7]
    with pytest.raises(
        dm.BadSampleError, match=r"1 file of this batch can't be decoded; .*\n  sample 17: .*17.jpg: "
    ) as caught:
        next(batches)
    assert [number for number, _, _ in caught.value.samples] == [17]
    made.load_state_dict({**made.state_dict(), "position": 21})
    assert sum(len(targets) for _, targets in made) == COUNT - 21


def test_no_file_stays_open(files):
    picture(50, 40, seed=1).quantize(32).save(files[0], "GIF")
    dataset = indexed(files)
    break_file(files[1], "truncated")

    def opened():
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        targets = [os.readlink(link) for link in links if os.path.islink(link)]
        return [target for target in targets if str(files[0].parent) in target or "memfd:" in target]

    made = loader(dataset)
    for _ in range(3):
        epoch(made)
    del made
    gc.collect()
    assert opened() == []


@PIPELINES
def test_a_resumed_epoch_equals_the_whole_one_with_bad_files_on_both_sides(files, pipeline):
    dataset = indexed(files)
    whole = loader(dataset, pipeline, mixup=dm.MixUp())
    order = whole.plan.order(0).tolist()
    for position in (2, 16, 17, 40, 58):
        break_file(files[order[position]], "truncated")
    expected, targets, _ = epoch(whole)
    following = epoch(whole)[:2]
    whole.set_epoch(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        states = [whole.state_dict() for _ in whole]
    for state in states:
        fresh = loader(indexed(files), pipeline, mixup=dm.MixUp())
        fresh.load_state_dict(state)
        if state["epoch"] == 0:
            rest = epoch(fresh)
            assert torch.equal(rest[0], expected[state["position"] :])
            assert torch.equal(rest[1], targets[state["position"] :])
        for ours, theirs in zip(epoch(fresh)[:2], following, strict=True):
            assert torch.equal(ours, theirs)


@PIPELINES
def test_a_warning_that_is_an_error_loses_no_batch(files, pipeline):
    """The warning comes while DALI prepares a later batch than the one that is waited for."""
    dataset = indexed(files)
    break_file(files[30], "missing")
    expected, _, _ = epoch(loader(dataset, pipeline, shuffle=False))
    made = loader(dataset, pipeline, shuffle=False)
    seen = []
    with pytest.raises(dm.BadFileWarning, match=r"sample 30: .*30.jpg: missing; replaced"):
        seen += [images for images, _ in made]
    state = made.state_dict()
    made.load_state_dict(state)
    assert torch.equal(epoch(made)[0], expected[state["position"] :])


def settle(paths, geometry, **options):
    return dm.Loader(indexed(paths), dm.ImagePipeline(geometry=geometry), device="cpu", batch_size=2, **options)


@pytest.mark.parametrize("geometry", [dm.KeepSize(), dm.Resize(24)], ids=["KeepSize", "Resize"])
def test_a_size_cannot_be_taken_from_bad_files_only(files, geometry):
    for path in files[:3]:
        break_file(path, "empty")
    with pytest.raises(dm.DatasetError, match="takes its size from the images, and all 3 files are bad"):
        settle(files[:3], geometry, on_bad_sample="replace", max_bad_fraction=1.0)


def test_a_bomb_has_no_say_in_the_size_that_the_others_have(files):
    for i, path in enumerate(files[:5]):
        path.write_bytes(jpeg_bytes(40, 60, seed=i))
    content = bytearray(files[3].read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = (60_000).to_bytes(2) * 2
    files[3].write_bytes(content + bytes(8_000_000))
    made = settle(files[:5], dm.Resize(20), on_bad_sample="replace", max_bad_fraction=0.5)
    with pytest.warns(dm.BadFileWarning, match=r"sample 3: .*03.jpg: too many pixels: 60000 x 60000"):
        assert {images.shape[2:] for images, _ in made} == {(20, 30)}
    assert [(number, reason[:15]) for number, _, reason in made.bad_samples] == [(3, "too many pixels")]


def test_images_of_different_sizes_are_named_two_of_them(files):
    with pytest.raises(dm.DatasetError, match=r"same size.*; two that differ are .*0\d\.jpg and .*0\d\.jpg"):
        settle(files[:4], dm.Resize(20))
