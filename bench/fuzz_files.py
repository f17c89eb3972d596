"""What `bench.fuzz` starts from and what it does to it: files of each format, and damages to them.

A further format is a line of `draw_files`, a further damage one of `BYTE_DAMAGES` or `SEGMENT_DAMAGES`.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

from bench.feed import find_files

LARGEST_INSERT = 1 << 16  # bytes that one mutation adds at most
PHOTO_BYTES = 16 << 10  # of a given photo; its header lies in there
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# fmt: off
MAGICS = (
    JPEG_START, PNG_START, b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*", b"II+\0",
    b"P6\n", b"Pf\n", b"8BPS", b"\0\0\1\0", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"DDS ", b"icns",
    b"qoif", b"%!PS-Adobe", b"\xd0\xcf\x11\xe0", b"GRIB", b"SIMPLE  =", b"\x0a\x05\x01\x08", b"\x01\xda", b"FTEX",
    b"BLP2", b"\x89HDF\r\n\x1a\n", b"\0\0\0\x1cftypavif",
)
# fmt: on
# Numbers that parsers stumble over, as 2 and 4 bytes in both orders.
EDGES = tuple(
    struct.pack(order + size, number)
    for size, numbers in (("H", (0, 1, 2, 0x7FFF, 0xFFFF)), ("I", (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)))
    for number in numbers
    for order in "<>"
)


def draw_files() -> tuple[bytes, ...]:
    """A small valid file of each kind, as far as this Pillow writes it."""
    pixels = random.Random(0).randbytes(40 * 24 * 3)
    rgb = Image.frombytes("RGB", (40, 24), pixels)
    mirrored, grey = rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT), rgb.convert("L")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    profile = {"exif": exif, "icc_profile": pixels[:300]}
    dense = {"progressive": True, "exif": exif, "icc_profile": pixels, "restart_marker_blocks": 1, "dpi": (72, 72)}
    animated = {"save_all": True, "append_images": [mirrored]}
    small_frames = {"save_all": True, "append_images": [mirrored.quantize(16)], "loop": 0}
    wanted = [
        *((rgb.convert(mode), "JPEG", {}) for mode in ("RGB", "L", "CMYK")),
        *((rgb, "JPEG", {name: value}) for name, value in (("progressive", True), ("exif", exif), ("comment", pixels))),
        *((rgb, "JPEG", options) for options in ({"icc_profile": pixels * 40}, dense)),
        (rgb, "MPO", animated),
        *((rgb.convert(mode), "PNG", profile) for mode in ("RGB", "RGBA", "L", "P", "1", "I;16")),
        (rgb, "PNG", animated),
        *((rgb.quantize(colors), "GIF", {"comment": b"drawn"}) for colors in (4, 200)),
        (rgb.quantize(16), "GIF", small_frames),
        *((rgb.convert(mode), "WEBP", {"lossless": how}) for mode in ("RGB", "RGBA") for how in (False, True)),
        (rgb, "WEBP", profile | animated),
        *((rgb.convert(mode), "BMP", {}) for mode in ("RGB", "RGBA", "L", "P", "1")),
        *((rgb, "TIFF", {"compression": how}) for how in ("raw", "tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")),
        (grey, "TIFF", {"big_tiff": True, "save_all": True, "append_images": [grey]}),
        *((rgb.convert(mode), "PPM", {}) for mode in ("RGB", "L", "1")),
        *((rgb, kind, {}) for kind in ("JPEG2000", "ICO", "TGA", "PCX", "DDS", "AVIF", "SGI", "QOI", "ICNS", "EPS")),
    ]
    files = []
    for image, kind, options in wanted:
        buffer = io.BytesIO()
        with suppress(OSError, KeyError, ValueError):  # a Pillow without this codec
            image.save(buffer, kind, **options)
            files.append(buffer.getvalue())
    return tuple(files)


def read_photos(folder: str) -> tuple[bytes, ...]:
    """The first `PHOTO_BYTES` of each image in a folder."""
    paths, _ = find_files(folder)
    return tuple(Path(path).read_bytes()[:PHOTO_BYTES] for path in paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One damage to a file.

    Attributes:
        kind: one of `KINDS`.
        at: where, modulo the length; for the segment kinds the number of the segment.
        count: how many bytes, how often, or which other segment.
        payload: what is written or inserted.
    """

    kind: str
    at: int
    count: int
    payload: bytes


