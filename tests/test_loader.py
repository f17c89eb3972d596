import copy
import pickle
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.options import LoaderOptions
from dali_mixup.pipelines import cifar10, finetune, imagenet
from tests import reference
from tests.conftest import jpeg_bytes, noise
from tests.gpu.place import nothing_waits

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
VAL = dm.ImagePipeline(geometry=dm.ResizeCenterCrop(18, 16))


def loader(dataset, pipeline=TRAIN, **options):
    return dm.Loader(dataset, pipeline, **{"batch_size": 4, "shuffle": True, "device": "cpu", **options})


def samples(batches):
    """Images and targets of an epoch, one tensor each."""
    images, targets = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(targets)


def pixels(images, pipeline):
    """Undo the normalization: levels from 0 to 255, (B, H, W, 3)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (pipeline.mean, pipeline.std))
    return ((images.float() * std + mean) * 255).permute(0, 2, 3, 1).numpy()


def test_every_sample_comes_once_per_epoch_with_its_label(dataset):
    numbered = dm.FileList(dataset.paths, list(range(len(dataset))))
    made = loader(numbered, drop_last=False)
    for _ in range(3):
        batches = [targets for _, targets in made]
        assert [len(targets) for targets in batches] == [4, 4, 4, 4, 4, 3]
        assert sorted(torch.cat(batches).tolist()) == list(range(23))
        assert all(targets.dtype == torch.int64 for targets in batches)
    assert len(made) == 6


def test_drop_last_leaves_out_the_partial_batch(dataset):
    made = loader(dataset, drop_last=True)
    assert [len(images) for images, _ in made] == [4] * 5 == [4] * len(made)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mixup", [None, dm.MixUp(), dm.CutMix(), dm.RandomChoice([dm.MixUp(), dm.CutMix()])])
def test_batches_equal_the_formula_in_every_dtype_and_layout(dataset, dtype, memory_format, mixup):
    plain = loader(dataset, dm.ImagePipeline(geometry=TRAIN.geometry, flip=0.5, mean=(0, 0, 0), std=(1, 1, 1)))
    levels = [(images * 255).round().permute(0, 2, 3, 1).numpy() for images, _ in plain]
    made = loader(dataset, dtype=dtype, memory_format=memory_format, mixup=mixup)
    order = made.plan.order(0)
    for (images, targets), step, level in zip(made, made.plan.steps(), levels, strict=True):
        assert images.dtype == dtype
        assert images.is_contiguous(memory_format=memory_format)
        draw = made.plan.batch(0, order, step).draw
        expected = reference.normalized_batch(level, TRAIN.mean, TRAIN.std, draw)
        assert targets.shape == ((len(images),) if mixup is None else (len(images), 3))
        # half a unit in the last place of the dtype, at values below 4, and float32's own rounding
        assert np.abs(images.double().numpy() - expected).max() <= 2 * torch.finfo(dtype).eps + 1e-5


def test_mixed_targets_belong_to_the_mixed_images(dataset):
    numbered = dm.FileList(dataset.paths, list(range(len(dataset))))
    plain, labels = samples(loader(numbered))
    mixed, targets = samples(loader(numbered, mixup=dm.MixUp()))
    own, partner, lam = dm.unstack_targets(targets)
    assert torch.equal(own, labels)
    row_of = {int(label): row for row, label in enumerate(labels)}
    for row in range(len(mixed)):
        expected = lam[row] * plain[row] + (1 - lam[row]) * plain[row_of[int(partner[row])]]
        assert torch.allclose(mixed[row], expected, atol=1e-5)
    assert (lam >= 0.5).all()
    assert (own != partner).any()


def test_batch_size_threads_prefetch_and_mixup_change_no_pixel(dataset):
    expected, labels = samples(loader(dataset))
    for options in (
        {"batch_size": 7},
        {"num_threads": 1},
        {"num_threads": 4, "prefetch": 5},
        {"batch_size": 23, "prefetch": 1},
    ):
        images, targets = samples(loader(dataset, **options))
        assert torch.equal(images, expected), options
        assert torch.equal(targets, labels), options
    never = dm.MixUp(prob=0.0)
    assert torch.equal(samples(loader(dataset, mixup=never))[0], expected)


def test_epochs_follow_each_other_and_a_break_begins_a_new_one(dataset):
    epochs = [samples(batches)[0] for made in [loader(dataset)] for batches in (made, made, made)]
    assert not torch.equal(epochs[0], epochs[1])
    made = loader(dataset)
    for _ in made:
        break
    assert torch.equal(samples(made)[0], epochs[1])
    made.set_epoch(0)
    assert torch.equal(samples(made)[0], epochs[0])
    made.set_epoch(2)
    assert torch.equal(samples(made)[0], epochs[2])


def test_set_epoch_alone_gives_the_epoch_also_with_random_operators_of_the_user(dataset):
    pipeline = dm.ImagePipeline(geometry=TRAIN.geometry, augment=noise)
    made = loader(dataset, pipeline)
    epochs = [samples(made)[0] for _ in range(3)]
    assert not torch.equal(epochs[0], epochs[1])
    other = loader(dataset, pipeline, prefetch=3)
    other.set_epoch(2)
    assert torch.equal(samples(other)[0], epochs[2])
    for _ in other:
        break
    other.set_epoch(1)
    assert torch.equal(samples(other)[0], epochs[1])


def test_the_older_of_two_iterators_says_that_it_ended(dataset):
    made = loader(dataset)
    first = iter(made)
    next(first)
    second = iter(made)
    next(second)
    with pytest.raises(RuntimeError, match="this epoch ended when another `for` over the same Loader began"):
        next(first)
    third = iter(made)
    fourth = iter(made)
    assert len(list(fourth)) == 6
    assert len(list(third)) == 6  # it hadn't begun


def test_two_loaders_at_once_do_not_disturb_each_other(dataset):
    alone = samples(loader(dataset))[0]
    pairs = list(zip(loader(dataset), loader(dataset, seed=1), strict=True))
    assert torch.equal(torch.cat([first[0] for first, _ in pairs]), alone)


def test_a_retained_batch_stays_unchanged(dataset):
    made = loader(dataset, mixup=dm.MixUp())
    kept, copies = [], []
    for _ in range(3):
        for images, targets in made:
            kept.append((images, targets))
            copies.append((images.clone(), targets.clone()))
    for (images, targets), (images_then, targets_then) in zip(kept, copies, strict=True):
        assert torch.equal(images, images_then)
        assert torch.equal(targets, targets_then)


def test_a_slice_of_a_batch_keeps_it_unchanged(dataset):
    made = loader(dataset)
    kept = [images[1:2, :, 3:].numpy() for images, _ in made]
    copies = [array.copy() for array in kept]
    for _ in made:
        pass
    assert all(np.array_equal(array, then) for array, then in zip(kept, copies, strict=True))


def test_a_batch_may_be_written(dataset):
    expected = [images.clone() for images, _ in loader(dataset, shuffle=False)]
    made = loader(dataset, shuffle=False, mixup=dm.MixUp(prob=0.0))
    for (images, _), then in zip(made, expected, strict=True):
        assert torch.equal(images, then)
        images.fill_(torch.nan)


@pytest.mark.parametrize("targets", [np.eye(23, dtype=np.float32)[:, :5], np.arange(23.0)])
def test_float_targets_are_mixed_directly(dataset, targets):
    made = dm.FileList(dataset.paths, targets)
    _, labels = samples(loader(made))
    assert labels.dtype == torch.float32
    assert labels.shape == targets.shape
    _, mixed = samples(loader(made, mixup=dm.MixUp()))
    assert mixed.shape == labels.shape
    assert mixed.sum().item() == pytest.approx(labels.sum().item(), rel=0.5)
    assert not torch.equal(mixed, labels)


@pytest.mark.parametrize(
    "mixer", [dm.MixUp, dm.CutMix, lambda **options: dm.RandomChoice([dm.MixUp(**options), dm.CutMix(**options)])]
)
def test_dense_targets_are_the_stacked_ones_in_rows(dataset, mixer):
    numbered = dm.FileList(dataset.paths, list(range(len(dataset))))
    images, stacked = samples(loader(numbered, mixup=mixer()))
    same, dense = samples(loader(numbered, mixup=mixer(targets="dense", num_classes=25)))
    assert torch.equal(images, same)
    torch.testing.assert_close(
        dense.double(), reference.dense_targets(*dm.unstack_targets(stacked), 25), rtol=0, atol=6e-8
    )
    with pytest.raises(
        ValueError, match=r"dataset.targets must be class indices from 0 to 21 \(num_classes=22\), got 22"
    ):
        loader(numbered, mixup=mixer(targets="dense", num_classes=22))


@pytest.mark.parametrize("mixer", [dm.MixUp(0.4, targets="split"), dm.CutMix(targets="split")])
def test_split_targets_are_the_stacked_ones_in_parts(dataset, mixer):
    stacked = loader(dataset, mixup=replace(mixer, targets="stacked"))
    for (_, (pairs, lam)), (_, rows) in zip(loader(dataset, mixup=mixer), stacked, strict=True):
        assert pairs.dtype == torch.int64
        assert torch.equal(pairs, rows[:, :2].long())
        assert torch.equal(lam, rows[:, 2])


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "transforms",
    [(), (dm.ColorJitter(0.4, 0.4, 0.4, 0.1), dm.GaussianBlur(5), dm.RandAugment(), dm.RandomErasing(p=1.0))],
)
def test_the_default_dtype_changes_no_batch(dataset, default, transforms):
    pipeline = replace(TRAIN, transforms=transforms)
    options = {"mixup": dm.MixUp(0.4, targets="dense", num_classes=10)}
    expected = list(loader(dataset, pipeline, **options))
    torch.set_default_dtype(default)
    try:
        found = list(loader(dataset, pipeline, **options))
    finally:
        torch.set_default_dtype(torch.float32)
    for pair, other in zip(found, expected, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(pair, other, strict=True))


def test_a_single_sample_comes_unmixed(dataset):
    one = dm.FileList(dataset.paths[:1], [5])
    ((images, targets),) = loader(one, mixup=dm.MixUp())
    assert targets.tolist() == [[5, 5, 1]]
    assert torch.equal(images, next(iter(loader(one)))[0])


def test_validation_pixels_equal_pillows_on_photos(photos):
    from torchvision.transforms import CenterCrop, Compose, Resize

    dataset, pipeline = dm.ImageFolder(photos), imagenet.val(size=224)
    reference_crop = Compose([Resize(256), CenterCrop(224)])
    images, _ = samples(dm.Loader(dataset, pipeline, batch_size=8, device="cpu"))
    for path, ours in zip(dataset.paths, pixels(images, pipeline), strict=True):
        with Image.open(path) as image:
            difference = np.abs(ours - np.asarray(reference_crop(image.convert("RGB"))).astype(np.float32))
        assert difference.mean() < 0.2, path
        assert difference[1:-1, 1:-1].max() < 1.01, path


def test_training_pixels_equal_pillows_on_photos(photos):
    dataset, pipeline = dm.ImageFolder(photos), imagenet.train(size=224)
    made = dm.Loader(dataset, pipeline, batch_size=8, device="cpu", shuffle=True)
    order = made.plan.order(0)
    for (images, _), step in zip(made, made.plan.steps(), strict=True):
        batch = made.plan.batch(0, order, step)
        for row, ours in enumerate(pixels(images, pipeline)):
            (top, left), (height, width) = batch.windows.anchor[row].tolist(), batch.windows.shape[row].tolist()
            with Image.open(dataset.paths[int(batch.indices[row])]) as image:
                crop = (
                    image.convert("RGB")
                    .crop((left, top, left + width, top + height))
                    .resize((224, 224), Image.Resampling.BILINEAR)
                )
            expected = np.asarray(crop).astype(np.float32)
            difference = np.abs(ours - (expected[:, ::-1] if batch.flips[row] else expected))
            assert difference.mean() < 0.3
            assert difference[1:-1, 1:-1].max() < 1.01


@pytest.mark.parametrize(
    "pipeline",
    [imagenet.train(32), imagenet.val(32), cifar10.train(), cifar10.val(), finetune.train(32), finetune.val(32)],
)
def test_ready_pipelines_deliver(dataset, pipeline):
    images, targets = samples(loader(dataset, pipeline))
    assert images.shape == (23, 3, 32, 32)
    assert images.isfinite().all()
    assert len(targets) == 23


def test_a_file_that_fails_is_named_and_the_loader_stays_usable(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg_bytes(40, 50, seed=i))
    found = dm.FileList([tmp_path / f"{i}.jpg" for i in range(8)], list(range(8)))
    whole = (tmp_path / "5.jpg").read_bytes()
    made = loader(found, VAL, shuffle=False)
    (tmp_path / "5.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "6.jpg").unlink()
    batches = iter(made)
    assert next(batches)[1].tolist() == [0, 1, 2, 3]
    with pytest.raises(
        dm.BadSampleError,
        match=r"(?s)2 files of this batch.*sample 5: .*5.jpg: truncated at byte \d+.*sample 6: .*6.jpg: missing",
    ) as caught:
        next(batches)
    assert [(number, reason.split()[0]) for number, _, reason in caught.value.samples] == [
        (5, "truncated"),
        (6, "missing"),
    ]
    (tmp_path / "5.jpg").write_bytes(whole)
    (tmp_path / "6.jpg").write_bytes(whole)
    assert samples(made)[1].tolist() == list(range(8))


def test_an_epoch_resumes_from_a_state(dataset):
    made = loader(dataset, mixup=dm.MixUp())
    expected = samples(made)
    made.set_epoch(0)
    states = [made.state_dict(), *(made.state_dict() for _ in made)]
    assert [(state["epoch"], state["position"]) for state in states] == [
        (0, 0),
        (0, 4),
        (0, 8),
        (0, 12),
        (0, 16),
        (0, 20),
        (1, 0),
    ]
    for state in states[:-1]:
        fresh = loader(dataset, mixup=dm.MixUp())
        fresh.load_state_dict(state)
        fresh.set_epoch(0)
        images, targets = samples(fresh)
        assert torch.equal(images, expected[0][state["position"] :])
        assert torch.equal(targets, expected[1][state["position"] :])
    with pytest.raises(ValueError, match=r"state\['seed'\] must be that of this Loader \(3\), got 0"):
        loader(dataset, seed=3).load_state_dict(states[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be an int of at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int of at least 1, got 2.0"),
        ({"batch_size": True}, TypeError, "batch_size must be an int of at least 1, got True"),
        (
            {"batch_size": 24, "drop_last": True},
            ValueError,
            r"batch_size must be at most 23 with drop_last \(23 samples, 1 ranks\), got 24",
        ),
        ({"shuffle": 1}, TypeError, "shuffle must be True or False, got 1"),
        ({"mixup": 0.4}, TypeError, "mixup must be dali_mixup's MixUp, CutMix, RandomChoice, or None, got 0.4"),
        ({"seed": -1}, ValueError, "seed must be an int of at least 0, got -1"),
        ({"seed": 2**64}, ValueError, r"seed must be below 2\*\*64"),
        ({"device": "cuda"}, ValueError, "device must be \"cpu\", since torch finds no GPU, got 'cuda'"),
        ({"device": "meta"}, ValueError, "device must be a CPU or a CUDA device, got 'meta'"),
        (
            {"dtype": torch.float64},
            ValueError,
            "dtype must be torch.float32, torch.float16 or torch.bfloat16, got torch.float64",
        ),
        ({"memory_format": torch.channels_last_3d}, ValueError, "memory_format must be"),
        ({"num_threads": 0}, ValueError, "num_threads must be an int of at least 1, got 0"),
        ({"prefetch": 0}, ValueError, "prefetch must be an int of at least 1, got 0"),
        (
            {"shard": (2, 2)},
            ValueError,
            r"shard must be a pair \(rank, world size\) with rank below world size, got \(2, 2\)",
        ),
        ({"shard": 3}, TypeError, r"shard must be a pair \(rank, world size\), got 3"),
        ({"on_bad_sample": "skip"}, ValueError, "on_bad_sample must be"),
    ],
)
def test_options_out_of_range_are_named(dataset, options, error, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=message):
        loader(dataset, **options)


def test_things_that_are_no_dataset_or_pipeline_are_named(dataset):
    with pytest.raises(TypeError, match=r"dataset must be an ImageFolder, a FileList or another .*, got 'data/train'"):
        loader("data/train")
    with pytest.raises(TypeError, match="pipeline must be an ImagePipeline"):
        loader(dataset, imagenet.train)
    with pytest.raises(ValueError, match=r"dataset.targets must be below 2\*\*24 .*, got 16777216"):
        loader(dm.FileList(dataset.paths, [2**24] * 23), mixup=dm.MixUp())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("num_workers", "Loader has no option 'num_workers': threads do the work of its workers: num_threads="),
        ("collate_fn", "mixed by mixup="),
        ("persistent_workers", "there are no worker processes; leave it out"),
        ("pre_fetch", "Loader has no option 'pre_fetch': did you mean prefetch"),
        ("size", "Loader has no option 'size': it takes .*batch_size, shuffle"),
    ],
)
def test_options_that_a_loader_lacks_are_named_with_what_stands_for_them(dataset, name, message):
    with pytest.raises(TypeError, match=message):
        loader(dataset, **{name: 1})


def test_a_loader_prints_what_it_does(dataset, monkeypatch):
    made = loader(dataset, mixup=dm.MixUp(alpha=0.3), shard=(1, 2))
    said = repr(made)
    for line in (
        "dataset: ImageFolder(23 files, 3 classes)",
        f"pipeline: {made.pipeline!r}",
        "batches: 3 of 4, shuffled",
        f"mixup: {dm.MixUp(alpha=0.3)}",
        "device: cpu, torch.float32",
        "shard: rank 1 of 2",
    ):
        assert f"\n  {line}" in said
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "shard: unknown until the first batch settles it" in repr(loader(dataset))
    assert "batches: 2, ordered by list" in repr(
        loader(dataset, batch_size=None, shuffle=False, batch_sampler=[[1], [2]], shard=(0, 1))
    )


def test_images_too_small_for_the_crop_are_named(dataset):
    with pytest.raises(
        ValueError, match=r"images such as .*00.jpg \(40 x 90 pixels\) have too few pixels for RandomCrop\(size=64"
    ):
        loader(dataset, dm.ImagePipeline(geometry=dm.CropPad(64, padding=4)))


@pytest.mark.gpu
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_gpu_delivers_what_the_cpu_delivers(dataset, memory_format):
    """nvJPEG and the GPU's resize round differently: a level or two, never another window, flip, order or lam."""
    options = {"mixup": dm.MixUp(), "memory_format": memory_format}
    for (ours, targets), (expected, expected_targets) in zip(
        loader(dataset, device="cuda", **options), loader(dataset, **options), strict=True
    ):
        assert ours.is_cuda
        assert torch.equal(targets.cpu(), expected_targets)
        assert ours.is_contiguous(memory_format=memory_format)
        assert (ours.cpu() - expected).abs().mean() < 0.02


