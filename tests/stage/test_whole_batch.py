"""The batch stage in torch expressions: the formula, on any device."""

import pytest
import torch

import dali_mixup as dm
from dali_mixup.stage.whole_batch import TorchStage

COUNT, SIZE = 4, (24, 32)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
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
        batch = stage(images, draw)
        assert (batch.device.type, batch.dtype, batch.shape) == ("meta", torch.float16, (COUNT, 3, 8, 8))
