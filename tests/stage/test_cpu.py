import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.geometry.geometry import Windows
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.plan.step import Step
from dali_mixup.stage import cpu_small as stage_small
from dali_mixup.stage.cpu import CpuStage, walk
from dali_mixup.stage.whole_batch import TorchStage
from tests import reference

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def pipeline(height=9, width=13):
    return dm.ImagePipeline(geometry=dm.RandomResizedCrop((height, width)), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def plan(count, mixup=None, windows=None, flips=None, seed=0):
    draw = None if mixup is None else mixup.draw(count, np.random.default_rng(seed), (9, 13))
    flips = np.zeros(count, bool) if flips is None else flips
    return BatchPlan(
        epoch=0, step=Step(0, count, count), indices=np.arange(count), windows=windows, flips=flips, draw=draw
    )


def images(count, height=9, width=13):
    return torch.randint(
        0, 256, (count, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(count)
    )


@pytest.fixture(autouse=True, params=[1, 3])
def group(request, monkeypatch):
    """How many images of 9 x 13 pixels a call takes; with 1 all images pass for large ones."""
    monkeypatch.setattr(stage_small, "GROUP", request.param * 3 * 9 * 13 + 5)
    if request.param == 1:
        monkeypatch.setattr(stage_small, "SMALL", 0)


@pytest.fixture
def build():
    """Builds stages and ends their threads."""
    built = []

    def make(made=None, *, dtype=torch.float32, memory_format=torch.contiguous_format, num_threads=2):
        built.append(
            CpuStage(made or pipeline(), dtype=dtype, memory_format=memory_format, num_threads=num_threads, keep=4)
        )
        return built[-1]

    yield make
    for stage in built:
        stage.close()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 17])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize(
    "mixup",
    [
        None, dm.MixUp(fold=False), dm.MixUp(partner="permutation"), dm.MixUp(prob=0.5),
        dm.CutMix(), dm.CutMix(partner="permutation", prob=0.5), dm.CutMix(0.2, per_sample=False),
    ],
)  # fmt: skip
def test_finished_images_equal_the_formula(build, count, dtype, memory_format, mixup):
    levels, batch = images(count), plan(count, mixup)
    ours = build(dtype=dtype, memory_format=memory_format, num_threads=3)(levels, batch)
    assert ours.shape == (count, 3, 9, 13)
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=memory_format)
    expected = reference.normalized_batch(levels.numpy(), pipeline().mean, pipeline().std, batch.draw)
    assert np.abs(ours.double().numpy() - expected).max(initial=0) <= torch.finfo(dtype).eps * 2 + 2e-6
    whole = TorchStage(pipeline(), dtype=dtype, memory_format=memory_format, device=torch.device("cpu"))(levels, batch)
    torch.testing.assert_close(ours, whole, rtol=2 * torch.finfo(dtype).eps, atol=2e-6)


@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_windows_are_resized_within_one_level_of_pillow_and_flipped(build, memory_format):
    rng = np.random.default_rng(0)
    shapes = [(9, 13), (30, 13), (9, 40), (3, 5), (1, 1), (200, 300), (14, 9)]
    windows = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    size = np.broadcast_to(np.array([9, 13], np.int32), (7, 2))
    where = Windows(
        anchor=np.zeros((7, 2), np.int32),
        shape=np.array(shapes, np.int32),
        resized=size,
        offset=np.zeros((7, 2), np.int32),
    )
    flips = np.arange(7) % 2 == 1
    for mirrored in (flips, ~flips):
        batch = plan(7, windows=where, flips=mirrored)
        ours = build(memory_format=memory_format)([torch.from_numpy(window) for window in windows], batch)
        for row, window in enumerate(windows):
            expected = np.asarray(Image.fromarray(window).resize((13, 9), Image.Resampling.BILINEAR)).astype(np.float64)
            expected = expected[:, ::-1] if mirrored[row] else expected
            levels = (ours[row].double().numpy().transpose(1, 2, 0) * pipeline().std + pipeline().mean) * 255
            assert np.abs(levels - expected).max() < 1.001, shapes[row]


