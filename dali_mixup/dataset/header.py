"""What an image file is by its header alone: its size, and who decodes it.

That takes one open, one stat, and usually one read of 4 KB.
"""

import os
import stat
from typing import NamedTuple

from dali_mixup.dataset.jpeg import FIRST_READ, START, look_at_jpeg
from dali_mixup.dataset.pillow import look_with_pillow
from dali_mixup.dataset.png import SIGNATURE, look_at_png
from dali_mixup.dataset.verdict import LONGEST_SIDE, Finding, Verdict, ask_pillow, bad, most_bytes, why_unreadable
from dali_mixup.dataset.webp import is_webp, look_at_webp


class Header(NamedTuple):
    """What the probe knows of a file.

    One that can't be an image has height = width = 0, the verdict BAD and a reason; all others have none.
    """

    height: int
    width: int
    file_size: int
    mtime_ns: int
    reason: str = ""
    verdict: Verdict = Verdict.BAD


def probe(path: str | bytes) -> Header:
    """Read the size of an image and find who decodes it; never its pixels.

    Headers of JPEGs (this is what 100,000 files wait for), PNGs and WebPs are parsed here; every other format is
    Pillow's. The size is the stored one, before any EXIF rotation, as torchvision's ImageFolder sees it.

    Returns:
        A `Header`; for a file that can't be read or can't be an image, one with the reason. Never raises for a file's
        content.
    """
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return Header(0, 0, -1, -1, why_unreadable(error))
    try:
        status = os.fstat(fd)
        try:
            height, width, verdict, reason = _look(fd, status)
        except OSError as error:
            height, width, verdict, reason = bad(why_unreadable(error))
    finally:
        os.close(fd)
    return Header(height, width, status.st_size, status.st_mtime_ns, reason, verdict)


def _look(fd: int, status: os.stat_result) -> Finding:
    if not stat.S_ISREG(status.st_mode):
        return bad("not a regular file")
    head = os.read(fd, FIRST_READ)
    if not head:
        return bad("empty file")
    found = _parse(fd, head, status.st_size)
    if found.verdict is Verdict.PILLOW and not found.height:
        reason, found = found.reason, look_with_pillow(fd)
        if reason and found.verdict is Verdict.BAD:
            return bad(reason)
    if max(found.height, found.width) > LONGEST_SIDE:
        return bad(f"claims {found.height} x {found.width} pixels")
    if found.verdict is not Verdict.BAD and status.st_size > most_bytes(found.height, found.width):
        return found._replace(verdict=Verdict.PILLOW)  # it stops reading at the image's end
    return found


def _parse(fd: int, head: bytes, file_size: int) -> Finding:
    if head.startswith(START):
        return look_at_jpeg(fd, head, file_size)
    if head.startswith(SIGNATURE):
        return look_at_png(fd, head, file_size)
    return look_at_webp(fd, head, file_size) if is_webp(head) else ask_pillow()
