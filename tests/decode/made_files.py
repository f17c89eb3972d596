"""Files of every kind that was once delivered wrong or ended the process, made here; all of one size."""

import io
import re
import struct

import numpy as np
from PIL import Image

from tests.conftest import jpeg_bytes, picture
from tests.made_pngs import made_png

SIZE = HEIGHT, WIDTH = 61, 47
END = b"\xff\xd9"


def encoded(form, mode="RGB", **options):
    image = picture(HEIGHT, WIDTH, 3)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def missing_scans(kept):
    """A progressive JPEG of which only the first scans are there."""
    whole = jpeg_bytes(HEIGHT, WIDTH, 3, progressive=True)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", whole)]
    return whole[: scans[kept]] + END


def bmp(bits, data, *, palette=b"", compression=0, colors=0, header_bytes=40):
    """A bitmap with the rows as they are."""
    offset = 14 + header_bytes + len(palette)
    info = struct.pack("<IiiHHIIiiII", header_bytes, WIDTH, HEIGHT, 1, bits, compression, len(data), 1, 1, colors, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
        + info
        + bytes(header_bytes - 40)
        + palette
        + data
    )


def run_lengths():
    """Of an 8-bit bitmap: runs of one colour, literal ones, and the ends of rows and of the image."""
    rng, rows = np.random.default_rng(0), b""
    for _ in range(HEIGHT):
        literal = rng.integers(0, 256, 17).astype(np.uint8).tobytes()
        rows += bytes([20, rng.integers(256), 0, 17]) + literal + b"\0" + bytes([10, rng.integers(256), 0, 0])
    return rows + b"\0\1"


def rows_of(bytes_per_pixel):
    rng, row = np.random.default_rng(1), WIDTH * bytes_per_pixel
    return b"".join(rng.bytes(row) + bytes(-row % 4) for _ in range(HEIGHT))


def palette_of(colors):
    return np.random.default_rng(2).integers(0, 256, (colors, 4)).astype(np.uint8).tobytes()


def planar_tiff():
    """RGB of 16 bits in a plane for each colour."""
    plane = 2 * HEIGHT * WIDTH
    data = np.random.default_rng(4).bytes(3 * plane)
    tags = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3), (284, 3, 1, 2)]
    count = len(tags) + 4
    after = 8 + 2 + 12 * count + 4
    tags += [(258, 3, 3, after), (273, 4, 3, after + 6), (279, 4, 3, after + 18), (278, 3, 1, HEIGHT)]
    start = after + 30
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    arrays = struct.pack("<3H3I3I", 16, 16, 16, *(start + i * plane for i in range(3)), *[plane] * 3)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4) + arrays + data


def damaged(content, at):
    return content[:at] + bytes(40) + content[at + 40 :]


def files():
    """Contents by name. What torchvision's loader makes of one is what it is, and what it refuses is bad."""
    lzw = encoded("TIFF", compression="tiff_lzw")
    made = {f"{form}, 16 bit gray": encoded(form, "I;16") for form in ("PNG", "TIFF", "PPM", "JPEG2000")}
    made |= {f"progressive, {kept} scans": missing_scans(kept) for kept in range(1, 10)}
    made |= {
        "animated PNG": encoded("PNG", save_all=True, append_images=[picture(HEIGHT, WIDTH, 5)]),
        "animated PNG, damaged": damaged(
            encoded("PNG", save_all=True, append_images=[picture(HEIGHT, WIDTH, 5)]), -300
        ),
        "animated GIF": encoded("GIF", save_all=True, append_images=[picture(HEIGHT, WIDTH, 5)]),
        "BMP": encoded("BMP"),
        "BMP, run lengths": bmp(8, run_lengths(), palette=palette_of(256), compression=1),
        "BMP, 16 bit": bmp(16, rows_of(2)),
        "BMP, 32 bit": bmp(32, rows_of(4)),
        "BMP, short palette": bmp(8, rows_of(1), palette=palette_of(9), colors=9),
        "BMP, long header": bmp(24, rows_of(3), header_bytes=124),
        "BMP, short": encoded("BMP")[:-500],
        "TIFF": encoded("TIFF"),
        "TIFF, alpha": encoded("TIFF", "RGBA"),
        "TIFF, gray and alpha": encoded("TIFF", "LA"),
        "TIFF, palette": encoded("TIFF", "P"),
        "TIFF, Lab": encoded("TIFF", "LAB"),
        "TIFF, float": encoded("TIFF", "F"),
        "TIFF, CMYK": encoded("TIFF", "CMYK"),
        "TIFF, planar 16 bit": planar_tiff(),
        "TIFF, JPEG inside": encoded("TIFF", compression="jpeg"),
        "TIFF, damaged": damaged(lzw, len(lzw) // 2),
        "JPEG 2000": encoded("JPEG2000"),
        "JPEG 2000, YCbCr": encoded("JPEG2000", "YCbCr"),
        "JPEG 2000, alpha": encoded("JPEG2000", "RGBA"),
        "JPEG 2000, no tiles": damaged(encoded("JPEG2000"), encoded("JPEG2000").index(b"\xff\x51") + 20),
        "PNG, 16 bit": made_png(2, 16, size=SIZE),
        "PNG, 16 bit and alpha": made_png(6, 16, size=SIZE),
        "PNG, palette": made_png(3, 8, size=SIZE),
        "PNG, damaged": damaged(made_png(2, 8, size=SIZE), 4000),
        "PNG, half": made_png(2, 8, size=SIZE)[:4000],
        "CMYK": encoded("JPEG", "CMYK"),
        "CMYK, progressive": encoded("JPEG", "CMYK", progressive=True),
        "WebP": encoded("WEBP"),
        "WebP, lossless": encoded("WEBP", lossless=True),
        "WebP, turned": encoded(
            "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0"
        ),
        "WebP, damaged": damaged(encoded("WEBP", lossless=True), 200),
        "AVIF": encoded("AVIF"),
        "GIF": encoded("GIF"),
        "GIF, half": encoded("GIF")[:800],
        "QOI": encoded("QOI"),
        "PGM, plain": b"P2\n47 61\n255\n" + b" ".join(b"%d" % (i % 256) for i in range(HEIGHT * WIDTH)),
        "JPEG, bytes after the end": jpeg_bytes(HEIGHT, WIDTH, 3) + bytes(5000),
        "JPEG, no end": jpeg_bytes(HEIGHT, WIDTH, 3)[:-2],
        "JPEG, ended early": jpeg_bytes(HEIGHT, WIDTH, 3)[:-200] + END,
        "JPEG, 4:4:4": jpeg_bytes(HEIGHT, WIDTH, 3, subsampling=0),
        "JPEG, restart markers": jpeg_bytes(HEIGHT, WIDTH, 3, restart_marker_blocks=3),
        "text": b"hello",
    }
    return made
