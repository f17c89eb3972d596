"""A whole JPEG, marker by marker: what is irregular in one is left to Pillow, which says whether it is bad.

libjpeg fills what is missing with gray and goes on, and how much of the rest a decoder still looks at is its own
decision: DALI delivers photos that Pillow refuses. Markers inside of the compressed data are found without decoding.
"""

from typing import NamedTuple

import numpy as np

from dali_mixup.dataset.jpeg import (
    END_OF_IMAGE,
    FRAME_BYTES,
    PROGRESSIVE,
    START_OF_FRAME,
    START_OF_SCAN,
    why_not_dali,
)

HUFFMAN_TABLES, QUANTIZATION_TABLES, RESTART_INTERVAL = 0xC4, 0xDB, 0xDD
SKIPPED = frozenset({0xFE, *range(0xE0, 0xF0)})  # comments and application data
MAX_SEGMENTS = 4096
COEFFICIENTS = 64
UNSEEN = -1
WHOLE = [0] * COEFFICIENTS
RESTART = 0xD0  # to D7
BEYOND_TABLES = 0xEC  # bits that aren't set in a table's byte: two classes, four numbers


class Frame(NamedTuple):
    """A frame header.

    Attributes:
        progressive: whether coefficients come bit by bit.
        height: in pixels.
        width: in pixels.
        components: by their identifier (horizontal factor, vertical factor, quantization table).
    """

    progressive: bool
    height: int
    width: int
    components: dict[int, tuple[int, int, int]]


class Irregular(Exception):  # noqa: N818  it is no error, but what `scan` finds
    """Something that a regular JPEG doesn't have."""


def scan(data: bytes | memoryview | np.ndarray) -> str:
    """Look for what a complete and regular JPEG doesn't have.

    Markers between segments and inside of the compressed data, restart markers and their number, lengths, tables that
    are used before they are there, and in a progressive file whether each coefficient came with all of its bits. Bytes
    after the end marker are fine. Flipped bits that leave no marker can't be noticed.

    Args:
        data: a whole file, uint8 (length,) if it is an array.

    Returns:
        "" for a file that DALI may decode, else what is irregular.

    >>> scan(b"GIF89a")
    'no start marker'
    """
    try:
        _Walk(np.frombuffer(data, np.uint8)).to_the_end()
    except Irregular as found:
        return str(found)
    return ""


