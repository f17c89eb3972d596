"""Which stage finishes a plan's batches, and one per view."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from dali_mixup.pipeline import ImagePipeline
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.stage.after import AfterStage
from dali_mixup.stage.cpu import CpuStage
from dali_mixup.stage.gpu import build_gpu_stage

# One batch is with the consumer, one waits for it, one is being made, and one is spare for a consumer that keeps its
# last one.
KEPT_BUFFERS = 4


class Stage(Protocol):
    """Makes batches of decoded images."""

    @property
    def resizing(self) -> float:
        """Seconds so far."""
        ...

    def __call__(self, images: Any, batch: BatchPlan) -> Any:
        """Finish a batch."""
        ...


class ViewsStage:
    """A stage for each view; those of equal pipelines are one.

    Args:
        pipelines: of the views.
        device: of the batches.
        dtype: of the batches.
        memory_format: torch.contiguous_format or torch.channels_last.
        num_threads: threads that share a batch on a CPU.
    """

    def __init__(
        self,
        pipelines: Sequence[ImagePipeline],
        *,
        device: torch.device,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        num_threads: int,
    ):
        self.stages: list[Stage] = []
        for view, pipeline in enumerate(pipelines):
            before = list(pipelines).index(pipeline)
            if before < view:
                self.stages.append(self.stages[before])
                continue
            made = open_stage(
                pipeline,
                device=device,
                dtype=dtype,
                memory_format=memory_format,
                num_threads=num_threads,
                keep=KEPT_BUFFERS * list(pipelines).count(pipeline),
            )
            self.stages.append(made)

    @property
    def resizing(self) -> float:
        """Seconds so far."""
        return sum({id(stage): stage.resizing for stage in self.stages}.values())

    def __call__(self, images: Any, batch: BatchPlan) -> list[torch.Tensor]:
        """Finish a batch.

        Args:
            images: of the only view, or a tuple of those of each, see `CpuStage`.
            batch: their plan.

        Returns:
            A batch (B, 3, H, W) of each view.
        """
        each = images if batch.views else (images,)
        return [stage(found, plan) for stage, found, plan in zip(self.stages, each, batch.each_view, strict=True)]


def open_stage(
    pipeline: ImagePipeline,
    *,
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    num_threads: int,
    keep: int = KEPT_BUFFERS,
) -> Stage:
    """The stage of one pipeline on a device.

    Args:
        pipeline: what to do.
        device: of the batches.
        dtype: of the batches.
        memory_format: torch.contiguous_format or torch.channels_last.
        num_threads: threads that share a batch on a CPU.
        keep: output buffers to keep for later batches on a CPU.
    """
    output = {"dtype": dtype, "memory_format": memory_format}
    inner = {"dtype": torch.float32, "memory_format": torch.contiguous_format} if pipeline.after else output
    if device.type == "cpu":
        stage = CpuStage(pipeline, **inner, num_threads=num_threads, keep=keep)
    else:
        stage = build_gpu_stage(pipeline, **inner, device=device)
    return AfterStage(stage, pipeline, **output, keep=keep) if pipeline.after else stage
