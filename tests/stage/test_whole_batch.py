"""The batch stage in torch expressions: the formula, on any device."""

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.stage.whole_batch import TorchStage
from tests import reference

COUNT = 4
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("mixer", [None, dm.MixUp(fold=False), dm.CutMix()], ids=["plain", "mixup", "cutmix"])
@pytest.mark.parametrize("memory_format", LAYOUTS, ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_finished_images_equal_the_formula(count, dtype, memory_format, mixer):
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop((5, 9)), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    images = torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, 5, 9, 3), np.uint8))
    draw = None if mixer is None else mixer.draw(count, np.random.default_rng(count), (5, 9))
    stage = TorchStage(pipeline, dtype=dtype, memory_format=memory_format, device=torch.device("cpu"))
    before = images.clone()
    ours = stage.finish(images, draw)
    assert (ours.dtype, ours.shape) == (dtype, (count, 3, 5, 9))
    assert ours.is_contiguous(memory_format=memory_format)
    expected = reference.normalized_batch(images.numpy(), pipeline.mean, pipeline.std, draw)
    assert np.abs(ours.double().numpy() - expected).max(initial=0) <= 2 * torch.finfo(dtype).eps + 1e-5
    assert torch.equal(images, before)


@pytest.mark.parametrize("memory_format", LAYOUTS, ids=["NCHW", "NHWC"])
def test_the_stage_without_triton_stays_on_the_gpu(memory_format):
    meta = torch.device("meta")
    stage = TorchStage(
        dm.ImagePipeline(geometry=dm.RandomResizedCrop(8)),
        dtype=torch.float16,
        memory_format=memory_format,
        device=meta,
    )
    lam, partner = torch.empty(COUNT, device=meta), torch.empty(COUNT, dtype=torch.int64, device=meta)
    boxes = torch.empty(COUNT, 4, dtype=torch.int64, device=meta)
    images = torch.empty(COUNT, 8, 8, 3, dtype=torch.uint8, device=meta)
    for draw in (
        None,
        dm.MixUpDraw(lam=lam, partner=partner),
        dm.CutMixDraw(lam=lam, partner=partner, boxes=boxes, size=(8, 8)),
    ):
        batch = stage.finish(images, draw)
        assert (batch.device.type, batch.dtype, batch.shape) == ("meta", torch.float16, (COUNT, 3, 8, 8))