class _Walk:
    """A way through one file; each method raises `Irregular`."""

    def __init__(self, data: np.ndarray):
        self.data, self.view = data, data.data
        self.frame: Frame | None = None
        self.huffman: set[int] = set()  # class in the high four bits, number in the low ones, as in the file
        self.quantization: set[int] = set()
        self.interval = 0
        self.marks: np.ndarray | None = None  # the positions of all markers, once they are needed
        self.seen: dict[int, list[int]] = {}  # by component: the lowest bit of each coefficient that came
        self.marked = data[:-1] == 0xFF  # where a marker begins
        np.logical_and(self.marked, data[1:], out=self.marked)

    def to_the_end(self) -> None:
        view, at = self.view, 2
        if view[:2] != b"\xff\xd8":
            raise Irregular("no start marker")
        for _ in range(MAX_SEGMENTS):
            if at + 2 > len(view):
                raise Irregular(f"truncated at byte {len(view)}: no end marker")
            if view[at] != 0xFF:
                raise Irregular(f"no marker at byte {at}")
            marker = view[at + 1]
            if marker == END_OF_IMAGE:
                break
            at = self._read_segment(marker, at)
        else:
            raise Irregular(f"more than {MAX_SEGMENTS} segments")
        if self.frame is None or not self._is_complete():
            raise Irregular(f"scans are missing before the end marker at byte {at}")

    def _read_segment(self, marker: int, at: int) -> int:
        """Where the next marker has to be."""
        end = at + 2 + int.from_bytes(self.view[at + 2 : at + 4])
        if end < at + 4:
            raise Irregular(f"segment without a length at byte {at}")
        if end > len(self.view):
            raise Irregular(f"truncated at byte {len(self.view)}: inside of the segment at byte {at}")
        if marker in SKIPPED:
            return end
        segment = bytes(self.view[at:end])
        if marker == HUFFMAN_TABLES:
            self._read_huffman(segment, at)
        elif marker == QUANTIZATION_TABLES:
            self._read_quantization(segment, at)
        elif marker == START_OF_SCAN:
            return self._read_scan(segment, at, end)
        elif marker == RESTART_INTERVAL and len(segment) == 6:
            self.interval = int.from_bytes(segment[4:])
        elif marker in START_OF_FRAME:
            self._read_frame(segment, at)
        else:
            raise Irregular(f"illegal marker {marker:02X} at byte {at}")
        return end

    def _read_frame(self, segment: bytes, at: int) -> None:
        if self.frame is not None:
            raise Irregular(f"a second frame header at byte {at}")
        if why := why_not_dali(segment):
            raise Irregular(f"{why} at byte {at}")
        parts = [segment[i : i + 3] for i in range(FRAME_BYTES, len(segment), 3)]
        components = {identifier: (factors >> 4, factors & 15, table) for identifier, factors, table in parts}
        if len(components) != len(parts):
            raise Irregular(f"two components of one name at byte {at}")
        self.frame = Frame(
            segment[1] == PROGRESSIVE, int.from_bytes(segment[5:7]), int.from_bytes(segment[7:9]), components
        )
        self.seen = {identifier: [UNSEEN] * COEFFICIENTS for identifier in components}

    def _read_huffman(self, segment: bytes, at: int) -> None:
        start = 4
        while start < len(segment):
            table, length = segment[start], sum(segment[start + 1 : start + 17])
            start += 17 + length
            if table & BEYOND_TABLES or length > 256 or start > len(segment):
                raise Irregular(f"damaged Huffman tables at byte {at}")
            self.huffman.add(table)

    def _read_quantization(self, segment: bytes, at: int) -> None:
        start = 4
        while start < len(segment):
            table = segment[start]
            start += 129 if table >> 4 else 65
            if table & BEYOND_TABLES or start > len(segment):
                raise Irregular(f"damaged quantization tables at byte {at}")
            self.quantization.add(table & 15)

    def _read_scan(self, segment: bytes, at: int, start: int) -> int:
        """A scan's header and its data; where they end."""
        count = segment[4] if len(segment) > 4 else 0
        if self.frame is None or len(segment) != 8 + 2 * count or not count:
            raise Irregular(f"damaged scan header at byte {at}")
        progressive = self.frame.progressive
        first, last, shifts = segment[-3:]
        for identifier, tables in zip(segment[5:-3:2], segment[6:-3:2], strict=True):
            self._note_coefficients(at, identifier, first, last, shifts >> 4, shifts & 15)
            dc, ac = tables >> 4, 0x10 | tables & 15
            needed = {dc, ac} if not progressive else {ac} if first else set() if shifts >> 4 else {dc}
            if not needed <= self.huffman:
                raise Irregular(f"a Huffman table of the scan at byte {at} is missing")
        if not {table for *_, table in self.frame.components.values()} <= self.quantization:
            raise Irregular(f"a quantization table of the scan at byte {at} is missing")
        if progressive and (last if not first else count > 1):
            raise Irregular(f"damaged scan header at byte {at}")
        end = self._find_end(start, segment[5:-3:2], floor=not first and not shifts >> 4)
        if self._is_complete() and self.view[end + 1] != END_OF_IMAGE:
            raise Irregular(f"marker {self.view[end + 1]:02X} instead of the end at byte {end}")
        return end

    def _note_coefficients(self, at: int, identifier: int, first: int, last: int, high: int, low: int) -> None:
        """Which bits a scan brings: of each coefficient the high ones first, then bit by bit, none twice."""
        assert self.frame is not None  # noqa: S101  the caller has checked it
        seen = self.seen.get(identifier)
        if seen is None or not first <= last < COEFFICIENTS:
            raise Irregular(f"damaged scan header at byte {at}")
        if not self.frame.progressive and (first, last, high, low) != (0, COEFFICIENTS - 1, 0, 0):
            raise Irregular(f"damaged scan header at byte {at}")
        length = last + 1 - first
        follows = seen[first : last + 1] == [high or UNSEEN] * length and (low == high - 1 if high else low < 14)
        if not follows or (first and seen[0] == UNSEEN):
            raise Irregular(f"the scan at byte {at} doesn't follow from those before it")
        seen[first : last + 1] = [low] * length

    def _find_end(self, start: int, identifiers: bytes, *, floor: bool) -> int:
        """The marker after a scan's data, whose restart markers are checked; each block takes a bit if `floor`."""
        units, blocks = self._count_blocks(identifiers)
        restarts = (units - 1) // self.interval if self.interval else 0
        end = self._skip_restarts(start, restarts) if restarts else self._next_mark(start)
        if self.view[end + 1] & 0xF8 == RESTART:
            raise Irregular(f"a restart marker at byte {end} that doesn't belong there")
        if floor and 8 * (end - start) < blocks:
            raise Irregular(f"the scan at byte {start} is too short")
        return end

    def _next_mark(self, start: int) -> int:
        marked = self.marked[start:]
        first = int(marked.argmax()) if len(marked) else 0
        if not len(marked) or not marked[first]:
            raise Irregular(f"truncated at byte {len(self.view)}: no end marker")
        return start + first

    def _skip_restarts(self, start: int, count: int) -> int:
        """The first marker after so many restart markers in sequence."""
        if self.marks is None:
            self.marks = np.flatnonzero(self.marked)
        first = int(np.searchsorted(self.marks, start))
        marks = self.marks[first : first + count + 1]
        if len(marks) <= count:
            raise Irregular(f"restart markers are missing in the scan at byte {start}")
        expected = RESTART + (np.arange(count) & 7)
        if not np.array_equal(self.data[marks[:-1] + 1], expected):
            raise Irregular(f"the restart markers of the scan at byte {start} aren't in sequence")
        return int(marks[-1])

    def _count_blocks(self, identifiers: bytes) -> tuple[int, int]:
        """How many units a scan has between which restart markers may stand, and how many blocks of 8 x 8."""
        assert self.frame is not None  # noqa: S101  the caller has checked it
        _, height, width, components = self.frame
        most_h = max(h for h, _, _ in components.values())
        most_v = max(v for _, v, _ in components.values())
        if len(identifiers) == 1:
            h, v, _ = components[identifiers[0]]
            units = _up(_up(width * h, most_h), 8) * _up(_up(height * v, most_v), 8)
            return units, units
        units = _up(width, 8 * most_h) * _up(height, 8 * most_v)
        return units, units * sum(h * v for h, v, _ in map(components.__getitem__, identifiers))

    def _is_complete(self) -> bool:
        return all(seen == WHOLE for seen in self.seen.values())


def _up(value: int, divisor: int) -> int:
    return -(-value // divisor)
