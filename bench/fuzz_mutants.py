"""Whole small images of each format, and damaged ones drawn from them: what `bench.fuzz --decode` delivers.

A further format is a line of `draw_images`, a further damage one of `DAMAGES`.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np
from PIL import Image

from bench.fuzz_files import (
    BYTE_DAMAGES,
    EDGES,
    JPEG_START,
    MAGICS,
    PNG_START,
    SEGMENT_DAMAGES,
    Mutation,
    mutate,
    repair_png,
    split_segments,
)

SIDES = (24, 120)  # pixels
VARIANTS = 3  # pictures per kind of file
RIFF_HEADER = 12
HEADER, NEAR_END = 64, 256  # bytes
HOW_MANY = (1, 1, 2, 3)  # damages to a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A good file: its format as tables count it, and its bytes."""

    format: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A damaged file: the format that it came from, what was done to it, and its bytes."""

    format: str
    damages: tuple[str, ...]
    content: bytes


def draw_images() -> tuple[Start, ...]:
    """A few good files of each kind, as far as this Pillow writes it; always the same."""
    found, rng = [], np.random.default_rng(0)
    for _ in range(VARIANTS):
        for name, image, form, options in _wanted(_draw_picture(rng), _draw_picture(rng)):
            buffer = io.BytesIO()
            with suppress(OSError, KeyError, ValueError):  # a Pillow without this codec
                image.save(buffer, form, **options)
                found.append(Start(format=name, content=buffer.getvalue()))
    return tuple(found)


def _draw_picture(rng: np.random.Generator) -> Image.Image:
    """Smooth colours with some noise."""
    height, width = rng.integers(SIDES[0], SIDES[1], 2, endpoint=True).tolist()
    colours = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(colours.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8))


def _wanted(rgb: Image.Image, other: Image.Image) -> list[tuple[str, Image.Image, str, dict]]:
    """(name of the format, picture, Pillow's format, options)."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    second = other.resize(rgb.size)
    frames = {"save_all": True, "append_images": [second, rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    paletted = {"save_all": True, "append_images": [second.quantize(16)], "loop": 0}
    see_through = rgb.copy()
    see_through.putalpha(second.convert("L"))
    tiffs = {"raw": "raw", "LZW": "tiff_lzw", "JPEG": "jpeg", "packbits": "packbits", "deflate": "tiff_adobe_deflate"}
    return [
        *(("JPEG", rgb, "JPEG", options) for options in ({}, {"subsampling": 0, "exif": exif}, {"optimize": True})),
        *(("JPEG progressive", rgb, "JPEG", {"progressive": True, "subsampling": how}) for how in (0, 2)),
        ("JPEG restart", rgb, "JPEG", {"restart_marker_blocks": 3}),
        ("JPEG restart", rgb, "JPEG", {"restart_marker_rows": 1, "progressive": True}),
        ("JPEG CMYK", rgb.convert("CMYK"), "JPEG", {}),
        *(("JPEG gray", rgb.convert("L"), "JPEG", {"progressive": how}) for how in (False, True)),
        ("MPO", rgb, "MPO", frames),
        *(("PNG", image, "PNG", {}) for image in (rgb, see_through)),
        *(("PNG other", rgb.convert(mode), "PNG", {}) for mode in ("L", "LA", "P", "1", "I;16")),
        ("PNG other", rgb.quantize(16), "PNG", {"transparency": 3, "bits": 4}),
        *(("APNG", image, "PNG", frames) for image in (rgb, see_through)),
        *(("GIF", rgb.quantize(colours), "GIF", {"comment": b"drawn"}) for colours in (4, 200)),
        ("GIF animated", rgb.quantize(32), "GIF", paletted),
        *(("WebP lossy", image, "WEBP", {"quality": 70}) for image in (rgb, see_through)),
        *(("WebP lossless", image, "WEBP", {"lossless": True}) for image in (rgb, see_through)),
        ("WebP lossy", rgb, "WEBP", {"exif": exif}),
        ("WebP animated", rgb, "WEBP", frames),
        *(("BMP", rgb.convert(mode), "BMP", {}) for mode in ("RGB", "RGBA", "L", "P", "1")),
        *((f"TIFF {name}", rgb, "TIFF", {"compression": how}) for name, how in tiffs.items()),
        ("TIFF group 4", rgb.convert("1"), "TIFF", {"compression": "group4"}),
        ("TIFF raw", rgb.convert("I;16"), "TIFF", {"big_tiff": True}),
        *((name, rgb.convert(mode), "PPM", {}) for name, mode in (("PPM", "RGB"), ("PGM", "L"), ("PBM", "1"))),
        *(("JPEG 2000", rgb, "JPEG2000", options) for options in ({}, {"tile_size": (32, 32)}, {"no_jp2": True})),
        *(("AVIF", image, "AVIF", {"speed": 10}) for image in (rgb, see_through)),
        ("ICO", rgb, "ICO", {"sizes": [(32, 32), (16, 16)]}),
        ("ICO", rgb, "ICO", {"sizes": [(48, 48)], "bitmap_format": "bmp"}),
    ]


def draw_mutant(starts: Sequence[Start], rng: Random) -> Mutant:
    """One file of a format drawn first, so that all formats come equally often, with `HOW_MANY` damages."""
    name = rng.choice(sorted({start.format for start in starts}))
    original = rng.choice([start for start in starts if start.format == name]).content
    content, damages = original, []
    for _ in range(rng.choice(HOW_MANY)):
        damage = rng.choice(list(DAMAGES))
        content = DAMAGES[damage](content, rng, rng.choice(starts).content)
        damages.append(damage)
    if content.startswith(PNG_START[:4]) and rng.random() < 0.7:
        content = repair_png(content)
        damages.append("repaired sums")
    return Mutant(format=name, damages=tuple(damages), content=content)


def _place(content: bytes, rng: Random) -> int:
    """Headers and ends of files are damaged more often than their middles."""
    length = len(content)
    low, high = rng.choice([(0, HEADER), (0, 1024), (0, length), (0, length), (length - NEAR_END, length)])
    return rng.randint(max(0, min(low, length)), max(0, min(high, length)))


def _damage_bytes(content: bytes, rng: Random, other: bytes, *, kind: str) -> bytes:
    few = rng.randbytes(rng.randint(1, 8))
    payload = rng.choice([few, rng.choice(EDGES), rng.choice(MAGICS), bytes([0xFF, rng.randrange(256)])])
    if kind == "splice":
        payload = other
    count = rng.choice([rng.randint(1, 4), rng.randint(1, 64), rng.randint(1, 1 << 14)])
    return mutate(content, Mutation(kind=kind, at=_place(content, rng), count=count, payload=payload))


def _flip_bits(content: bytes, rng: Random, _other: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(2 ** rng.randint(0, 4) if content else 0):
        changed[min(_place(content, rng), len(content) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _damage_chunks(content: bytes, rng: Random, _other: bytes, *, kind: str) -> bytes:
    first, *between, rest = split_chunks(content)
    if between:
        one, other = rng.randrange(len(between)), rng.randrange(len(between))
        count = rng.choice([rng.randint(0, 16), rng.randint(0, 65535)])
        SEGMENT_DAMAGES[kind](between, one, other, count)
    return b"".join([first, *between, rest])


def _change_length(content: bytes, rng: Random, _other: bytes) -> bytes:
    """The four bytes of a PNG's or RIFF's length, or of an ISO box's."""
    first, *between, rest = split_chunks(content)
    if between:
        one = rng.randrange(len(between))
        at = 4 if first.startswith(b"RIFF") else 0
        length = rng.choice([edge for edge in EDGES if len(edge) == 4])
        between[one] = between[one][:at] + length + between[one][at + 4 :]
    return b"".join([first, *between, rest])


def split_chunks(content: bytes) -> list[bytes]:
    r"""What comes before the chunks of a file, its chunks, and the rest: of JPEG, PNG, RIFF and ISO files.

    All others are cut into sixteen pieces.

    >>> [len(piece) for piece in split_chunks(PNG_START + bytes(12) + bytes(3) + b"\1" + bytes(5))]
    [8, 12, 9]
    """
    if content.startswith(JPEG_START):
        return split_segments(content)
    if content.startswith(PNG_START):
        return _split(content, len(PNG_START), lambda at: 12 + int.from_bytes(content[at : at + 4]))
    if content.startswith(b"RIFF"):
        return _split(
            content, RIFF_HEADER, lambda at: 8 + (int.from_bytes(content[at + 4 : at + 8], "little") + 1) // 2 * 2
        )
    if content[4:8] in (b"ftyp", b"jP  "):
        return _split(content, 0, lambda at: max(8, int.from_bytes(content[at : at + 4])))
    return _split(content, 0, lambda _: max(1, len(content) // 16))


def _split(content: bytes, at: int, length_at: Callable[[int], int]) -> list[bytes]:
    pieces = [content[:at]]
    while at < len(content) and at + length_at(at) <= len(content):
        pieces.append(content[at : at + length_at(at)])
        at += len(pieces[-1])
    return [*pieces, content[at:]]


# What becomes of a file's bytes; another file is at hand.
DAMAGES: dict[str, Callable[[bytes, Random, bytes], bytes]] = {
    **{kind: partial(_damage_bytes, kind=kind) for kind in BYTE_DAMAGES},
    **{kind: partial(_damage_chunks, kind=kind) for kind in SEGMENT_DAMAGES},
    "flip bits": _flip_bits,
    "length of chunk": _change_length,
    "append file": lambda content, _rng, other: content + other,
    "prepend file": lambda content, rng, other: other[: rng.randint(0, len(other))] + content,
}
