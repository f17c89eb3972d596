"""JPEGs that no encoder at hand writes: any sampling factors, any number of components, restart intervals."""

import struct

import numpy as np

START, END = b"\xff\xd8", b"\xff\xd9"
DC_BITS, AC_BITS = 4, 2  # of each code, for eight categories and three symbols
AC_SYMBOLS = (0x00, 0x01, 0x11)  # end of block; one bit after no zeros or one


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def huffman(table, bits, symbols):
    counts = [0] * 16
    counts[bits - 1] = len(symbols)
    return segment(0xC4, bytes([table, *counts, *symbols]))


def frame(height, width, factors, marker=0xC0, precision=8):
    parts = b"".join(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(factors))
    return segment(marker, struct.pack(">BHHB", precision, height, width, len(factors)) + parts)


def scan_header(components, first=0, last=63, shifts=0):
    parts = b"".join(bytes([i + 1, 0]) for i in components)
    return segment(0xDA, bytes([len(components)]) + parts + bytes([first, last, shifts]))


def made_jpeg(height, width, factors, *, interval=0, seed=0, interleaved=True):
    """A baseline JPEG of random blocks; `factors` are (h, v) of each component."""
    rng = np.random.default_rng(seed)
    tables = huffman(0x00, DC_BITS, range(8)) + huffman(0x10, AC_BITS, AC_SYMBOLS)
    head = START + segment(0xDB, b"\0" + b"\x08" * 64) + frame(height, width, factors) + tables
    if interval:
        head += segment(0xDD, struct.pack(">H", interval))
    groups = [range(len(factors))] if interleaved else [[i] for i in range(len(factors))]
    scans = (scan_header(list(group)) + _data(height, width, factors, group, interval, rng) for group in groups)
    return head + b"".join(scans) + END


def _data(height, width, factors, group, interval, rng):
    most_h, most_v = np.max(factors, axis=0).tolist()
    if len(group) == 1:
        h, v = factors[group[0]]
        units, blocks = _up(_up(width * h, most_h), 8) * _up(_up(height * v, most_v), 8), 1
    else:
        units = _up(width, 8 * most_h) * _up(height, 8 * most_v)
        blocks = sum(factors[i][0] * factors[i][1] for i in group)
    pieces = []
    for start in range(0, units, interval or units):
        bits = "".join(_block(rng) for _ in range(blocks * min(interval or units, units - start)))
        bits += "1" * (-len(bits) % 8)
        pieces.append(int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\x00"))
    restarts = [bytes([0xFF, 0xD0 + i % 8]) for i in range(len(pieces) - 1)] + [b""]
    return b"".join(piece + restart for piece, restart in zip(pieces, restarts, strict=True))


def _block(rng):
    size = int(rng.integers(0, 6))
    bits = f"{size:04b}" + "".join(rng.choice(["0", "1"], size))
    for _ in range(rng.integers(0, 5)):
        bits += f"{rng.integers(1, 3):02b}" + "01"[rng.integers(2)]
    return bits + "00"


def _up(value, divisor):
    return -(-value // divisor)
