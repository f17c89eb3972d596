"""How DALI decodes on a GPU: settings that change the speed and the memory, and by a level or two the pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dali_mixup.errors import check_bool, check_probability

HINTED_BYTES = 2 << 30
BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDecode:
    """Settings of DALI's decoder on a GPU; on the CPU none of them has an effect.

    Args:
        hw_decoder_load: the part of the JPEGs that the GPU's own JPEG engine (from A100 on) decodes; the others go to
            its cores. DALI's default; how much is best depends on the GPU and on `num_threads`, and `bench.gpu_check`
            finds it.
        size_hints: set memory aside for the JPEG engine when the graph is built, so that none is allocated later: for
            a batch of images as large as the largest one of the dataset of which a batch takes at most 2 GiB (at batch
            256 one of 2.8 megapixels). What is larger makes DALI allocate when it comes.
        fancy_upsampling: smooth chroma as Pillow decodes it. nvJPEG does so with whole images alone, from which windows
            are cut; their pixels take memory of the GPU, 3 bytes each. Without it windows are decoded, and edges of
            colours differ by tens of levels.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    hw_decoder_load: float = 0.65
    size_hints: bool = False
    fancy_upsampling: bool = True

    def __post_init__(self) -> None:
        check_probability("hw_decoder_load", self.hw_decoder_load)
        check_bool("size_hints", self.size_hints)
        check_bool("fancy_upsampling", self.fancy_upsampling)

    def options(self, largest: tuple[int, int]) -> dict[str, Any]:
        """Arguments of DALI's decoder.

        Args:
            largest: height and width in pixels, from `largest_size`.
        """
        height, width = largest if self.size_hints else (0, 0)
        return {
            "hw_decoder_load": float(self.hw_decoder_load),
            "preallocate_height_hint": height,
            "preallocate_width_hint": width,
            "jpeg_fancy_upsampling": self.fancy_upsampling,
        }


def largest_size(heights: np.ndarray, widths: np.ndarray, max_pixels: int, batch_size: int) -> tuple[int, int]:
    """Height and width of the largest image of at most `max_pixels` of which a batch takes at most `HINTED_BYTES`.

    (0, 0) if there is none.

    >>> largest_size(np.array([0, 3000, 500, 400, 65000]), np.array([0, 20, 200, 300, 65000]), 100_000_000, 256)
    (400, 300)
    """
    area = heights.astype(np.int64) * widths
    area[area > min(max_pixels, HINTED_BYTES // (BYTES_PER_PIXEL * batch_size))] = 0
    largest = int(area.argmax())
    return (int(heights[largest]), int(widths[largest])) if area[largest] else (0, 0)
