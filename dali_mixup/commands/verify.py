"""Whether files decode to their end, as a Loader finds. Flipped bits that leave a valid stream can't be noticed."""

from typing import TYPE_CHECKING

import numpy as np

from dali_mixup.commands.progress import run_in_threads
from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.jpeg import START
from dali_mixup.dataset.pillow import UndecodableError, decode_with_pillow
from dali_mixup.dataset.scan import scan
from dali_mixup.dataset.verdict import Verdict
from dali_mixup.decode.reasons import MAX_PIXELS, too_many_pixels
from dali_mixup.decode.turbojpeg import open_turbojpeg

if TYPE_CHECKING:
    from turbojpeg import TurboJPEG

GRAY = 6  # TurboJPEG's pixel format


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
        size = int(dataset.heights[index]), int(dataset.widths[index])
        claimed = too_many_pixels(*size, MAX_PIXELS)
        return claimed or why_damaged(dataset.paths[index], size, Verdict(dataset.sizes.verdict[index]), jpeg)

    reasons = run_in_threads(look, good, "decoding")
    return {index: reason for index, reason in zip(good, reasons, strict=True) if reason}


def why_damaged(path: str, size: tuple[int, int], verdict: Verdict, jpeg: "TurboJPEG") -> str:
    """Decode one file; the reason that it fails, or "".

    A regular JPEG in which libjpeg-turbo finds nothing wrong is good; of everything else Pillow decides.

    Args:
        path: the file.
        size: height and width that the index knows.
        verdict: who decodes it.
        jpeg: a strict decoder.
    """
    irregular = ""
    try:
        if verdict in (Verdict.DALI, Verdict.SCAN_FIRST):
            with open(path, "rb") as file:
                data = file.read()
            if data.startswith(START):
                irregular = scan(data)
                if not irregular and _is_decoded(data, size, jpeg):
                    return ""
        decode_with_pillow(path, size)
    except UndecodableError as error:
        return irregular or str(error)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return ""


def _is_decoded(data: bytes, size: tuple[int, int], jpeg: "TurboJPEG") -> bool:
    """At an eighth of the size all compressed data is read, and little else is computed."""
    try:
        width, height, *_ = jpeg.decode_header(data)
        jpeg.decode(data, pixel_format=GRAY, scaling_factor=(1, 8))
    except (OSError, ValueError):
        return False
    return (height, width) == size
