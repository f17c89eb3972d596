"""The kernels run in Triton's interpreter here, and on a real GPU where there is one; compiled they are anywhere."""

import os
import subprocess
import sys
from collections import Counter
from itertools import product

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import dali_mixup as dm
from dali_mixup.mixing.apply import inside_boxes
from dali_mixup.stage.whole_batch import TorchStage
from tests import reference

triton = pytest.importorskip("triton")
from tests.scripts import kernels  # noqa: E402

PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop((5, 7)))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
BYTES, WORDS, HALF_WORDS, PROGRAMS = (5, 71), (3, 8), (5, 12), (36, 40)  # an odd width, 8 | W, 4 | W, several programs
COUNTS = {BYTES: (0, 1, 2, 5), WORDS: (1, 5), HALF_WORDS: (2,), PROGRAMS: (2,)}


def draw(mixer, count, size):
    """With lam of 0 and of 1 among others, or boxes that are empty, whole images, and any."""
    lam, partner, turn = torch.rand(count), torch.randperm(count), (torch.arange(count) + count) % 3
    if mixer == "mixup":
        return dm.MixUpDraw(lam=torch.where(turn == 0, 1.0, torch.where(turn == 1, 0.0, lam)), partner=partner)
    if mixer is None:
        return None
    rows, columns = (torch.randint(0, side + 1, (count, 2)).sort(1).values for side in size)
    boxes = torch.stack([rows[:, 0], columns[:, 0], rows[:, 1], columns[:, 1]], 1)
    boxes[turn == 0, 2:] = boxes[turn == 0, :2]
    boxes[turn == 1] = torch.tensor([0, 0, *size])
    return dm.CutMixDraw(lam=lam, partner=partner, boxes=boxes, size=size)


def build_stage(dtype, memory_format, device="cpu", stage=None):
    from dali_mixup.stage.triton_kernel import TritonStage

    return (stage or TritonStage)(PIPELINE, dtype=dtype, memory_format=memory_format, device=torch.device(device))


def draw_images(count, size):
    return torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8)


def compare(device, size, count, dtype, memory_format, mixer):
    """The kernel against whole-batch torch expressions."""
    torch.manual_seed(count)
    images, drawn = draw_images(count, size).to(device), draw(mixer, count, size)
    drawn = None if drawn is None else drawn.to(device)
    ours = build_stage(dtype, memory_format, device).finish(images, drawn)
    expected = build_stage(dtype, memory_format, device, TorchStage).finish(images, drawn)
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(ours, expected, rtol=torch.finfo(dtype).eps * 2, atol=1e-5)
    if device == "cpu":
        slow = torch.from_numpy(reference.normalized_batch(images.numpy(), PIPELINE.mean, PIPELINE.std, drawn))
        torch.testing.assert_close(ours.double(), slow, rtol=torch.finfo(dtype).eps * 2, atol=1e-5)


def compare_all(device):
    for size, counts in COUNTS.items():
        for count in counts:
            for dtype in DTYPES:
                for memory_format in LAYOUTS:
                    for mixer in (None, "mixup", "cutmix"):
                        compare(device, size, count, dtype, memory_format, mixer)


