"""Ways to damage a photo: `KINDS` are functions of its bytes and a numpy Generator."""

import io
import re
import struct

import numpy as np
from PIL import Image, PngImagePlugin

from tests.conftest import jpeg_bytes

END = b"\xff\xd9"
ENCODINGS = (
    {},
    {"subsampling": 0},
    {"progressive": True},
    {"progressive": True, "subsampling": 0},
    {"restart_marker_rows": 1},
    {"optimize": True, "exif": True},
)


def encode(image, form="JPEG", **options):
    buffer = io.BytesIO()
    if options.get("exif") is True:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "a camera"  # orientation, maker
        options["exif"] = exif
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(photo, mode="RGB"):
    with Image.open(io.BytesIO(photo)) as image:
        return image.convert(mode)


def segments(photo):
    """(start, end) of each segment up to the first scan's header."""
    found, start = [], 2
    while not found or photo[found[-1][0] + 1] != 0xDA:
        end = start + 2 + int.from_bytes(photo[start + 2 : start + 4])
        found.append((start, end))
        start = end
    return found


def find_segment(photo, markers):
    return next((start, end) for start, end in segments(photo) if photo[start + 1] in markers)


def patched(photo, at, content):
    return photo[:at] + content + photo[at + len(content) :]


def any_segment(photo, rng):
    found = segments(photo)
    return found[rng.integers(len(found))]


def scan(photo):
    """Where the first scan's data start."""
    return segments(photo)[-1][1]


def flip_bits(photo, rng, start, end):
    content = bytearray(photo)
    for at in rng.integers(start, end, size=2 ** rng.integers(0, 5)):
        content[at] ^= 1 << rng.integers(8)
    return bytes(content)


def cut_between_scans(photo, rng):
    progressive = encode(opened(photo), progressive=True)
    later = [match.start() for match in re.finditer(rb"\xff\xda", progressive)][1:]
    return progressive[: later[rng.integers(len(later))]] + (END if rng.random() < 0.5 else b"")


def wrong_length(photo, rng):
    start, end = any_segment(photo, rng)
    length = rng.choice([0, 1, 2, end - start - 3, end - start - 1, 0xFFFF, rng.integers(0x10000)])
    return patched(photo, start + 2, int(length).to_bytes(2))


def swapped_segments(photo, rng):
    found = segments(photo)
    pieces = [photo[start:end] for start, end in found]
    one, other = rng.choice(len(pieces), 2, replace=False)
    pieces[one], pieces[other] = pieces[other], pieces[one]
    return photo[:2] + b"".join(pieces) + photo[found[-1][1] :]


def stuffed(photo, rng):
    """Bytes that belong to no segment between two of them."""
    start, _ = any_segment(photo, rng)
    junk = [bytes(4), b"\xff" * rng.integers(1, 20), b"\xff\x00" * 3, rng.bytes(rng.integers(1, 9))][rng.integers(4)]
    return photo[:start] + junk + photo[start:]


def zeros(photo, rng):
    start = rng.integers(len(photo))
    return patched(photo, start, bytes(rng.integers(1, len(photo) - start + 1)))


def noise(photo, rng):
    start = rng.integers(scan(photo), len(photo))
    return patched(photo, start, rng.bytes(rng.integers(1, min(200, len(photo) - start) + 1)))


def moved_blocks(photo, rng):
    one, other, third = sorted(rng.integers(scan(photo), len(photo), 3).tolist())
    return photo[:one] + photo[other:third] + photo[one:other] + photo[third:]


def claim(photo, height, width):
    start, _ = find_segment(photo, (0xC0, 0xC2))
    return patched(photo, start + 5, struct.pack(">HH", height, width))


def near_size(photo, rng):
    height, width = (int(side) for side in np.maximum(rng.integers(-40, 41, 2) + opened(photo).size[::-1], 0))
    return claim(photo, height, width)


def wrong_frame(photo, rng):
    """A precision, a number of components, sampling factors or table numbers that aren't the image's."""
    start, end = find_segment(photo, (0xC0, 0xC2))
    at = start + 4 if rng.random() < 0.3 else rng.integers(start + 9, end)
    return patched(photo, at, bytes([rng.choice([0, 1, 2, 3, 5, 0x12, 0x21, 0x41, 12, 16, 255])]))


