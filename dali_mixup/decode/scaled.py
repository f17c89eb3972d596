"""Large windows decoded at a half, a quarter or an eighth of their size, in a fraction of the time.

What is left of each block are its low frequencies, so the result is near the exact one, not equal: `bench.parity` says
how near, and checks that large photos differ by less than `MOST_IN_MEAN`.
"""

from typing import Any

import numpy as np
from PIL import Image

from dali_mixup.dataset.jpeg import START
from dali_mixup.decode.turbojpeg import PIXEL_FORMAT_RGB, open_turbojpeg
from dali_mixup.geometry.geometry import INTERPOLATIONS, Windows

SCALES = (8, 4, 2)  # other factors of libjpeg-turbo's are slower than full size
MARGIN = 2  # what is decoded has at least so many times the output's height and width
MOST_IN_MEAN = 0.6  # levels of 255
ACCURATE_DCT = 4096  # TurboJPEG's flag
UNITS = ((8, 8), (8, 16), (16, 16), (8, 8), (16, 8), (8, 32))  # height and width by TurboJPEG's number of a subsampling
NEAREST, BILINEAR = INTERPOLATIONS.index("nearest"), INTERPOLATIONS.index("bilinear")
FILTERS = {
    BILINEAR: Image.Resampling.BILINEAR,
    INTERPOLATIONS.index("bicubic"): Image.Resampling.BICUBIC,
    INTERPOLATIONS.index("lanczos"): Image.Resampling.LANCZOS,
}
SUPPORT = {BILINEAR: 1, INTERPOLATIONS.index("bicubic"): 2, INTERPOLATIONS.index("lanczos"): 3}  # output pixels


def scales_of(windows: Windows) -> np.ndarray:
    """By what each window may be divided, (B,) int64: 8, 4, 2, or 1 for full size."""
    ratio = (windows.shape / (MARGIN * windows.resized)).min(1)
    scales = np.select([ratio >= scale for scale in SCALES], SCALES, 1)
    scales[list(windows.canvases())] = 1
    if windows.interpolation is not None:
        scales[windows.interpolation == NEAREST] = 1
    return scales


class ScaledDecoder:
    """Decodes and resizes windows of regular JPEGs; threads may share it.

    Args:
        size: height and width of the output in the resized window.

    Raises:
        OSError: the system's libturbojpeg is missing.
    """

    def __init__(self, size: tuple[int, int]):
        self.size = size
        self.jpeg: Any = open_turbojpeg()

    def decode(self, data: bytes, corner: tuple[int, int], windows: Windows, row: int, scale: int) -> np.ndarray | None:
        """A window, resized.

        Args:
            data: a JPEG, or a cut of one.
            corner: top and left of what `data` holds in the whole image.
            windows: of a batch.
            row: which of them.
            scale: by what the size is divided.

        Returns:
            uint8 (*resized, 3); None for what is to be decoded exactly: no JPEG, a damaged one, or an output that
            reaches to blocks over the image's edge, whose other side is smoothed into them.
        """
        if not data.startswith(START):
            return None
        resized, offset = windows.resized[row], windows.offset[row]
        start, stop = windows.anchor[row] - corner, windows.anchor[row] - corner + windows.shape[row]
        code = BILINEAR if windows.interpolation is None else int(windows.interpolation[row])
        reach = windows.shape[row] / resized * (np.minimum(offset + self.size, resized) + SUPPORT[code])
        needed = np.minimum(start + reach, stop)
        try:
            width, height, subsampling, _ = self.jpeg.decode_header(data)
            whole = np.array([height, width]) // UNITS[subsampling] * UNITS[subsampling]
            if ((needed > whole) & (whole != (height, width))).any():
                return None
            pixels = self.jpeg.decode(data, PIXEL_FORMAT_RGB, scaling_factor=(1, scale), flags=ACCURATE_DCT)
        except (OSError, ValueError, IndexError):
            return None
        first, last = start // scale, -(-stop // scale)
        image = Image.fromarray(pixels[first[0] : last[0], first[1] : last[1]])
        top, left = (start / scale - first).tolist()
        bottom, right = np.minimum(stop / scale - first, [image.height, image.width]).tolist()
        new_height, new_width = resized.tolist()
        return np.asarray(image.resize((new_width, new_height), FILTERS[code], (left, top, right, bottom)))
