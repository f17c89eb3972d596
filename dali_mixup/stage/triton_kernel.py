"""The batch stage as one Triton kernel: each image and its partner are read once, the batch is written once."""

# A kernel is compiled by Triton, not run by Python:
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import torch
import triton
import triton.language as tl

from dali_mixup.mixing.draws import CutMixDraw, Draw, MixUpDraw
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.stage.whole_batch import WholeBatchStage

BLOCK = 1024  # pixels per program


@triton.jit
def _stage_kernel(
    images,  # (B, pixels, 3) uint8
    lam,  # (B,) float32
    partner,  # (B,) int64
    boxes,  # (B, 4) int64
    out,  # (B, 3, pixels) or (B, pixels, 3)
    pixels,
    width,
    scale_r, scale_g, scale_b,
    shift_r, shift_g, shift_b,
    mixes: tl.constexpr,
    pastes: tl.constexpr,
    planar: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """One block of one image's pixels: the three channels share their cache lines, so memory is read once."""
    own = tl.program_id(1).to(tl.int64) * 3 * pixels
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    inside = pixel < pixels
    source = own + pixel * 3
    if mixes or pastes:
        other = tl.load(partner + tl.program_id(1)) * 3 * pixels
    if mixes:
        weight = tl.load(lam + tl.program_id(1))
    if pastes:
        box = boxes + tl.program_id(1) * 4
        row, column = pixel // width, pixel % width
        in_rows = (row >= tl.load(box)) & (row < tl.load(box + 2))
        in_columns = (column >= tl.load(box + 1)) & (column < tl.load(box + 3))
        source = tl.where(in_rows & in_columns, other, own) + pixel * 3
    for channel in tl.static_range(3):
        value = tl.load(images + source + channel, mask=inside, other=0).to(tl.float32)
        if mixes:
            second = tl.load(images + other + pixel * 3 + channel, mask=inside, other=0).to(tl.float32)
            value = weight * value + (1.0 - weight) * second
        if channel == 0:
            value = value * scale_r + shift_r
        elif channel == 1:
            value = value * scale_g + shift_g
        else:
            value = value * scale_b + shift_b
        if planar:
            target = own + channel * pixels + pixel
        else:
            target = own + pixel * 3 + channel
        tl.store(out + target, value.to(out.dtype.element_ty), mask=inside)


class TritonStage(WholeBatchStage):
    """The stage as one kernel, on the stream of the caller."""

    def prepare(self, pipeline: ImagePipeline) -> tuple[list[float], list[float]]:
        """See `WholeBatchStage`."""
        scale, shift = pipeline.normalization(torch.float64)
        return scale.tolist(), shift.tolist()

    def finish(self, images: torch.Tensor, draw: Draw | None) -> torch.Tensor:
        """See `WholeBatchStage`."""
        count, height, width, _ = images.shape
        images = images.contiguous()
        out = torch.empty(
            (count, 3, height, width), dtype=self.dtype, device=images.device, memory_format=self.memory_format
        )
        if not count:
            return out
        with torch.cuda.device_of(images):  # Triton launches on torch's current GPU
            _stage_kernel[triton.cdiv(height * width, BLOCK), count](
                images,
                images if draw is None else draw.lam,
                images if draw is None else draw.partner,
                draw.boxes if isinstance(draw, CutMixDraw) else images,
                out,
                height * width,
                width,
                *self.scale,
                *self.shift,
                mixes=isinstance(draw, MixUpDraw),  # pyright: ignore[reportArgumentType]
                pastes=isinstance(draw, CutMixDraw),  # pyright: ignore[reportArgumentType]
                planar=self.memory_format == torch.contiguous_format,  # pyright: ignore[reportArgumentType]
                block=BLOCK,  # pyright: ignore[reportArgumentType]
            )
        return out
