"""How DALI decodes on a GPU: settings that change the speed and the memory, and by a level or two the pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dali_mixup.decode.reasons import are_hopeless
from dali_mixup.errors import check_bool, check_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDecode:
    """Settings of DALI's decoder on a GPU; on the CPU none of them has an effect.

    Args:
        hw_decoder_load: the part of the JPEGs that the GPU's own JPEG engine (from A100 on) decodes; the others go to
            its cores. DALI's default; how much is best depends on the GPU and on `num_threads`, and `bench.gpu_check`
            finds it.
        size_hints: set memory aside for the largest image of the dataset when the graph is built, so that none is
            allocated later.
        fancy_upsampling: smooth chroma as Pillow decodes it; without it edges of colours differ by tens of levels.

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
            largest: height and width of the largest images in pixels.
        """
        height, width = largest if self.size_hints else (0, 0)
        return {
            "hw_decoder_load": float(self.hw_decoder_load),
            "preallocate_height_hint": height,
            "preallocate_width_hint": width,
            "jpeg_fancy_upsampling": self.fancy_upsampling,
        }


def largest_size(heights: np.ndarray, widths: np.ndarray, max_pixels: int) -> tuple[int, int]:
    """Height and width in which every image of at most `max_pixels` fits; bad files (0 x 0) don't count.

    >>> largest_size(np.array([0, 30, 65000]), np.array([0, 40, 65000]), max_pixels=100_000_000)
    (30, 40)
    """
    plausible = ~are_hopeless(heights, widths, max_pixels)
    return int(heights[plausible].max(initial=0)), int(widths[plausible].max(initial=0))
