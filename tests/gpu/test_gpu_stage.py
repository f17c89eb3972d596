"""The stage of the GPU against the stage of the CPU, and what waits for nothing."""

import gc
import time

import numpy as np
import pytest
import torch

import dali_mixup as dm
from bench.stage import plan_finished
from dali_mixup.stage.cpu import CpuStage
from dali_mixup.stage.gpu import build_gpu_stage
from dali_mixup.stage.whole_batch import TorchStage
from dali_mixup.transforms.noise import draw_normal
from dali_mixup.transforms.operations import apply_batch
from dali_mixup.transforms.transforms import count_uniforms, plan_operations
from tests.gpu.place import DEVICE, ON_GPU, needs_cuda, nothing_waits

pytestmark = pytest.mark.gpu
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
MIXERS = (None, dm.MixUp(), dm.CutMix())


def pipeline_of(size):
    return dm.ImagePipeline(geometry=dm.RandomResizedCrop(size), flip=0.5)


def images_and_draw(count, size, mixer):
    images = torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
    return images, None if mixer is None else mixer.draw(count, np.random.default_rng(count), size)


def gpu_stage(size, dtype, layout):
    if ON_GPU:
        return build_gpu_stage(pipeline_of(size), dtype=dtype, memory_format=layout, device=DEVICE)
    return TorchStage(pipeline_of(size), dtype=dtype, memory_format=layout, device=DEVICE)  # Triton compiles for no CPU


@needs_cuda
def test_a_gpu_has_triton():
    assert type(gpu_stage((8, 8), torch.float32, LAYOUTS[0])).__name__ == "TritonStage"


@pytest.mark.parametrize("mixer", MIXERS, ids=["plain", "mixup", "cutmix"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("count", "size"), [(1, (31, 33)), (2, (31, 33)), (5, (31, 33)), (7, (1, 1)), (16, (224, 224))]
)
def test_the_stage_gives_the_cpus_batches(count, size, dtype, layout, mixer):
    images, draw = images_and_draw(count, size, mixer)
    ours = gpu_stage(size, dtype, layout).finish(images.to(DEVICE), None if draw is None else draw.to(DEVICE))
    on_cpu = CpuStage(pipeline_of(size), dtype=dtype, memory_format=layout, num_threads=2, keep=2)
    expected = on_cpu(images, plan_finished(count, draw))
    on_cpu.close()
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=layout)
    torch.testing.assert_close(ours.cpu(), expected, rtol=torch.finfo(dtype).eps * 2, atol=2e-5)


@needs_cuda
@pytest.mark.parametrize("mixer", MIXERS, ids=["plain", "mixup", "cutmix"])
def test_the_stage_waits_for_nothing(mixer):
    images, draw = images_and_draw(8, (32, 32), mixer)
    images, stage = images.to(DEVICE), gpu_stage((32, 32), torch.float32, LAYOUTS[0])
    stage.finish(images, None if draw is None else draw.to(DEVICE))  # compiles
    with nothing_waits():
        stage.finish(images, None if draw is None else draw.to(DEVICE))


@needs_cuda
@pytest.mark.parametrize("mixer", [dm.MixUp(), dm.CutMix()])
def test_a_draw_reaches_a_gpu_whole_and_without_waiting(mixer):
    draw = mixer.draw(5, np.random.default_rng(0), (9, 9))
    with nothing_waits():
        moved = draw.to(DEVICE)
    for name in ("lam", "partner", *(["boxes"] if isinstance(draw, dm.CutMixDraw) else [])):
        assert torch.equal(getattr(moved, name).cpu(), getattr(draw, name))


@pytest.mark.inductor
@pytest.mark.filterwarnings("ignore")  # of torch about itself
def test_the_stage_runs_behind_torch_compile():
    """A compiled train step takes the stage's output.

    The stage itself may be called inside of the compiled function.
    """
    images, draw = images_and_draw(8, (32, 32), dm.MixUp())
    images, draw, stage = images.to(DEVICE), draw.to(DEVICE), gpu_stage((32, 32), torch.float32, LAYOUTS[0])
    expected = stage.finish(images, draw).mean((2, 3))
    compiled = torch.compile(lambda levels: stage.finish(levels, draw).mean((2, 3)))
    for _ in range(3):
        torch.testing.assert_close(compiled(images), expected, rtol=1e-4, atol=1e-4)


