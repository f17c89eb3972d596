"""Which stage a GPU gets."""

import sys

import pytest
import torch

import dali_mixup as dm
from dali_mixup.stage.gpu import build_gpu_stage
from dali_mixup.stage.whole_batch import TorchStage


@pytest.mark.parametrize(("has_triton", "name"), [(True, "TritonStage"), (False, "TorchStage")])
def test_triton_is_used_where_it_is_there(monkeypatch, has_triton, name):
    if not has_triton:
        monkeypatch.setitem(sys.modules, "dali_mixup.stage.triton_kernel", None)  # its import fails
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(8))
    options = {"dtype": torch.float32, "memory_format": torch.channels_last, "device": torch.device("cpu")}
    made = build_gpu_stage(pipeline, **options)
    assert type(made).__name__ == name
    if not has_triton:
        images = torch.full((2, 8, 8, 3), 7, dtype=torch.uint8)
        assert torch.equal(made.finish(images, None), TorchStage(pipeline, **options).finish(images, None))
