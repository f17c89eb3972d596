"""WebP's header: the size, and whether DALI decodes such a file as Pillow does.

DALI 2.4 equals Pillow on lossy and lossless ones, with alpha and with a colour profile. Animations are left to Pillow,
and so is what has chunks after its image: the process dies of a lossless one with EXIF, and of damaged image data DALI
reads on into those chunks, where Pillow refuses the file.
"""

from dali_mixup.dataset.source import Source
from dali_mixup.dataset.verdict import Finding, Verdict, ask_pillow

ANIMATED = 0x02  # a flag of the extended header
MOST_BEFORE_IMAGE = 3  # a colour profile, alpha, and the image itself
HEADER = 30


def is_webp(head: bytes) -> bool:
    """Whether a file begins as WebP does."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP" and head[12:16] in (b"VP8 ", b"VP8L", b"VP8X")


def look_at_webp(source: Source, head: bytes) -> Finding:
    """What the header of a WebP tells.

    The size of those that are left to Pillow is known, too: Pillow allocates two images when it opens one.

    Args:
        source: the file.
        head: its first bytes, `HEADER` or more.
    """
    size = read_size(head)
    if size is None:
        return ask_pillow()
    plain = int.from_bytes(head[4:8], "little") + 8 == source.size and _is_plain(source, head, size)
    return Finding(*size, Verdict.DALI if plain else Verdict.PILLOW)


def read_size(head: bytes) -> tuple[int, int] | None:
    """Height and width from a file's or an image chunk's first bytes; None if it has none."""
    kind = head[12:16]
    size = None
    if len(head) < HEADER:
        return None
    if kind == b"VP8X":
        size = int.from_bytes(head[27:30], "little") + 1, int.from_bytes(head[24:27], "little") + 1
    elif kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        size = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    elif kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        size = int.from_bytes(head[28:30], "little") & 0x3FFF, int.from_bytes(head[26:28], "little") & 0x3FFF
    return size if size and all(size) else None


def _is_plain(source: Source, head: bytes, size: tuple[int, int]) -> bool:
    """Whether the image of this size is the last chunk, with nothing but a colour profile and alpha before it."""
    at = 12
    if head[12:16] == b"VP8X":
        if head[20] & ANIMATED or int.from_bytes(head[16:20], "little") != 10:
            return False
        at = HEADER
    for _ in range(MOST_BEFORE_IMAGE):
        chunk = source.read_at(at, 18)
        if len(chunk) < 18:
            return False
        length = int.from_bytes(chunk[4:8], "little")
        end = at + 8 + length + length % 2
        if chunk[:4] in (b"VP8 ", b"VP8L"):
            return end == source.size and read_size(head[:12] + chunk) == size
        if chunk[:4] not in (b"ICCP", b"ALPH"):
            return False
        at = end
    return False