def other_format(photo, rng):
    form = str(rng.choice(["PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "TGA", "JPEG2000", "PCX", "DDS", "SGI"]))
    return encode(opened(photo), form)


def damaged_format(photo, rng):
    content = other_format(photo, rng)
    return cut(content, rng) if rng.random() < 0.5 else flip_bits(content, rng, 0, len(content))


def other_mode(photo, rng):
    mode = ("L", "P", "RGBA", "LA", "1", "I;16")[rng.integers(6)]
    image = opened(photo, "I" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray((np.asarray(image) * 257).astype(np.uint16))
    return encode(image, "TIFF" if rng.random() < 0.4 else "PNG")


def cmyk(photo, rng):
    if rng.random() < 0.2:
        return encode(opened(photo, "CMYK"), "TIFF")
    content = encode(opened(photo, "CMYK"), progressive=bool(rng.integers(2)))
    return content if rng.random() < 0.5 else flip_bits(content, rng, 0, len(content))


def cut(photo, rng):
    return photo[: rng.integers(len(photo))]


KINDS = {
    "cut anywhere": cut,
    "cut early": lambda photo, rng: photo[: int(2 ** rng.uniform(0, 10))],
    "cut late": lambda photo, rng: photo[: -int(2 ** rng.uniform(0, 9))],
    "cut and ended": lambda photo, rng: photo[: rng.integers(scan(photo), len(photo))] + END,
    "cut between scans": cut_between_scans,
    "bits of the header": lambda photo, rng: flip_bits(photo, rng, 0, scan(photo)),
    "bits of the scan": lambda photo, rng: flip_bits(photo, rng, scan(photo), len(photo)),
    "wrong length": wrong_length,
    "swapped markers": lambda photo, rng: patched(photo, any_segment(photo, rng)[0] + 1, rng.bytes(1)),
    "swapped segments": swapped_segments,
    "missing segment": lambda photo, rng: (at := any_segment(photo, rng)) and photo[: at[0]] + photo[at[1] :],
    "doubled segment": lambda photo, rng: (at := any_segment(photo, rng)) and photo[: at[1]] + photo[at[0] :],
    "bytes between segments": stuffed,
    "zeros": zeros,
    "zeros to the end": lambda photo, rng: (kept := cut(photo, rng)) + bytes(len(photo) - len(kept)),
    "noise in the scan": noise,
    "blocks of the scan moved": moved_blocks,
    "bytes lost": lambda photo, rng: (kept := cut(photo, rng)) + photo[len(kept) + rng.integers(1, 100) :],
    "huge size": lambda photo, rng: claim(photo, *(int(side) for side in rng.integers(1500, 65536, 2))),
    "another size": near_size,
    "wrong frame": wrong_frame,
    "another format": other_format,
    "another format, damaged": damaged_format,
    "another mode": other_mode,
    "turned TIFF": lambda photo, rng: encode(opened(photo), "TIFF", tiffinfo={0x0112: int(rng.integers(1, 9))}),
    "CMYK": cmyk,
    "EXIF": lambda photo, rng: flip_bits(
        content := encode(opened(photo), exif=True), rng, 6, find_segment(content, (0xE1,))[1]
    ),
    "PNG of a huge size": lambda photo, rng: bomb_png(*(int(side) for side in 2 ** rng.uniform(11, 31, 2))),
    "bytes after the end": lambda photo, rng: photo + rng.bytes(rng.integers(1, 1000)),
    "bytes before the beginning": lambda photo, rng: rng.bytes(rng.integers(1, 10)) + photo,
    "two photos in one": lambda photo, rng: photo[: rng.integers(len(photo))] + photo,
    "no image": lambda photo, rng: (
        rng.bytes(rng.integers(1000)),
        b"",
        b"<html>%d" % rng.integers(99),
        b"\0" * rng.integers(9999),
    )[rng.integers(4)],
}


def bomb_jpeg(height, width):
    return claim(jpeg_bytes(40, 50), height, width)


def bomb_png(height, width):
    buffer = io.BytesIO()
    PngImagePlugin.putchunk(buffer, b"IHDR", struct.pack(">IIBBBBB", height, width, 8, 2, 0, 0, 0))
    PngImagePlugin.putchunk(buffer, b"IDAT", b"\x78\x9c\x63\0\0\0\x01\0\x01")
    PngImagePlugin.putchunk(buffer, b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + buffer.getvalue()
