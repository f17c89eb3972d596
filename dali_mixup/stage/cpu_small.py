"""The CPU stage's arithmetic for images so small that calling torch costs more than the work.

Many images in each call.
"""

import math

import torch

from dali_mixup.mixing.draws import CutMixDraw, Draw, MixUpDraw
from dali_mixup.pipeline import ImagePipeline

SMALL = 2**15  # values of an image; to finish a larger one by itself is faster
# Values per call. Fewer would stay in a core's second cache, but between two calls a thread waits for Python's lock.
GROUP = 2**17


class SmallImages:
    """Mixup or CutMix, normalization and cast, group by group.

    Args:
        pipeline: output size, mean and std.
        planar: whether images lie in memory as planes, or as rows of pixels.

    Attributes:
        serve: whether the images are so small.
        group: images per call.
    """

    size: tuple[int, int]
    serve: bool
    group: int
    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, pipeline: ImagePipeline, *, planar: bool):
        self.size = height, width = pipeline.size
        self.planar = planar
        self.channels = pipeline.channels
        values = self.channels * math.prod(self.size)
        self.serve, self.group = values <= SMALL, GROUP // values
        self.scale, self.shift = (
            values.repeat_interleave(height * width) if planar else values.repeat(height * width)
            for values in pipeline.normalization(torch.float32)
        )

    def finish_run(self, levels: torch.Tensor, out: torch.Tensor, draw: Draw | None, run: list[int]) -> None:
        """Finish consecutive images.

        Args:
            levels: (B, ...) uint8, all images of the batch in the layout of `planar`.
            out: of the same shape.
            draw: of the batch.
            run: the images' numbers.
        """
        levels, out = levels.flatten(1), out.flatten(1)
        for start in range(run[0], run[-1] + 1, self.group):
            rows = slice(start, min(start + self.group, run[-1] + 1))
            pixels = self._paste(levels, draw, rows) if isinstance(draw, CutMixDraw) else levels[rows]
            pixels = pixels.float()
            if isinstance(draw, MixUpDraw):
                pixels = torch.lerp(
                    levels.index_select(0, draw.partner[rows]).float(), pixels, draw.lam[rows].view(-1, 1)
                )
            if out.dtype == torch.float32:
                torch.addcmul(self.shift, pixels, self.scale, out=out[rows])
            else:
                out[rows] = torch.addcmul(self.shift, pixels, self.scale)

    def _paste(self, levels: torch.Tensor, draw: CutMixDraw, rows: slice) -> torch.Tensor:
        """A copy of the rows, each with its box of its partner."""
        shape = (-1, self.channels, *self.size) if self.planar else (-1, *self.size, self.channels)
        pasted = levels[rows].clone()
        own, others = pasted.view(shape), levels.view(shape)
        for image, partner, (top, left, bottom, right) in zip(
            own, draw.partner[rows].tolist(), draw.boxes[rows].tolist(), strict=True
        ):
            box = (slice(top, bottom), slice(left, right))
            box = (slice(None), *box) if self.planar else box
            image[box] = others[partner][box]
        return pasted