def _insert(before: bytes, after: bytes, count: int, payload: bytes) -> bytes:
    return before + payload * min(count, LARGEST_INSERT // max(1, len(payload))) + after


# What becomes of the bytes before and after a place.
BYTE_DAMAGES: dict[str, Callable[[bytes, bytes, int, bytes], bytes]] = {
    "set": lambda before, after, _, payload: before + payload + after[len(payload) :],
    "insert": _insert,
    "delete": lambda before, after, count, _: before + after[count:],
    "duplicate": lambda before, after, count, _: before + after[:count] * 2 + after[count:],
    "zero": lambda before, after, count, _: before + bytes(len(after[:count])) + after[count:],
    "cut": lambda before, _after, _count, _payload: before,
    "splice": lambda before, _, count, payload: before + payload[count % (len(payload) + 1) :],
}


def _swap(segments: list[bytes], one: int, other: int, _count: int) -> None:
    segments[one], segments[other] = segments[other], segments[one]


def _copy(segments: list[bytes], one: int, other: int, _count: int) -> None:
    segments.insert(other, segments[one])


def _drop(segments: list[bytes], one: int, _other: int, _count: int) -> None:
    del segments[one]


def _resize(segments: list[bytes], one: int, _other: int, count: int) -> None:
    segments[one] = segments[one][:2] + struct.pack(">H", count % 65536) + segments[one][4:]


# To the order, number and lengths of a JPEG's segments; its first two bytes and its image data stay where they are.
SEGMENT_DAMAGES: dict[str, Callable[[list[bytes], int, int, int], None]] = {
    "swap segments": _swap,
    "copy segment": _copy,
    "drop segment": _drop,
    "length of segment": _resize,
}
KINDS = (*BYTE_DAMAGES, *SEGMENT_DAMAGES)


def mutate(content: bytes, mutation: Mutation) -> bytes:
    """The file with one damage more.

    >>> mutate(b"abcdef", Mutation(kind="insert", at=2, count=2, payload=b"xy"))
    b'abxyxycdef'
    >>> mutate(b"abcdef", Mutation(kind="cut", at=8, count=0, payload=b""))
    b'a'
    """
    if damage := BYTE_DAMAGES.get(mutation.kind):
        at = mutation.at % (len(content) + 1)
        return damage(content[:at], content[at:], mutation.count, mutation.payload)
    first, *between, rest = split_segments(content) if content.startswith(JPEG_START) else (b"", content)
    if between:
        one, other = mutation.at % len(between), mutation.count % len(between)
        SEGMENT_DAMAGES[mutation.kind](between, one, other, mutation.count)
    return b"".join([first, *between, rest])


def split_segments(content: bytes) -> list[bytes]:
    """A JPEG's first marker, its segments, and the rest from the image data on.

    >>> [piece.hex() for piece in split_segments(bytes.fromhex("ffd8 ffe0000312 ffda0002 55"))]
    ['ffd8', 'ffe0000312', 'ffda000255']
    """
    pieces, at = [content[:2]], 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] not in (b"", b"\xda", b"\xff"):
        end = at + 2 + max(2, int.from_bytes(content[at + 2 : at + 4]))
        pieces.append(content[at:end])
        at = end
    return [*pieces, content[at:]]


def repair_png(content: bytes) -> bytes:
    """The same file with fitting check sums, so that damage passes a parser's first look."""
    at, repaired = 8, bytearray(content)
    while at + 12 <= len(repaired):
        end = at + 8 + int.from_bytes(repaired[at : at + 4])
        if end + 4 > len(repaired):
            break
        repaired[end : end + 4] = zlib.crc32(repaired[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(repaired)


def mutations(seeds: Sequence[bytes]) -> st.SearchStrategy[Mutation]:
    """One damage; most of them lie in the first bytes, where headers are."""
    near, middle, far = st.integers(0, 64), st.integers(0, 1024), st.integers(0, PHOTO_BYTES)
    place, nothing = st.one_of(near, middle, far), st.just(b"")
    small = st.one_of(st.binary(max_size=8), st.sampled_from(EDGES), st.sampled_from(MAGICS))
    marker = st.integers(0, 255).map(lambda code: bytes([0xFF, code]))
    payload = st.one_of(small, marker, st.builds(bytes.__add__, marker, small))
    few = st.integers(0, 15)

    def some(kinds: Sequence[str], at: st.SearchStrategy, count: st.SearchStrategy, payload: st.SearchStrategy):  # noqa: ANN202
        return st.builds(Mutation, kind=st.sampled_from(kinds), at=at, count=count, payload=payload)

    return st.one_of(
        some(["set"], place, st.just(0), payload),
        some(["insert"], place, st.one_of(st.integers(1, 4), far), payload),
        some(["delete", "duplicate", "zero", "cut"], place, st.one_of(near, far), nothing),
        some(["splice"], place, st.one_of(near, far), one_of_seeds(seeds)),
        some(list(SEGMENT_DAMAGES), few, st.one_of(few, st.integers(0, 65535)), nothing),
    )


def one_of_seeds(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the files, drawn by its number: hypothesis writes down whatever `sampled_from` is given."""
    return st.integers(0, len(seeds) - 1).map(lambda number: seeds[number])


def damaged_files(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Contents of files: one of `seeds` with up to five damages, or bytes that never were an image."""

    def damage(content: bytes, damages: list[Mutation], repair: bool) -> bytes:
        for mutation in damages:
            content = mutate(content, mutation)
        return repair_png(content) if repair and content.startswith(PNG_START[:4]) else content

    damaged = st.builds(damage, one_of_seeds(seeds), st.lists(mutations(seeds), max_size=5), st.booleans())
    begun = st.builds(bytes.__add__, st.sampled_from(MAGICS), st.binary(max_size=256))
    # failures are reduced to the first of these that also fails
    return st.one_of(st.binary(max_size=256), begun, damaged, damaged, damaged, damaged)
