"""Whether files decode to their end, as a Loader finds. Flipped bits that leave a valid stream can't be noticed."""

from typing import TYPE_CHECKING

import numpy as np

from dali_mixup.commands.progress import run_in_threads
from dali_mixup.dataset.dataset import EncodedDataset
from dali_mixup.dataset.jpeg import START
from dali_mixup.dataset.pillow import UndecodableError, decode_source
from dali_mixup.dataset.scan import scan
from dali_mixup.dataset.source import Source
from dali_mixup.dataset.verdict import Verdict, why_unreadable
from dali_mixup.decode.reasons import MAX_PIXELS, too_many_pixels
from dali_mixup.decode.turbojpeg import open_turbojpeg

if TYPE_CHECKING:
    from turbojpeg import TurboJPEG

GRAY = 6  # TurboJPEG's pixel format


def find_damaged(dataset: EncodedDataset) -> dict[int, str]:
    """Decode all images that have a good header, in threads, with a progress bar.

    Returns:
        The reason for each bad file, by its number in the data set.

    Raises:
        OSError: libturbojpeg is missing.
    """
    jpeg = open_turbojpeg()
    good = np.setdiff1d(np.arange(len(dataset)), list(dataset.bad_files)).tolist()

    def look(index: int) -> str:
        size = int(dataset.heights[index]), int(dataset.widths[index])
        try:
            with dataset.open(index) as source:
                claimed = too_many_pixels(*size, MAX_PIXELS)
                return claimed or why_damaged(source, size, Verdict(dataset.sizes.verdict[index]), jpeg)
        except OSError as error:
            return why_unreadable(error)

    reasons = run_in_threads(look, good, "decoding")
    return {index: reason for index, reason in zip(good, reasons, strict=True) if reason}


def why_damaged(source: Source, size: tuple[int, int], verdict: Verdict, jpeg: "TurboJPEG") -> str:
    """Decode one image; the reason that it fails, or "".

    A regular JPEG in which libjpeg-turbo finds nothing wrong is good; of everything else Pillow decides.

    Args:
        source: its bytes.
        size: height and width that the index knows.
        verdict: who decodes it.
        jpeg: a strict decoder.
    """
    irregular = ""
    try:
        if verdict in (Verdict.DALI, Verdict.SCAN_FIRST):
            data = source.read_at(0, source.size)
            if data.startswith(START):
                irregular = scan(data)
                if not irregular and _is_decoded(data, size, jpeg):
                    return ""
        decode_source(source, size)
    except UndecodableError as error:
        return irregular or str(error)
    return ""


def _is_decoded(data: bytes, size: tuple[int, int], jpeg: "TurboJPEG") -> bool:
    """At an eighth of the size all compressed data is read, and little else is computed."""
    try:
        width, height, *_ = jpeg.decode_header(data)
        jpeg.decode(data, pixel_format=GRAY, scaling_factor=(1, 8))
    except (OSError, ValueError):
        return False
    return (height, width) == size
