"""The loops as TorchScript runs them and as Python does: the same bits."""

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.stage.cpu import share_out, split_image, walk
from dali_mixup.stage.loops import mix_levels, normalize_levels, resize_windows
from dali_mixup.threads import without_lock

SIZE = (6, 7)
LAYOUTS = pytest.mark.parametrize("planar", [True, False])


def parts_of(planar):
    made = dm.ImagePipeline(geometry=dm.RandomResizedCrop(SIZE), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    return split_image(made, planar=planar)


def batch_of(count, planar):
    shape = (count, 3, SIZE[0] * SIZE[1]) if planar else (count, 1, SIZE[0], SIZE[1] * 3)
    levels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
    return levels, torch.empty(3, *shape[2:])


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@LAYOUTS
def test_scripted_mixing_is_pythons_to_the_bit(count, dtype, planar):
    levels, scratch = batch_of(count, planar)
    rng = np.random.default_rng(0)
    partner, lam = rng.permutation(count).tolist(), rng.random(count).tolist()
    boxes = [[1, 2, 5, 6], [0, 0, 6, 7], [3, 3, 3, 5], [2, 4, 6, 4], [5, 6, 6, 7], [0, 2, 1, 3], [1, 1, 2, 2]][:count]
    for loop, given in ((mix_levels, lam), (normalize_levels, boxes), (normalize_levels, [])):
        found = [torch.empty(levels.shape, dtype=dtype) for _ in range(2)]
        for out, run in zip(found, (loop, without_lock(loop)), strict=True):
            run(levels, out, parts_of(planar), partner, given, walk(partner), scratch)
        assert torch.equal(*found)


@LAYOUTS
def test_scripted_resizing_is_pythons_to_the_bit_and_pillows_within_a_level(planar):
    rng = np.random.default_rng(0)
    windows = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((20, 9), (6, 7), (3, 40), (50, 8))]
    windows.append(np.asfortranarray(windows[0]))
    resized, offset = [[6, 7], [6, 7], [8, 20], [6, 7], [6, 7]], [[0, 0], [0, 0], [2, 13], [0, 0], [0, 0]]
    bicubic, flips = [False, True, False, True, False], [False, True, True, False, True]
    given, run = [torch.from_numpy(window) for window in windows], [4, 0, 3, 1, 2]
    found = []
    for resize in (resize_windows, without_lock(resize_windows)):
        shape = (5, 3, *SIZE) if planar else (5, *SIZE, 3)
        levels = torch.empty(shape, dtype=torch.uint8)
        levels = levels if planar else levels.permute(0, 3, 1, 2)
        pixels = torch.empty(1, *SIZE, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        told = [[values[row] for row in run] for values in (bicubic, resized, offset, flips)]
        resize([given[row] for row in run], levels, pixels, *told, run)
        found.append(levels)
    assert torch.equal(*found)
    filters = {False: Image.Resampling.BILINEAR, True: Image.Resampling.BICUBIC}
    for row, window in enumerate(windows):
        (height, width), (top, left) = resized[row], offset[row]
        whole = Image.fromarray(window).resize((width, height), filters[bicubic[row]])
        expected = np.asarray(whole)[top : top + SIZE[0], left : left + SIZE[1]].astype(int)
        expected = expected[:, ::-1] if flips[row] else expected
        assert np.abs(found[0][row].permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize("loop", [mix_levels, normalize_levels, resize_windows])
def test_torch_can_script_the_loops(loop):
    assert isinstance(without_lock(loop), torch.jit.ScriptFunction)


@pytest.mark.parametrize("count", [0, 1, 5, 64, 257])
@pytest.mark.parametrize("num_threads", [1, 2, 7])
@pytest.mark.parametrize("at_least", [1, 6])
def test_runs_hold_everything_in_order_and_get_shorter(count, num_threads, at_least):
    order = np.random.default_rng(0).permutation(count).tolist()
    runs = share_out(order, num_threads, at_least)
    assert [number for run in runs for number in run] == order
    lengths = [len(run) for run in runs]
    assert lengths[:-1] == sorted(lengths[:-1], reverse=True)
    assert all(length >= at_least for length in lengths[:-1])
    if count >= 2 * num_threads * at_least:
        assert lengths[0] == count // (2 * num_threads)
