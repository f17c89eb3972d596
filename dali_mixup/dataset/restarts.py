"""Cuts of JPEGs with restart markers: a window's bytes are a JPEG of their own, equal to the last bit.

At a restart marker a decoder begins anew, so what lies between two of them, a segment, decodes by itself. Where each
row of blocks begins with one, the segments that cover a window, behind a header with their height and width, are a
file that decodes to these pixels alone.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dali_mixup.dataset.ask_each import Share, alone, share_what_waits
from dali_mixup.dataset.dataset import Encoded
from dali_mixup.dataset.jpeg import BASELINE, END_OF_IMAGE, EXTENDED, START_OF_FRAME, START_OF_SCAN
from dali_mixup.dataset.verdict import why_unreadable
from dali_mixup.geometry.geometry import Windows

RESTART = 0xD0  # to D7, in turn
RESTART_INTERVAL = 0xDD
BLOCK = 8
CONTEXT = 1  # pixels around a window that its smoothed chroma depends on
LONGEST_HEADER = 2**16 - 1
BEST_WIDTH = 1.4  # of a segment, in square roots of the image's width, both in pixels


class Segments(NamedTuple):
    """Where the segments of a JPEG lie.

    Attributes:
        header: bytes before the first one.
        frame: the position of the frame header's marker.
        height: of a segment, in pixels.
        width: of a segment, in pixels; the last of a row may reach over the image's edge.
        rows: (R,) uint32, where each row of segments begins.
        marks: (R * (columns + 1),) uint16, or uint32 where one needs it, row by row where in the row each segment
            begins, and where the last one ends.
    """

    header: int
    frame: int
    height: int
    width: int
    rows: np.ndarray
    marks: np.ndarray


class _Header(NamedTuple):
    """A JPEG up to its first scan: positions of the frame header and of the scan's data, sizes, and what is coded."""

    frame: int
    end: int
    height: int
    width: int
    unit: tuple[int, int]  # height and width in pixels of what is coded together
    interval: int
    interleaved: bool  # the first scan holds all components