@pytest.mark.gpu
@pytest.mark.parametrize("pipeline", [imagenet.train(32), imagenet.val(32), cifar10.train(), finetune.train(32)])
def test_a_gpu_is_never_waited_for(dataset, pipeline):
    batches = iter(loader(dataset, pipeline, device="cuda", mixup=dm.MixUp()))
    next(batches)  # the first batch compiles and allocates
    with nothing_waits():
        assert len(list(batches)) == 5


def test_stats_say_where_the_time_went(dataset):
    made = loader(dataset)
    assert made.stats().batches == 0
    start = time.perf_counter()
    list(made)
    elapsed = time.perf_counter() - start
    stats = made.stats()
    assert stats.batches == 6
    assert 0 < stats.wait <= elapsed
    assert 0 < stats.decode + stats.resize + stats.stage <= elapsed
    assert min(stats.decode, stats.resize, stats.stage) > 0


def test_a_loader_built_in_inference_mode_delivers_there_and_outside(dataset):
    with torch.inference_mode():
        made = [
            loader(dataset, mixup=mixup, memory_format=layout) for mixup in (None, dm.MixUp()) for layout in LAYOUTS
        ]
        inside = [samples(one)[0] for one in made]
    for one, expected in zip(made, inside, strict=True):
        one.set_epoch(0)
        assert torch.equal(samples(one)[0], expected)


