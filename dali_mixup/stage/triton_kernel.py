"""The batch stage as a Triton kernel: each image and its partner are read once, the batch is written once.

`_word_kernel` does it where 4 divides the width, `_byte_kernel` elsewhere. What isn't mixed isn't read: no partner
where lam is 1 or outside of the box, and with words nothing of an image that the box covers.

`python tests/scripts/kernels.py` compiles them for sm_90 and sm_80, which takes no GPU, and shows their registers,
accesses and instructions. Triton 3.9, sm_90, float32 NCHW with mixup: for 24 levels, a thread has 240 instructions and
reads 12 words; with bytes 392, and 48 of them.
"""

# A kernel is compiled by Triton, not run by Python:
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import math

import torch
import triton
import triton.language as tl

from dali_mixup.mixing.draws import CutMixDraw, Draw, MixUpDraw
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.stage.whole_batch import WholeBatchStage

BLOCK = 1024  # pixels per program; of levels, twice as many

# For arguments that start elsewhere in some batches, Triton would compile a kernel again.
UNALIGNED = ["images", "lam", "partner", "boxes"]


@triton.jit
def _pick(index, zero, one, two):
    return tl.where(index == 0, zero, tl.where(index == 1, one, two))


@triton.jit
def _of_channel(first, step, red, green, blue):
    """The number of channel (first + step) % 3, for a step below 3."""
    return _pick(step, _pick(first, red, green, blue), _pick(first, green, blue, red), _pick(first, blue, red, green))


@triton.jit
def _load_words(source, reads, count: tl.constexpr):
    """One word or three per group, each as a column."""
    zero = tl.load(source, mask=reads, other=0)[:, None]
    if count == 1:
        return zero, zero, zero
    return zero, tl.load(source + 1, mask=reads, other=0)[:, None], tl.load(source + 2, mask=reads, other=0)[:, None]


@triton.jit
def _level(word, byte, size: tl.constexpr):
    return (word >> (byte % size * 8) & 255).to(tl.int32).to(tl.float32)


