"""What an image file is by its header alone: its size, and who decodes it.

That takes one open, one stat, and usually one read of 4 KB.
"""

from typing import NamedTuple

from dali_mixup.dataset.jpeg import FIRST_READ, START, look_at_jpeg
from dali_mixup.dataset.pillow import look_with_pillow
from dali_mixup.dataset.png import SIGNATURE, look_at_png
from dali_mixup.dataset.source import Source, open_file
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
    """Read the size of an image file and find who decodes it; never its pixels.

    Headers of JPEGs (this is what 100,000 files wait for), PNGs and WebPs are parsed here; every other format is
    Pillow's. The size is the stored one, before any EXIF rotation, as torchvision's ImageFolder sees it.

    Returns:
        A `Header`; for a file that can't be read or can't be an image, one with the reason. Never raises for a file's
        content.
    """
    try:
        with open_file(path) as (source, status):
            found = look(source)
            return Header(*found[:2], status.st_size, status.st_mtime_ns, found.reason, found.verdict)
    except OSError as error:
        return Header(0, 0, -1, -1, why_unreadable(error))


def look(source: Source) -> Finding:
    """The size of an encoded image and who decodes it, or why it can't be one."""
    try:
        return _look(source)
    except OSError as error:
        return bad(why_unreadable(error))


def _look(source: Source) -> Finding:
    head = source.read_at(0, FIRST_READ)
    if not head:
        return bad("empty file")
    found = _parse(source, head)
    if found.verdict is Verdict.PILLOW and not found.height:
        reason, found = found.reason, look_with_pillow(source)
        if reason and found.verdict is Verdict.BAD:
            return bad(reason)
    if max(found.height, found.width) > LONGEST_SIDE:
        return bad(f"claims {found.height} x {found.width} pixels")
    if found.verdict is not Verdict.BAD and source.size > most_bytes(found.height, found.width):
        return found._replace(verdict=Verdict.PILLOW)  # it stops reading at the image's end
    return found


def _parse(source: Source, head: bytes) -> Finding:
    if head.startswith(START):
        return look_at_jpeg(source, head)
    if head.startswith(SIGNATURE):
        return look_at_png(source, head)
    return look_at_webp(source, head) if is_webp(head) else ask_pillow()
