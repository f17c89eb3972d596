"""JPEGs up to their frame header: the size, and whether DALI decodes such a frame as Pillow does.

What follows the frame header is for `scan`.
"""

from dali_mixup.dataset.source import Source
from dali_mixup.dataset.verdict import Finding, Verdict, ask_pillow, cannot_hold

START = b"\xff\xd8"
FIRST_READ = 4096
# Start-of-frame markers carry the size; C4, C8 and CC share their range but are tables and extensions.
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
HUFFMAN = (BASELINE, EXTENDED, PROGRESSIVE)  # the others are lossless, hierarchical or arithmetic
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
FRAME_BYTES = 10  # of a frame header up to its components, of which each has 3
LONGEST_FRAME = FRAME_BYTES + 3 * 3
# (h, v) of luma over chroma, all of which DALI 2.4 decodes as Pillow does, whole and in windows.
SUBSAMPLINGS = ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1))
MOST_BLOCKS = 10  # of one unit, in which all components have their blocks
# The same as the bytes of a frame header.
PLAIN_FACTORS = frozenset(
    bytes([16 * h * x + v * y, 16 * x + y, 16 * x + y])
    for h, v in SUBSAMPLINGS
    for x in range(1, 4 // h + 1)
    for y in range(1, 4 // v + 1)
    if (h * v + 2) * x * y <= MOST_BLOCKS
)


def look_at_jpeg(source: Source, head: bytes) -> Finding:
    """What the header of a JPEG tells.

    Args:
        source: the file.
        head: its first `FIRST_READ` bytes.
    """
    frame = _find_frame(source, head)
    if isinstance(frame, str):
        return ask_pillow(frame)  # it forgives some bytes that belong to no segment
    height, width = int.from_bytes(frame[5:7]), int.from_bytes(frame[7:9])
    if not height or not width:
        return ask_pillow(f"frame header claims {height} x {width} pixels")
    if why_not_dali(frame):
        return ask_pillow()
    if not can_hold(height, width, source.size):
        return cannot_hold(height, width, source.size)
    return Finding(height, width, Verdict.SCAN_FIRST)


def can_hold(height: int, width: int, file_size: int) -> bool:
    """Whether a Huffman-coded JPEG of this many bytes can have this size: a block of 8 x 8 takes a bit at least."""
    return ((height + 7) >> 3) * ((width + 7) >> 3) <= 8 * file_size


def why_not_dali(frame: bytes) -> str:
    """Why a frame header, from its marker on, is left to Pillow; "" if DALI decodes such a file as Pillow does."""
    if frame[1] not in HUFFMAN:
        return f"a frame of kind {frame[1]:02X}"
    if len(frame) < LONGEST_FRAME - 6 or int.from_bytes(frame[2:4]) != FRAME_BYTES - 2 + 3 * frame[9]:
        return "a damaged frame header"
    if frame[4] != 8:
        return f"{frame[4]} bits per sample"
    if frame[9] == 1:
        return "" if frame[11] >> 4 and frame[11] & 15 else "a damaged frame header"
    if frame[9] != 3:  # of CMYK, DALI's colours are a level off
        return f"{frame[9]} components"
    return "" if frame[11:LONGEST_FRAME:3] in PLAIN_FACTORS else "an unusual subsampling"


def _find_frame(source: Source, head: bytes) -> bytes | str:
    """Walk the marker segments, skipped by their length and not read; the frame header, or why there is none."""
    start, at = 0, 2  # of `head`, and of the segment
    while True:
        segment = head[at - start : at - start + LONGEST_FRAME]
        if len(segment) < LONGEST_FRAME:
            head, start = source.read_at(at, FIRST_READ), at
            segment = head[:LONGEST_FRAME]
        if len(segment) < 4:
            return f"truncated at byte {source.size}: no frame header"
        marker = segment[1]
        if segment[0] != 0xFF:
            return f"not a JPEG: no marker at byte {at}"
        if marker == 0xFF:
            rest = head[at - start :]
            at += len(rest) - len(rest.lstrip(b"\xff")) - 1
        elif marker in START_OF_FRAME:
            return segment if len(segment) >= 9 else f"truncated at byte {source.size}: no frame header"
        elif marker in (START_OF_SCAN, END_OF_IMAGE):
            return "not a JPEG: no frame header before the image data"
        elif marker in STANDALONE:
            at += 2
        else:
            length = int.from_bytes(segment[2:4])
            if length < 2:
                return f"not a JPEG: segment of length {length} at byte {at}"
            at += 2 + length