def test_centre_crops_are_cut_from_the_resized_image(build):
    geometry = dm.ResizeCenterCrop(20, 16)
    made = dm.ImagePipeline(geometry=geometry, mean=(0, 0, 0), std=(1, 1, 1))
    shapes = np.array([(40, 61), (61, 40), (20, 20), (5, 9)], np.int32)
    windows = [images(1, *shape)[0] for shape in shapes.tolist()]
    batch = plan(4, windows=geometry.windows(shapes[:, 0], shapes[:, 1], np.empty((4, 0))))
    ours = build(made)(windows, batch)
    for row, window in enumerate(windows):
        (height, width), (top, left) = batch.windows.resized[row].tolist(), batch.windows.offset[row].tolist()
        whole = Image.fromarray(window.numpy()).resize((width, height), Image.Resampling.BILINEAR)
        expected = np.asarray(whole.crop((left, top, left + 16, top + 16))).astype(np.float64)
        assert np.abs(ours[row].numpy().transpose(1, 2, 0) * 255 - expected).max() < 1.001


@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_every_box_is_pasted_where_it_lies(build, memory_format):
    """Boxes at all edges, of one pixel, of the whole image, empty in one direction."""
    boxes = [
        [0, 0, 9, 13],
        [0, 0, 1, 1],
        [8, 12, 9, 13],
        [3, 2, 3, 9],
        [2, 5, 7, 5],
        [0, 3, 9, 4],
        [4, 0, 5, 13],
        [1, 2, 6, 11],
    ]
    levels, lam = images(8), [1 - (b - t) * (r - left) / 117 for t, left, b, r in boxes]
    draw = dm.CutMixDraw(
        lam=torch.tensor(lam), partner=torch.arange(8).roll(-1), boxes=torch.tensor(boxes), size=(9, 13)
    )
    batch = dataclasses.replace(plan(8), draw=draw)
    expected = reference.normalized_batch(levels.numpy(), pipeline().mean, pipeline().std, draw)
    assert np.abs(build(memory_format=memory_format)(levels, batch).numpy() - expected).max() < 2e-6


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(build, num_threads):
    for mixup in (dm.MixUp(), dm.CutMix()):
        levels, batch = images(11), plan(11, mixup)
        assert torch.equal(build(num_threads=num_threads)(levels, batch), build(num_threads=3)(levels, batch))


def test_batches_of_growing_and_shrinking_size_are_right(build):
    stage = build()
    for count in (3, 8, 1, 5, 12, 2):
        levels, batch = images(count), plan(count, dm.MixUp())
        expected = reference.normalized_batch(levels.numpy(), pipeline().mean, pipeline().std, batch.draw)
        assert np.abs(stage(levels, batch).numpy() - expected).max() < 2e-6


def test_inputs_are_never_written(build):
    levels, batch = images(6), plan(6, dm.MixUp())
    copies = levels.clone(), batch.draw.lam.clone(), batch.draw.partner.clone()
    for memory_format in LAYOUTS:
        build(memory_format=memory_format)(levels, batch)
    assert all(
        torch.equal(now, then) for now, then in zip((levels, batch.draw.lam, batch.draw.partner), copies, strict=True)
    )


def test_memory_is_used_again_once_a_batch_is_gone_and_only_then(build):
    stage, levels, batch = build(), images(6), plan(6, dm.MixUp())
    first = stage(levels, batch)
    address, kept = first.data_ptr(), first.clone()
    second = stage(images(6).flip(0), batch)
    assert second.data_ptr() != address
    assert torch.equal(first, kept)
    del first
    assert stage(levels, batch).data_ptr() == address


def test_an_error_in_a_thread_reaches_the_caller(build):
    stage = build()
    with pytest.raises((IndexError, RuntimeError), match="index"):
        stage(images(4), plan(6, dm.MixUp()))
    assert stage(images(4), plan(4)).shape == (4, 3, 9, 13)


@pytest.mark.parametrize(
    "partner", [[], [0], [1, 0], [1, 2, 0, 4, 3, 5], list(np.random.default_rng(0).permutation(50))]
)
def test_a_walk_visits_every_image_once_and_follows_partners(partner):
    order = walk(partner)
    assert sorted(order) == list(range(len(partner)))
    jumps = sum(partner[a] != b for a, b in pairwise(order))
    cycles, seen = 0, set()
    for i in range(len(partner)):
        cycles += i not in seen
        while i not in seen:
            seen.add(i)
            i = partner[i]
    assert jumps == max(0, cycles - 1)