def claim(content, height, width):
    """A JPEG whose header claims another size."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + height.to_bytes(2) + width.to_bytes(2) + content[at + 4 :]


@pytest.mark.parametrize("pipeline", [TRAIN, VAL, dm.ImagePipeline(geometry=dm.CropPad(16)), finetune.train(16)])
def test_files_that_the_index_found_bad_are_named_in_their_turn(tmp_path, pipeline):
    for i in range(12):
        (tmp_path / f"{i:02}.jpg").write_bytes(jpeg_bytes(40, 50, seed=i))
    (tmp_path / "05.jpg").write_bytes(b"hello")
    (tmp_path / "06.jpg").write_bytes(claim(jpeg_bytes(40, 50), 65_000, 65_000))
    with pytest.warns(dm.BadFileWarning):
        found = dm.FileList(sorted(tmp_path.iterdir()), list(range(12)))
    batches = iter(loader(found, pipeline, shuffle=False))
    assert next(batches)[1].tolist() == [0, 1, 2, 3]
    with pytest.raises(
        dm.BadSampleError,
        match=r"(?s)sample 5: .*05.jpg: not an image.*sample 6: .*06.jpg: claims 65000 x 65000 pixels, which",
    ):
        next(batches)


def test_a_limit_of_pixels_is_kept(dataset):
    assert len(list(loader(dataset, max_pixels=int((dataset.heights * dataset.widths).max())))) == 6
    with pytest.raises(dm.BadSampleError, match="is more than max_pixels=4000"):
        list(loader(dataset, max_pixels=4000))


def test_a_pickled_loader_gives_the_same_batches_from_the_start(dataset):
    made = loader(dataset, mixup=dm.MixUp(), dtype=torch.bfloat16, drop_last=True, seed=3, num_threads=1)
    first = [(images.clone(), targets) for images, targets in made]
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert again.pipeline == made.pipeline
        for (images, targets), (expected, expected_targets) in zip(again, first, strict=True):
            assert torch.equal(images, expected)
            assert torch.equal(targets, expected_targets)


def test_an_epoch_begins_with_its_first_batch_not_with_iter(dataset):
    numbered = dm.FileList(dataset.paths, list(range(len(dataset))))
    made = loader(numbered)
    expected = [[targets.tolist() for _, targets in made] for _ in range(2)]
    made.set_epoch(0)
    iter(made)
    epoch = iter(made)
    iter(made)
    made.set_epoch(0)
    assert [targets.tolist() for _, targets in epoch] == expected[0]
    assert made.next_epoch == 1
    running = iter(made)
    first = next(running)[1].tolist()
    iter(made)
    assert [first, *(targets.tolist() for _, targets in running)] == expected[1]


BUILT_WITH = {
    "dataset": None,
    "pipeline": VAL,
    "mixup": None,
    "batch_size": 8,
    "shuffle": False,
    "drop_last": True,
    "seed": 1,
    "dtype": torch.float16,
    "memory_format": torch.channels_last,
    "device": torch.device("cpu"),
    "shard": (1, 2),
    "sampler": None,
    "batch_sampler": None,
    "num_threads": 1,
    "prefetch": 5,
    "on_bad_sample": "replace",
    "max_bad_fraction": 0.5,
    "max_pixels": 10,
    "gpu_decode": dm.GpuDecode(),
    "plan": None,
    "next_epoch": 3,
    "num_workers": 4,
    "collate_fn": list,
}


@pytest.mark.parametrize("name", BUILT_WITH)
def test_what_a_loader_was_built_with_cannot_be_set(dataset, name):
    made = loader(dataset, mixup=dm.MixUp())
    before = getattr(made, name)
    with pytest.raises(AttributeError, match=f"{name} of a Loader is what it was built with, .*; build another Loader"):
        setattr(made, name, BUILT_WITH[name])
    assert type(getattr(made, name)) is type(before)


def test_every_option_can_be_read(dataset):
    options = {
        "batch_size": 5,
        "shuffle": True,
        "drop_last": True,
        "mixup": dm.CutMix(),
        "seed": 7,
        "device": torch.device("cpu"),
        "dtype": torch.bfloat16,
        "memory_format": torch.channels_last,
        "num_threads": 2,
        "prefetch": 3,
        "shard": (1, 3),
        "on_bad_sample": "replace",
        "max_bad_fraction": 0.25,
        "max_pixels": 10**6,
        "gpu_decode": dm.GpuDecode(hw_decoder_load=0.5),
        "indices": True,
        "views": 2,
    }
    made = dm.Loader(dataset, TRAIN, **options)
    read = {name: getattr(made, name) for name in options}
    assert read == options
    assert set(options) | {"sampler", "batch_sampler"} == {field.name for field in fields(LoaderOptions)}
    assert made.dataset is dataset
    assert made.pipeline == TRAIN


def test_other_attributes_may_be_set(dataset):
    made = loader(dataset)
    made.purpose = "training"
    made.worker_init_fn = print  # Lightning does so; there are no workers to run it
    assert (made.purpose, made.worker_init_fn) == ("training", print)


def test_what_scripts_read_of_a_dataloader_is_that_of_one_without_workers(dataset):
    made, theirs = loader(dataset), torch.utils.data.DataLoader(dataset, batch_size=4)
    for name in ("num_workers", "pin_memory", "generator", "worker_init_fn", "persistent_workers", "prefetch_factor"):
        assert getattr(made, name) == getattr(theirs, name), name
    for name in ("timeout", "multiprocessing_context"):
        assert getattr(made, name) == getattr(theirs, name), name


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "shard": (1, 2)}, {"drop_last": True}])
def test_the_batch_sampler_holds_the_batches(dataset, options):
    numbered = dm.FileList(dataset.paths, range(len(dataset)))
    made = loader(numbered, **{"shuffle": False, **options})
    expected = list(made.batch_sampler)
    assert len(made.batch_sampler) == len(expected) == len(made)
    assert [labels.tolist() for _, labels in made] == expected
    assert isinstance(made.sampler, torch.utils.data.SequentialSampler) == (not made.shuffle)


def test_mixup_enabled_follows_the_schedule_and_is_not_lost_where_a_script_sets_it(dataset):
    made = dm.Loader(dataset, imagenet.train(16), batch_size=4, device="cpu", mixup={0: dm.MixUp(), 1: None})
    assert made.mixup_enabled
    list(made)
    assert not made.mixup_enabled
    assert not dm.Loader(dataset, imagenet.train(16), batch_size=4, device="cpu").mixup_enabled
    with pytest.raises(AttributeError, match=r"mixup_enabled .* end mixup by a schedule, such as mixup=\{0: mixup"):
        made.mixup_enabled = False
