"""PNGs of every colour type, depth and interlace, with any chunks."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)] + [
    (color, depth) for color in (4, 6) for depth in (8, 16)
]
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
PLAIN_CHUNKS = {
    "gAMA": struct.pack(">I", 30_000),
    "sRGB": b"\0",
    "cHRM": struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000),
    "pHYs": struct.pack(">IIB", 1, 2, 1),
    "tIME": struct.pack(">HBBBBB", 2_000, 1, 1, 1, 1, 1),
    "tEXt": b"Comment\0x",
    "eXIf": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
}
ODD_CHUNKS = {
    "iCCP": b"p\0\0" + zlib.compress(bytes(200)),
    "zTXt": b"a\0\x74" + zlib.compress(b"x"),
    "iTXt": b"a\0\1\x74\0\0x",
    "acTL": struct.pack(">II", 1, 0),
    "fcTL": struct.pack(">IIIIIHHBB", 0, 23, 19, 0, 0, 1, 1, 0, 0),
    "fdAT": struct.pack(">I", 1) + b"xx",
    "abCd": b"x",
    "cICP": bytes([9, 16, 0, 1]),
}


def chunk(name, content=b""):
    name = name.encode()
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def made_png(color, depth, *, interlaced=0, before=(), middle=(), after=(), size=(19, 23), seed=0, palette=None):
    """Chunks `before` stand behind the header, `middle` behind the palette, `after` behind the image data."""
    rng = np.random.default_rng(seed)
    height, width = size
    samples = rng.integers(0, 1 << depth, (height, width, CHANNELS[color]))
    rows = b""
    for left, top, right_step, down_step in PASSES if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down_step, left::right_step]
        rows += b"".join(b"\0" + _packed(row.reshape(-1), depth) for row in part if row.size)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    content = SIGNATURE + chunk("IHDR", header) + b"".join(chunk(*pair) for pair in before)
    if color == 3:
        content += chunk("PLTE", rng.bytes(3 * (1 << depth)) if palette is None else palette)
    content += b"".join(chunk(*pair) for pair in middle) + chunk("IDAT", zlib.compress(rows))
    return content + b"".join(chunk(*pair) for pair in after) + chunk("IEND")


def varieties():
    """Names and contents: each kind as it is, with each plain chunk, transparent, and with a background."""
    made = {}
    for color, depth in KINDS:
        levels = 1 << depth
        transparent = {
            0: struct.pack(">H", levels // 2),
            2: struct.pack(">3H", 1, 2, 3),
            3: bytes(range(min(levels, 200))),
        }
        bits = bytes([min(depth, 5)] * (3 if color == 3 else CHANNELS[color]))
        background = {0: b"\0\1", 4: b"\0\1", 2: b"\0\1" * 3, 6: b"\0\1" * 3, 3: b"\0"}[color]
        for interlaced in (0, 1):
            options = {"interlaced": interlaced}
            name = f"colour type {color}, {depth} bits, interlaced {interlaced}"
            made[name] = made_png(color, depth, **options)
            made |= {
                f"{name}, {kind}": made_png(color, depth, before=[(kind, content)], **options)
                for kind, content in (PLAIN_CHUNKS | {"sBIT": bits}).items()
            }
            made[f"{name}, bKGD"] = made_png(color, depth, middle=[("bKGD", background)], **options)
            made[f"{name}, late tEXt"] = made_png(color, depth, after=[("tEXt", b"a\0b")], **options)
            made[f"{name}, trailing bytes"] = made_png(color, depth, **options) + b"junk"
            if color in transparent:
                made[f"{name}, tRNS"] = made_png(color, depth, middle=[("tRNS", transparent[color])], **options)
            if color == 3:
                made[f"{name}, short palette"] = made_png(
                    color, depth, palette=b"\1\2\3" * max(1, levels // 3), **options
                )
    return made


def _packed(row, depth):
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else "u1").tobytes()
    bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()
