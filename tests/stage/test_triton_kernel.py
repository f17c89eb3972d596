"""The kernel runs in Triton's interpreter here, and on a real GPU where there is one."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import dali_mixup as dm
from dali_mixup.stage.whole_batch import TorchStage
from tests import reference

triton = pytest.importorskip("triton")
SIZE = (5, 71)
PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop((5, 7)))
CODE = "from tests.stage.test_triton_kernel import compare_all; compare_all('cpu')"


def draw(mixer, count):
    if mixer is None:
        return None
    if mixer == "mixup":
        return dm.MixUpDraw(lam=torch.rand(count), partner=torch.randperm(count))
    return dm.CutMix().draw(count, np.random.default_rng(count), SIZE)


def compare(device, count, dtype, memory_format, mixer):
    """The kernel against whole-batch torch expressions."""
    from dali_mixup.stage.triton_kernel import TritonStage

    torch.manual_seed(count)
    images = torch.randint(0, 256, (count, *SIZE, 3), dtype=torch.uint8, device=device)
    drawn = draw(mixer, count)
    drawn = None if drawn is None else drawn.to(device)
    options = {"dtype": dtype, "memory_format": memory_format, "device": torch.device(device)}
    ours = TritonStage(PIPELINE, **options).finish(images, drawn)
    expected = TorchStage(PIPELINE, **options).finish(images, drawn)
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(ours, expected, rtol=torch.finfo(dtype).eps * 2, atol=1e-5)
    if device == "cpu":
        slow = torch.from_numpy(reference.normalized_batch(images.numpy(), PIPELINE.mean, PIPELINE.std, drawn))
        torch.testing.assert_close(ours.double(), slow, rtol=torch.finfo(dtype).eps * 2, atol=1e-5)


def compare_all(device):
    for count in (0, 1, 2, 3, 5):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for memory_format in (torch.contiguous_format, torch.channels_last):
                for mixer in (None, "mixup", "cutmix"):
                    compare(device, count, dtype, memory_format, mixer)


def test_the_kernel_equals_torch_expressions_in_the_interpreter():
    """In a process of its own, since triton looks at TRITON_INTERPRET at its import."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


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
    from dali_mixup.stage.triton_kernel import TritonStage

    launched_on = []
    monkeypatch.setattr(triton.runtime.JITFunction, "run", lambda *_, **__: launched_on.append(current_gpu[0]))
    options = {"dtype": torch.float32, "memory_format": torch.contiguous_format}
    stage = TritonStage(PIPELINE, device=torch.device("cpu"), **options)
    with FakeTensorMode():  # tensors on a second GPU, without one
        for number in (1, 0):
            stage.finish(torch.empty(4, 5, 7, 3, dtype=torch.uint8, device=f"cuda:{number}"), None)
    assert launched_on == [1, 0]
    assert current_gpu == [0]


@pytest.mark.gpu
def test_the_kernel_equals_torch_expressions_on_a_gpu():
    compare_all("cuda")
