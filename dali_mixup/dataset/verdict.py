"""Who decodes a file: what the parsers of `jpeg`, `png` and `webp` and Pillow's opinion come to."""

from enum import IntEnum
from typing import NamedTuple

SPARE_BYTES = 64 << 20
HARMLESS_PIXELS = 1 << 18
LONGEST_SIDE = 2**31 - 1  # that a column of int32 holds
BYTES_PER_PIXEL = 16  # four channels of float32, which is more than any photo needs


class Verdict(IntEnum):
    """Who decodes a file; small enough for a uint8 column.

    Attributes:
        BAD: nobody: it is no image, or none of a supported format.
        DALI: DALI, of which is known that it decodes such a file as Pillow does.
        SCAN_FIRST: DALI, once `scan` found nothing irregular in the whole file; else Pillow. A JPEG whose header is
            plain.
        PILLOW: Pillow, which may still find that it is bad.
    """

    BAD = 0
    DALI = 1
    SCAN_FIRST = 2
    PILLOW = 3


class Finding(NamedTuple):
    """The size of an image, who decodes it, and the reason for a bad file.

    A parser that leaves the size to Pillow gives 0 x 0 and PILLOW; its reason is the one to use if Pillow refuses.
    """

    height: int
    width: int
    verdict: Verdict
    reason: str = ""


def bad(reason: str) -> Finding:
    """A file that is no image."""
    return Finding(0, 0, Verdict.BAD, reason)


def ask_pillow(reason: str = "") -> Finding:
    """A file that this library doesn't judge by itself."""
    return Finding(0, 0, Verdict.PILLOW, reason)


def cannot_hold(height: int, width: int, file_size: int) -> Finding:
    """A file that is too short for the pixels that it claims, so that nobody allocates them; few of them do no harm."""
    if height * width <= HARMLESS_PIXELS:
        return ask_pillow()
    return bad(f"claims {height} x {width} pixels, which {file_size} bytes can't hold")


def why_unreadable(error: OSError) -> str:
    """The reason for a file that can't be opened or read; an error without a number is a reason itself."""
    if error.errno is None:
        return str(error)
    return "missing" if isinstance(error, FileNotFoundError) else f"unreadable: {error.strerror}"


def most_bytes(height: int, width: int) -> int:
    """More than what a file of that many pixels needs; what is longer is never read whole."""
    return SPARE_BYTES + BYTES_PER_PIXEL * height * width
