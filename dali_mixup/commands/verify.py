"""Whether files decode to their end. Flipped bits that leave a valid stream can't be noticed."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dali_mixup.commands.progress import run_in_threads
from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.header import open_with_pillow
from dali_mixup.decode.reasons import MAX_PIXELS, too_many_pixels
from dali_mixup.decode.turbojpeg import open_turbojpeg

if TYPE_CHECKING:
    from turbojpeg import TurboJPEG

GRAY, CMYK = 6, 11  # TurboJPEG's pixel formats
CMYK_SPACES = (3, 4)  # and its colour spaces CMYK and YCCK


def find_damaged(dataset: FileList) -> dict[int, str]:
    """Decode all files that have a good header, in threads, with a progress bar.

    Returns:
        The reason for each bad file, by its number in the data set.

    Raises:
        OSError: libturbojpeg is missing.
    """
    jpeg = open_turbojpeg()
    good = np.setdiff1d(np.arange(len(dataset)), list(dataset.bad_files)).tolist()

    def look(index: int) -> str:
        claimed = too_many_pixels(int(dataset.heights[index]), int(dataset.widths[index]), MAX_PIXELS)
        return claimed or why_damaged(Path(dataset.paths[index]), jpeg)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's
        reasons = run_in_threads(look, good, "decoding")
    return {index: reason for index, reason in zip(good, reasons, strict=True) if reason}


def why_damaged(path: Path, jpeg: "TurboJPEG") -> str:
    """Decode one file with `open_turbojpeg()` or Pillow; the reason that it fails, or ""."""
    try:
        data = path.read_bytes()
        if data.startswith(b"\xff\xd8"):
            _decode_jpeg(data, jpeg)
        else:
            with open_with_pillow(str(path)) as image:
                image.load()
    except Exception as error:  # noqa: BLE001  a decoder may raise anything on a damaged file: that is the finding
        kind = "truncated" if "Premature end of JPEG file" in str(error) else "damaged"
        return f"{kind}: {error or type(error).__name__}"
    return ""


def _decode_jpeg(data: bytes, jpeg: "TurboJPEG") -> None:
    """At an eighth of the size all compressed data is read, and little else is computed."""
    space = jpeg.decode_header(data)[3]
    jpeg.decode(data, pixel_format=CMYK if space in CMYK_SPACES else GRAY, scaling_factor=(1, 8))