@triton.jit
def _from_box(boxes, group, row_groups, size: tl.constexpr, per_pixel: tl.constexpr):
    """Where each group begins, counted from its box's left edge, and the box's width; behind it in rows without box."""
    box = boxes + tl.program_id(1) * 4
    top, left = tl.load(box).to(tl.int32), tl.load(box + 1).to(tl.int32) * per_pixel
    bottom, right = tl.load(box + 2).to(tl.int32), tl.load(box + 3).to(tl.int32) * per_pixel
    width = tl.maximum(right - left, 0)
    row = (group.to(tl.uint32) // row_groups.to(tl.uint32)).to(tl.int32)
    start = (group - row * row_groups) * size - left
    return tl.where((row >= top) & (row < bottom) & (width > 0), start, width), width


@triton.jit(do_not_specialize=["groups", "row_groups"], do_not_specialize_on_alignment=UNALIGNED)
def _word_kernel(
    images,  # (B, H, W, 3) uint8, from an address that `size` divides
    lam,  # (B,) float32
    partner,  # (B,) int64
    boxes,  # (B, 4) int64
    out,  # (B, 3, H, W) or (B, H, W, 3)
    groups,  # of a plane
    row_groups,  # of a row of a plane
    scale_r, scale_g, scale_b,
    shift_r, shift_g, shift_b,
    mixes: tl.constexpr,
    pastes: tl.constexpr,
    planes: tl.constexpr,  # of a batch's image: three of pixels, or one in which the channels take turns
    size: tl.constexpr,
    block: tl.constexpr,  # groups per program
):  # fmt: skip
    """Images come in words of `size` levels, 4 or 8; as many values, a group, go to the batch at once.

    They fill 128 bits, or half of it: 8 values of 16 bits need a width that 8 divides. A group comes from three words
    where it is a plane's pixels, from one where levels stay in their places. Neighbouring threads read and write
    neighbours in each case, and pass nothing among them. `evict_first` leaves the cache to the images: each is read
    twice, as itself and as a partner.
    """
    words = images.to(tl.pointer_type(tl.uint32 if size == 4 else tl.uint64))
    group = tl.program_id(0) * block + tl.arange(0, block)
    place = tl.arange(0, size)[None, :]  # in the group
    own = tl.program_id(1).to(tl.int64) * groups * planes
    inside = group < groups
    reads = inside
    if mixes:
        weight = tl.load(lam + tl.program_id(1))
        reads_other = group < tl.where(weight < 1, groups, 0)  # no `&`: the interpreter has none for a scalar
    if pastes:
        start, width = _from_box(boxes, group, row_groups, size, 3 // planes)
        reads = inside & ((start < 0) | (start > width - size))
        reads_other = inside & (start > -size) & (start < width)
        pasted = (start[:, None] + place).to(tl.uint32) < width.to(tl.uint32)  # below 0 is large
    zero, one, two = _load_words(words + own + group * planes, reads, planes)
    if mixes or pastes:
        other = tl.load(partner + tl.program_id(1)) * groups * planes
        other_zero, other_one, other_two = _load_words(words + other + group * planes, reads_other, planes)
    target = out + own * size + (group * size)[:, None] + place
    for plane in tl.static_range(planes):
        byte = place * planes + plane
        word = _pick(byte // size, zero, one, two)
        if mixes or pastes:
            other_word = _pick(byte // size, other_zero, other_one, other_two)
        if pastes:
            word = tl.where(pasted, other_word, word)
        value = _level(word, byte, size)
        if mixes:
            value = weight * value + (1.0 - weight) * _level(other_word, byte, size)
        if planes == 3:
            scale = _pick(plane, scale_r, scale_g, scale_b)
            shift = _pick(plane, shift_r, shift_g, shift_b)
        else:
            first = (group * size % 3)[:, None]
            scale = _of_channel(first, place % 3, scale_r, scale_g, scale_b)
            shift = _of_channel(first, place % 3, shift_r, shift_g, shift_b)
        value = (value * scale + shift).to(out.dtype.element_ty)
        tl.store(target, value, mask=inside[:, None], eviction_policy="evict_first")
        target += groups.to(tl.int64) * size


@triton.jit(do_not_specialize_on_alignment=UNALIGNED)
def _byte_kernel(
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
        reads_other = pixel < tl.where(weight < 1, pixels, 0)
    if pastes:
        box = boxes + tl.program_id(1) * 4
        top, left = tl.load(box).to(tl.int32), tl.load(box + 1).to(tl.int32)
        bottom, right = tl.load(box + 2).to(tl.int32), tl.load(box + 3).to(tl.int32)
        row, column = pixel // width, pixel % width
        in_rows = (row >= top) & (row < bottom)
        in_columns = (column >= left) & (column < right)
        source = tl.where(in_rows & in_columns, other, own) + pixel * 3
    for channel in tl.static_range(3):
        value = tl.load(images + source + channel, mask=inside, other=0).to(tl.float32)
        if mixes:
            second = tl.load(images + other + pixel * 3 + channel, mask=reads_other, other=0).to(tl.float32)
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
        planes = 3 if self.memory_format == torch.contiguous_format else 1
        size = math.gcd(width, 16 // self.dtype.itemsize)
        form = {
            "mixes": isinstance(draw, MixUpDraw),
            "pastes": isinstance(draw, CutMixDraw),
            "enable_fp_fusion": True,  # Triton 3.9 warns that 3.10 will have to be told so
        }
        if size >= 4:
            kernel, form = _word_kernel, form | {"planes": planes, "size": size}
            block = (BLOCK if planes == 3 else 2 * BLOCK) // size
            row = width * 3 // planes // size
            if images.data_ptr() % size:
                images = images.clone()
        else:
            kernel, form = _byte_kernel, form | {"planar": planes == 3}
            block, row = BLOCK, width
        with torch.cuda.device_of(images):  # Triton launches on torch's current GPU
            kernel[triton.cdiv(height * row, block), count](
                images,
                images if draw is None else draw.lam,
                images if draw is None else draw.partner,
                draw.boxes if isinstance(draw, CutMixDraw) else images,
                out,
                height * row,
                row,
                *self.scale,
                *self.shift,
                block=block,  # pyright: ignore[reportArgumentType]
                **form,
            )
        return out