@needs_cuda
@pytest.mark.filterwarnings("ignore")
def test_stage_and_loss_replay_in_a_cuda_graph():
    """The inputs are copied into the memory that was captured, as with any CUDA graph."""
    stage, loss = (
        gpu_stage((32, 32), torch.float32, LAYOUTS[0]),
        dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1)),
    )
    model = torch.nn.Linear(3, 10, device=DEVICE)
    images, draw = images_and_draw(8, (32, 32), dm.MixUp())
    images, draw = images.to(DEVICE), draw.to(DEVICE)
    targets = dm.stack_targets(torch.arange(8), torch.arange(8).roll(1), draw.lam.cpu()).to(DEVICE)

    def step():
        model.zero_grad(set_to_none=True)
        result = loss(model(stage.finish(images, draw).mean((2, 3))), targets)
        result.backward()
        return result

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    # DALI frees what earlier tests left in a thread of its own, by a wait for the whole device, which no capture may
    # meet.
    gc.collect()
    torch.cuda.synchronize()
    time.sleep(1)
    graph = torch.cuda.CUDAGraph()
    model.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        captured = step()
    for seed in range(3):
        others = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        images.copy_(others)
        graph.replay()
        found, slope = captured.clone(), model.weight.grad.clone()
        direct = loss(model(stage.finish(images, draw).mean((2, 3))), targets)
        torch.testing.assert_close(found, direct.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(slope, torch.autograd.grad(direct, model.weight)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.inductor
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_loss_is_the_cpus_and_its_mean_compiles_to_one_graph(weighted, reduction):
    weight = torch.rand(10) + 0.5 if weighted else None
    logits, labels, lam = torch.randn(16, 10), torch.randint(10, (16,)), torch.rand(16)
    targets = dm.stack_targets(labels, labels.roll(1), lam)
    on_cpu = dm.MixUpLoss(torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1, reduction=reduction))
    expected = on_cpu(logits, targets)
    ours = dm.MixUpLoss(torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1, reduction=reduction)).to(DEVICE)
    moved, moved_targets = logits.to(DEVICE), targets.to(DEVICE)
    torch.testing.assert_close(ours(moved, moved_targets).cpu(), expected, rtol=1e-5, atol=1e-5)
    if reduction != "mean":
        return  # a compilation takes seconds
    compiled = torch.compile(ours, fullgraph=True)
    for _ in range(3):
        torch.testing.assert_close(compiled(moved, moved_targets).cpu(), expected, rtol=1e-4, atol=1e-5)


TRANSFORMS = {
    "ColorJitter": dm.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "RandomGrayscale": dm.RandomGrayscale(),
    "GaussianBlur": dm.GaussianBlur(5),
    "RandomVerticalFlip": dm.RandomVerticalFlip(),
    "RandomErasing": dm.RandomErasing(p=1.0, fill=(1, 2, 3), noise="pixel", std=(9, 9, 9)),
    "RandAugment": dm.RandAugment(),
    "TrivialAugmentWide": dm.TrivialAugmentWide(),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_give_the_cpus_pixels(name, record):
    """To the bit, but for the blur, whose sums a GPU may round the other way at a half."""
    transforms, size = (TRANSFORMS[name],), (48, 64)
    images, _ = images_and_draw(32, size, None)
    planes = images.permute(0, 3, 1, 2).contiguous()
    rng = np.random.default_rng(0)
    operations = plan_operations(transforms, rng.random((32, count_uniforms(transforms))), size)
    levels = (apply_batch(planes.to(DEVICE), operations).cpu().int() - apply_batch(planes, operations).int()).abs()
    record(name, mean=float(levels.float().mean()), max=int(levels.max()))
    assert levels.max() <= (1 if name == "GaussianBlur" else 0)


def test_noise_is_the_cpus_to_the_bit():
    seeds, counters = torch.tensor([[5], [2**31 - 1]]), torch.arange(100_000).expand(2, -1)
    assert torch.equal(draw_normal(seeds.to(DEVICE), counters.to(DEVICE)).cpu(), draw_normal(seeds, counters))