def find_segments(data: bytes) -> Segments | None:
    """The segments of a regular JPEG; None for one that can't be cut.

    That is any but a baseline one in one scan in which each row of blocks begins with a segment.
    """
    header = _read_header(data)
    if header is None or data[header.frame + 1] not in (BASELINE, EXTENDED):
        return None
    if not header.interval or not header.interleaved:
        return None
    tall, wide = header.unit
    across, down = -(-header.width // wide), -(-header.height // tall)
    scan = np.frombuffer(data, np.uint8)[header.end :]
    ends = header.end + 2 + np.flatnonzero((scan[:-1] == 0xFF) & (scan[1:] >= RESTART) & (scan[1:] < RESTART + 8))
    if across % header.interval or len(ends) + 1 != down * (across // header.interval):
        return None
    if data[-2:] != bytes([0xFF, END_OF_IMAGE]):
        return None
    starts = np.concatenate([[header.end], ends]).reshape(down, -1)
    rows = starts[:, :1]
    marks = np.concatenate([starts, [*rows[1:], [len(data)]]], 1) - rows
    marks = marks.astype(np.uint16 if marks.max() < 2**16 else np.uint32)
    return Segments(header.end, header.frame, tall, wide * header.interval, rows[:, 0].astype(np.uint32), marks.ravel())


def interval_of(data: bytes) -> int:
    """After how many units a JPEG is to have restart markers, so that it can be cut; 0 if it never can."""
    header = _read_header(data)
    return 0 if header is None else best_interval(header.width, header.unit[1])


def best_interval(width: int, unit: int) -> int:
    """After how many of the units in a row restart markers are best: a divisor of their number.

    That whose width in pixels is nearest by ratio to `BEST_WIDTH`. Each segment of a window costs bytes and time, and
    half a segment at each of its sides is decoded in vain: what both cost together is least at a width that grows as
    the square root of the window's.

    Args:
        width: of the image, in pixels.
        unit: width of what is coded together, in pixels.

    >>> [best_interval(width, unit=16) for width in (16, 224, 500, 750, 4032)]
    [1, 1, 2, 1, 6]
    """
    across, best = -(-width // unit), BEST_WIDTH * math.sqrt(width)
    fitting = (n for n in range(1, across + 1) if across % n == 0)
    return min(fitting, key=lambda n: abs(math.log(n * unit / best)))


def _read_header(data: bytes) -> _Header | None:
    """None for what is damaged."""
    at, frame, interval = 2, 0, 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != START_OF_SCAN:
        if data[at + 1] in START_OF_FRAME:
            frame = at
        elif data[at + 1] == RESTART_INTERVAL:
            interval = int.from_bytes(data[at + 4 : at + 6])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    if not frame or data[at : at + 2] != bytes([0xFF, START_OF_SCAN]):
        return None
    height, width = int.from_bytes(data[frame + 5 : frame + 7]), int.from_bytes(data[frame + 7 : frame + 9])
    components = data[frame + 9]
    factors = data[frame + 11 : frame + 11 + 3 * components : 3] if components > 1 else b"\x11"
    unit = BLOCK * max(each & 15 for each in factors), BLOCK * max(each >> 4 for each in factors)
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
    if end > LONGEST_HEADER or not all(unit):
        return None
    return _Header(frame, end, height, width, unit, interval, data[at + 4] == components)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentTable:
    """The segments of N images, of which some can't be cut.

    Args:
        heights: (N,) int32, of the images.
        widths: (N,) int32.
        header: (N,) uint16, see `Segments`; 0 where an image can't be cut.
        frame: (N,) uint16.
        unit_height: (N,) uint16, of a segment.
        unit_width: (N,) uint16.
        first_row: (N,) int64, the place in `rows` of an image's first one.
        first_mark: (N,) int64, the place in `marks` of an image's first one.
        rows: uint32, those of all images one after another.
        marks: uint16 or uint32, likewise.
    """

    heights: np.ndarray
    widths: np.ndarray
    header: np.ndarray
    frame: np.ndarray
    unit_height: np.ndarray
    unit_width: np.ndarray
    first_row: np.ndarray
    first_mark: np.ndarray
    rows: np.ndarray
    marks: np.ndarray

    def cut(self, numbers: np.ndarray, windows: Windows) -> "Cuts":
        """What to read of some images that can be cut, in a few operations for all of them.

        Args:
            numbers: (B,) int64.
            windows: of each.
        """
        tall, wide = self.unit_height[numbers].astype(np.int64), self.unit_width[numbers].astype(np.int64)
        units = np.stack([tall, wide], 1)
        images = np.stack([self.heights[numbers], self.widths[numbers]], 1).astype(np.int64)
        begin = np.maximum(windows.anchor - CONTEXT, 0) // units  # in segments: row and column
        end = -(-np.minimum(windows.anchor + windows.shape + CONTEXT, images) // units)
        columns = -(-images[:, 1] // wide)

        # a piece of the file for each row of segments
        image, row = _expand((end - begin)[:, 0])
        row += begin[image, 0]
        count = (end - begin)[image, 1]
        first = self.first_mark[numbers][image] + row * (columns[image] + 1) + begin[image, 1]
        start = self.marks[first].astype(np.int64)
        source = self.rows[self.first_row[numbers][image] + row] + start
        length = self.marks[first + count] - start
        header = self.header[numbers].astype(np.int64)
        sizes = header + np.bincount(image, length, len(numbers)).astype(np.int64)
        at = np.cumsum(sizes) - sizes
        target = np.cumsum(length) - length + np.cumsum(header)[image]

        # a marker at the end of each segment: restarts in turn, and the end of the image
        places, segments = np.arange(count.sum()), np.bincount(image, count, len(numbers)).astype(np.int64)
        mark = np.repeat(first + 1 - (np.cumsum(count) - count), count) + places
        markers = np.repeat(target - start - 1, count) + self.marks[mark]
        turn = places - np.repeat(np.cumsum(segments) - segments, segments)
        values = (RESTART + (turn & 7)).astype(np.uint8)
        values[np.cumsum(segments) - 1] = END_OF_IMAGE

        size = np.minimum(end * units, images) - begin * units
        frame = (at + self.frame[numbers])[:, None] + np.arange(5, 9)
        order = np.argsort(np.concatenate([at, target]))
        return Cuts(
            corner=begin * units,
            at=at,
            sizes=sizes,
            source=np.concatenate([np.zeros_like(at), source])[order],
            length=np.concatenate([header, length])[order],
            image=np.concatenate([np.arange(len(numbers)), image])[order],
            patched=np.concatenate([markers, frame.ravel()]),
            patches=np.concatenate([values, size.astype(">u2").view(np.uint8).ravel()]),
            segment_of=np.repeat(np.arange(len(numbers)), segments),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cuts:
    """What to read of B images, and how that becomes B smaller ones, one after another in memory.

    Attributes:
        corner: (B, 2) int64, top and left of each cut in its image.
        at: (B,) int64, where each cut begins in memory.
        sizes: (B,) int64, bytes.
        source: (P,) int64, where each piece begins in the bytes of its image; they follow each other in memory.
        length: (P,) int64.
        image: (P,) int64, which of the B it belongs to.
        patched: positions in memory with other values than in the images: markers and sizes.
        patches: uint8, these values.
        segment_of: (S,) int64, which of the B each segment belongs to; the first S of `patched` are their ends.
    """

    corner: np.ndarray
    at: np.ndarray
    sizes: np.ndarray
    source: np.ndarray
    length: np.ndarray
    image: np.ndarray
    patched: np.ndarray
    patches: np.ndarray
    segment_of: np.ndarray

    def read(self, files: Sequence[tuple[int, int]], share: Share = alone) -> list[Encoded | str]:
        """Read the pieces and put them together.

        Args:
            files: for each of the B images an open file and the position of its first byte there.
            share: has threads read where that waits.

        Returns:
            For each image its cut, or the reason why it can't be read.
        """
        descriptors, starts = np.array(files, np.int64).T
        fds, lengths = descriptors[self.image].tolist(), self.length.tolist()
        places = (starts[self.image] + self.source).tolist()
        reasons: dict[int, str] = {}

        def read_run(run: Sequence[int]) -> list[bytes]:
            part = slice(run[0], run[-1] + 1)
            try:
                return list(map(os.pread, fds[part], lengths[part], places[part]))
            except OSError:
                return [self._read_one(piece, fds[piece], lengths[piece], places[piece], reasons) for piece in run]

        pieces = share_what_waits(read_run, len(lengths), share)
        memory = bytearray().join(pieces)
        if len(memory) != self.sizes.sum():
            for piece, length in enumerate(lengths):
                if len(pieces[piece]) != length:
                    reasons.setdefault(int(self.image[piece]), "truncated")
                    pieces[piece] = bytes(length)
            memory = bytearray().join(pieces)
        return self._mark(memory, reasons)

    def take(self, images: Sequence[bytes]) -> list[Encoded | str]:
        """Like `read`, of the bytes of the B images, which may end where `ends` says."""
        views = [memoryview(image) for image in images]
        places = zip(self.image.tolist(), self.source.tolist(), (self.source + self.length).tolist(), strict=True)
        return self._mark(bytearray().join([views[image][start:end] for image, start, end in places]), {})

    def ends(self) -> np.ndarray:
        """(B,) int64, how many bytes of each image are needed, from its first one on."""
        ends = np.zeros(len(self.sizes), np.int64)
        np.maximum.at(ends, self.image, self.source + self.length)
        return ends

    def _read_one(self, piece: int, fd: int, length: int, place: int, reasons: dict[int, str]) -> bytes:
        """A piece, or nothing and the reason why its image can't be read."""
        try:
            return os.pread(fd, length, place)
        except OSError as error:
            reasons[int(self.image[piece])] = why_unreadable(error)
            return b""

    def _mark(self, memory: bytearray, reasons: dict[int, str]) -> list[Encoded | str]:
        """Enter markers and sizes in the pieces; images with reasons are none."""
        view = memoryview(memory)
        whole = np.frombuffer(memory, np.uint8)
        marks = self.patched[: len(self.segment_of)]
        stray = (whole[marks - 1] != 0xFF) | (whole[marks] & 0xF0 != RESTART & 0xF0)
        reasons = {int(image): "damaged: a restart marker is missing" for image in self.segment_of[stray]} | reasons
        whole[self.patched] = self.patches
        places = zip(self.at.tolist(), self.sizes.tolist(), self.corner.tolist(), strict=True)
        return [
            reasons.get(image) or Encoded(view[at : at + size], top, left, whole=False)
            for image, (at, size, (top, left)) in enumerate(places)
        ]


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of counts[0] + counts[1] + ... things to which count it belongs, and its place in there.

    >>> _expand(np.array([2, 3]))
    (array([0, 0, 1, 1, 1]), array([0, 1, 0, 1, 2]))
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