def count_levels_read():
    """Levels that the interpreter reads, against those that words hold of which some is needed."""
    from triton.runtime.interpreter import InterpreterBuilder

    load, read = InterpreterBuilder.create_masked_load, []

    def counting_load(self, pointers, mask, *options):
        if mask.data.size > 1:  # of images: the draw's numbers come one by one
            read.append(mask.data.sum() * pointers.get_element_ty().primitive_bitwidth // 8)
        return load(self, pointers, mask, *options)

    InterpreterBuilder.create_masked_load = counting_load
    for size, count, dtype, word in (
        (BYTES, 5, torch.float32, 1),
        (PROGRAMS, 4, torch.float32, 4),
        (PROGRAMS, 4, torch.float16, 8),
        (HALF_WORDS, 5, torch.bfloat16, 4),
    ):
        for memory_format in LAYOUTS:
            for mixer in ("mixup", "cutmix") if word > 1 else ("mixup",):
                images, drawn = draw_images(count, size), draw(mixer, count, size)
                read.clear()
                build_stage(dtype, memory_format).finish(images, drawn)
                if mixer == "mixup":
                    expected = images[0].numel() * (count + (drawn.lam < 1).sum())
                else:
                    planar = memory_format == torch.contiguous_format
                    inside = inside_boxes(drawn).repeat_interleave(1 if planar else 3, -1).unflatten(-1, (-1, word))
                    expected = ((~inside).any(-1).sum() + inside.any(-1).sum()) * word * (3 if planar else 1)
                assert sum(read) == expected, (size, dtype, memory_format, mixer)


def in_interpreter(name):
    """Calls a function of this module in a process of its own: triton looks at TRITON_INTERPRET at its import."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"from tests.stage import test_triton_kernel as tests; tests.{name}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_kernels_equal_torch_expressions_in_the_interpreter():
    in_interpreter("compare_all('cpu')")


def test_no_word_is_read_that_isnt_mixed():
    in_interpreter("count_levels_read()")


# By bytes per value, width and layout: how a thread reads an image and writes the batch, and the most instructions,
# without mixing, with mixup and with CutMix: 16 more than Triton 3.6 and 3.9 need.
WHAT_COMPILES = {
    (4, 224, "NCHW"): ({"ld 32": 6}, {"st 128 evict_first": 6}, (160, 256, 272)),
    (4, 224, "NHWC"): ({"ld 32": 4}, {"st 128 evict_first": 4}, (200, 280, 384)),
    (2, 224, "NCHW"): ({"ld 64": 3}, {"st 128 evict_first": 3}, (168, 288, 256)),
    (2, 224, "NHWC"): ({"ld 64": 2}, {"st 128 evict_first": 2}, (160, 256, 296)),
    (2, 300, "NCHW"): ({"ld 32": 6}, {"st 64 evict_first": 6}, (168, 272, 280)),
    (2, 300, "NHWC"): ({"ld 32": 4}, {"st 64 evict_first": 4}, (208, 288, 392)),
    (4, 225, "NCHW"): ({"ld 8": 24}, {"st 128": 6}, (216, 416, 520)),
    (4, 225, "NHWC"): ({"ld 8": 24}, {"st 32": 24}, (288, 536, 560)),
    (2, 225, "NCHW"): ({"ld 8": 24}, {"st 128": 3}, (216, 416, 536)),
    (2, 225, "NHWC"): ({"ld 8": 24}, {"st 16": 24}, (320, 560, 592)),
}
OF_THE_DRAW = {"plain": {}, "mixup": {"ld 32": 1, "ld 64": 1}, "cutmix": {"ld 64": 5}}


@pytest.fixture(scope="module")
def all_compiled():
    return {variant: kernels.compile_stage(*variant) for variant in kernels.VARIANTS}


@pytest.mark.parametrize("variant", kernels.VARIANTS, ids=str)
def test_compiled_kernels_keep_to_registers_and_wide_accesses(all_compiled, variant):
    _, width, dtype, layout, mixer = variant
    found = all_compiled[variant]
    loads, stores, most = WHAT_COMPILES[dtype.itemsize, width, layout]
    times = 2 if mixer == "mixup" or (mixer == "cutmix" and width != 225) else 1  # images and partners
    accesses = Counter({name: times * n for name, n in loads.items()}) + Counter(OF_THE_DRAW[mixer]) + Counter(stores)
    assert found.accesses == accesses
    assert found.instructions <= most[kernels.MIXERS.index(mixer)]
    assert found.registers <= (80 if width == 225 else 48)  # with 48, an H100 holds 10 programs of 128 threads at once
    assert (found.spilled, found.shared) == (0, 0)
    mixing = {"fma": 2 * found.levels, "mul": found.levels, "sub": 1}  # the same roundings everywhere
    assert found.sums == (mixing if mixer == "mixup" else {"fma": found.levels})


@pytest.mark.parametrize("mixer", ["mixup", "cutmix"])
@pytest.mark.parametrize("memory_format", LAYOUTS, ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("sizes", [[BYTES], [WORDS, (2, 4), (16, 64)]], ids=["bytes", "words"])
def test_batches_of_any_size_and_place_share_one_compiled_kernel(sizes, memory_format, mixer):
    """Triton has kernels of their own for arguments that do and don't start at a multiple of 16, and for 1s."""
    stage = build_stage(torch.float32, memory_format)
    with kernels.compiling_for(90) as launched:
        for size, count in product(sizes, (1, 2, 3, 16, 17)):
            images, drawn = draw_images(count + 1, size)[1:], draw(mixer, count + 1, size)
            parts = {"lam": drawn.lam[1:], "partner": drawn.partner[1:]}
            if mixer == "cutmix":
                parts |= {"boxes": drawn.boxes[1:], "size": size}
            stage.finish(images, type(drawn)(**parts))
            stage.finish(draw_images(count, size), draw(mixer, count, size))
    assert len({id(kernel) for kernel in launched}) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_that_start_between_words_are_moved(monkeypatch, dtype):
    launched, word = [], 16 // dtype.itemsize
    monkeypatch.setattr(triton.runtime.JITFunction, "run", lambda _, images, *rest, **options: launched.append(images))
    for start in range(9):
        images = torch.arange(start + 3 * 5 * 8, dtype=torch.uint8)[start:].view(1, 5, 8, 3)
        build_stage(dtype, torch.channels_last).finish(images, None)
        assert launched[-1].data_ptr() % word == 0
        assert torch.equal(launched[-1], images)
        assert (launched[-1] is images) == (images.data_ptr() % word == 0)


@pytest.fixture
def current_gpu(monkeypatch):
    """torch's current GPU, which is 0 in every rank that never called torch.cuda.set_device; a list of one number."""
    current = [0]

    def exchange(number):
        before, current[0] = current[0], number if number >= 0 else current[0]
        return before

    for name in ("_exchange_device", "_maybe_exchange_device"):  # what all of torch.cuda's ways to change it call
        monkeypatch.setattr(torch.cuda, name, exchange)
    return current


def test_the_kernel_is_launched_on_the_images_gpu_and_not_on_torchs_current_one(monkeypatch, current_gpu):
    """Triton launches on the current device."""
    launched_on = []
    monkeypatch.setattr(triton.runtime.JITFunction, "run", lambda *_, **__: launched_on.append(current_gpu[0]))
    stage = build_stage(torch.float32, torch.contiguous_format)
    with FakeTensorMode():  # tensors on a second GPU, without one
        for number in (1, 0):
            stage.finish(torch.empty(4, 5, 7, 3, dtype=torch.uint8, device=f"cuda:{number}"), None)
    assert launched_on == [1, 0]
    assert current_gpu == [0]


@pytest.mark.gpu
def test_the_kernels_equal_torch_expressions_on_a_gpu():
    compare_all("cuda")
