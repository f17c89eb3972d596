"""Height and width of an image file from its header alone: one open, one stat, usually one read of 4 KB."""

import os
import stat
from functools import cache
from typing import IO, NamedTuple, cast

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

FIRST_READ = 4096
# Start-of-frame markers carry the size; C4, C8 and CC share their range but are tables and extensions.
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# What Pillow tries first; its looser formats, such as GIMP's brushes, accept some of these files, too.
COMMON = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")
ORIENTATION = 0x0112  # TIFF's tag
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


class Header(NamedTuple):
    """What the probe knows of a file.

    One that can't be an image has height = width = 0 and a reason; one that DALI misreads has its size and a reason.
    """

    height: int
    width: int
    file_size: int
    mtime_ns: int
    reason: str = ""


def probe(path: str | bytes) -> Header:
    """Read the size of an image, never its pixels.

    JPEG headers are parsed here (this is what 100,000 files wait for); every other format is Pillow's.
    The size is the stored one, before any EXIF rotation, as torchvision's ImageFolder sees it.

    Returns:
        A `Header`; for a file that can't be read or can't be an image, one with the reason. Never raises for a file's
        content.
    """
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return Header(
            0, 0, -1, -1, "missing" if isinstance(error, FileNotFoundError) else f"unreadable: {error.strerror}"
        )
    try:
        status = os.fstat(fd)
        try:
            height, width, reason = _size_or_reason(fd, status)
        except OSError as error:
            height, width, reason = 0, 0, f"unreadable: {error.strerror or error}"
    finally:
        os.close(fd)
    return Header(height, width, status.st_size, status.st_mtime_ns, reason)


def _size_or_reason(fd: int, status: os.stat_result) -> tuple[int, int, str]:
    if not stat.S_ISREG(status.st_mode):
        return 0, 0, "not a regular file"
    head = os.read(fd, FIRST_READ)
    if not head:
        return 0, 0, "empty file"
    if not head.startswith(b"\xff\xd8"):
        return _pillow_size(fd)
    height, width, reason = _jpeg_size(fd, head, status.st_size)
    if reason:  # a second opinion: Pillow forgives some bytes that belong to no segment
        height, width, refused = _pillow_size(fd)
        reason = reason if refused else ""
    return height, width, reason


def _jpeg_size(fd: int, head: bytes, file_size: int) -> tuple[int, int, str]:
    """Walk the marker segments up to the frame header; segments are skipped by their length, not read."""
    start, at = 0, 2  # of `head`, and of the segment
    while True:
        segment = head[at - start : at - start + 9]
        if len(segment) < 9:
            head, start = os.pread(fd, FIRST_READ, at), at
            segment = head[:9]
        if len(segment) < 4:
            return 0, 0, f"truncated at byte {file_size}: no frame header"
        marker = segment[1]
        if segment[0] != 0xFF:
            return 0, 0, f"not a JPEG: no marker at byte {at}"
        if marker == 0xFF:
            rest = head[at - start :]
            at += len(rest) - len(rest.lstrip(b"\xff")) - 1
        elif marker in START_OF_FRAME:
            if len(segment) < 9:
                return 0, 0, f"truncated at byte {file_size}: no frame header"
            height, width = int.from_bytes(segment[5:7]), int.from_bytes(segment[7:9])
            return (height, width, "") if height and width else (0, 0, f"frame header claims {height} x {width} pixels")
        elif marker in (START_OF_SCAN, END_OF_IMAGE):
            return 0, 0, "not a JPEG: no frame header before the image data"
        elif marker in STANDALONE:
            at += 2
        else:
            length = int.from_bytes(segment[2:4])
            if length < 2:
                return 0, 0, f"not a JPEG: segment of length {length} at byte {at}"
            at += 2 + length


def _pillow_size(fd: int) -> tuple[int, int, str]:
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb", closefd=False) as file:
        try:
            with open_with_pillow(file) as image:
                height, width = image.height, image.width
                return (
                    (height, width, _why_decoded_otherwise(image))
                    if height and width
                    else (0, 0, "not an image: it has no pixels")
                )
        except UnidentifiedImageError:
            return 0, 0, "not an image"
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return 0, 0, "too many pixels"
        except Exception as error:  # noqa: BLE001  a plugin's parser may raise anything on a hostile file: a finding, not a crash
            return 0, 0, f"not an image: {type(error).__name__}: {error}"


def open_with_pillow(file: str | IO[bytes]) -> Image.Image:
    """An image in any of Pillow's formats but EPS, for which Pillow would start Ghostscript on the file."""
    return Image.open(file, formats=_formats())


@cache
def _formats() -> list[str]:
    Image.init()
    return [*COMMON, *sorted(set(Image.OPEN) - {"EPS", *COMMON})]


def _why_decoded_otherwise(image: Image.Image) -> str:
    """The reason for a TIFF of which DALI 2.4 makes another image than Pillow, without an error."""
    if image.format != "TIFF":
        return ""
    if image.mode == "LA":
        return "a gray TIFF with alpha, which DALI misreads"
    turned = cast(TiffImageFile, image).tag_v2.get(ORIENTATION, 1) != 1
    return "a TIFF with an orientation, which DALI passes over" if turned else ""
