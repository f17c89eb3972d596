"""Which of the stages for whole batches a GPU gets."""

import torch

from dali_mixup.pipeline import ImagePipeline
from dali_mixup.stage.whole_batch import TorchStage, WholeBatchStage


def build_gpu_stage(
    pipeline: ImagePipeline, *, dtype: torch.dtype, memory_format: torch.memory_format, device: torch.device
) -> WholeBatchStage:
    """Triton comes with torch's GPU builds; without it, and for gray ones, torch expressions give the same batches."""
    if pipeline.channels == 1:
        return TorchStage(pipeline, dtype=dtype, memory_format=memory_format, device=device)
    try:
        from dali_mixup.stage.triton_kernel import TritonStage as Stage
    except ImportError:
        Stage = TorchStage  # noqa: N806
    return Stage(pipeline, dtype=dtype, memory_format=memory_format, device=device)
