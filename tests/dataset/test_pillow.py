import io
import os
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from dali_mixup.dataset.header import probe
from dali_mixup.dataset.pillow import UndecodableError, decode_with_pillow
from dali_mixup.dataset.verdict import Verdict
from tests.conftest import jpeg_bytes, picture
from tests.made_pngs import SIGNATURE, chunk, made_png
from tests.oracles import by_torchvision

SIZE = (61, 47)


def encoded(form, mode="RGB", **options):
    image = picture(*SIZE, 3)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def possible(form, mode, **options):
    try:
        encoded(form, mode, **options)
    except (OSError, ValueError, RuntimeError, KeyError):
        return False
    return True


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F")
KINDS = [
    (form, mode, options)
    for form in [
        "AVIF",
        "BMP",
        "DDS",
        "GIF",
        "ICO",
        "JPEG",
        "JPEG2000",
        "PCX",
        "PNG",
        "PPM",
        "QOI",
        "SGI",
        "TGA",
        "TIFF",
        "WEBP",
    ]
    for mode in MODES
    for options in ([{}] if form != "TIFF" else [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}])
    if possible(form, mode, **options)
]
ANIMATED = {"save_all": True, "append_images": [picture(*SIZE, 5)]}
KINDS += [(form, "RGB", ANIMATED) for form in ("AVIF", "GIF", "MPO", "PNG", "WEBP")]
KINDS += [("TIFF", "RGB", {"tiffinfo": {0x112: i}, "compression": "tiff_lzw" if i % 2 else "raw"}) for i in range(2, 9)]
KINDS += [("ICO", "RGBA", {"bitmap_format": "bmp"}), ("TGA", "RGB", {"compression": "tga_rle"})]


def written(tmp_path, content):
    (tmp_path / "image.jpg").write_bytes(content)
    return tmp_path / "image.jpg"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("form", "mode", "options"), KINDS, ids=[f"{form} {mode} {list(o)}" for form, mode, o in KINDS]
)
def test_each_format_is_what_torchvision_reads(tmp_path, form, mode, options):
    path = written(tmp_path, encoded(form, mode, **options))
    header = probe(path)
    assert header.verdict is not Verdict.BAD
    expected = by_torchvision(path)
    image = decode_with_pillow(path, header[:2])
    assert (image.dtype, image.shape) == (np.uint8, (*header[:2], 3))
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_gray_is_clipped_as_torchvision_does(tmp_path, form):
    path = written(tmp_path, encoded(form, "I;16"))
    np.testing.assert_array_equal(decode_with_pillow(path, SIZE), by_torchvision(path))
    assert probe(path).verdict is Verdict.PILLOW


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_another_size_is_refused_before_anything_is_decoded(tmp_path, form, monkeypatch):
    path = written(tmp_path, encoded(form))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(UndecodableError, match="changed since it was indexed: 61 x 47 pixels, was 61 x 48"):
        decode_with_pillow(path, (61, 48))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image of a supported format"),
        (b"hello", "not an image of a supported format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 47 61\n", "not an image of a supported format"),
        (jpeg_bytes(*SIZE)[:-100], "damaged: image file is truncated"),
        (encoded("PNG")[:-100], "damaged: "),
        (encoded("GIF")[:-100], "damaged: image file is truncated"),
        (encoded("BMP")[:-100], "damaged: image file is truncated"),
        (encoded("TIFF", compression="tiff_lzw")[:8] + bytes(999), "not an image of a supported format"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason_of_one_line(tmp_path, content, reason):
    with pytest.raises(UndecodableError, match=f"^{reason}") as raised:
        decode_with_pillow(written(tmp_path, content), SIZE)
    assert "\n" not in str(raised.value)


def test_what_is_no_file_has_a_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "not a regular file"), ("gone", "missing"), ("", "not a regular file")):
        with pytest.raises(UndecodableError, match=f"^{reason}$"):
            decode_with_pillow(str(tmp_path / name), SIZE)


def test_no_descriptor_stays_open(tmp_path):
    good, bad = written(tmp_path, encoded("GIF")), tmp_path / "bad.jpg"
    bad.write_bytes(encoded("GIF")[:-100])
    before = psutil.Process().num_fds()
    for _ in range(5):
        decode_with_pillow(good, SIZE)
        with pytest.raises(UndecodableError):
            decode_with_pillow(bad, SIZE)
    assert psutil.Process().num_fds() == before


def test_pillows_own_limit_of_pixels_does_not_count(tmp_path, monkeypatch):
    for form in ("GIF", "BMP", "PPM", "JPEG", "PNG", "JPEG2000", "TIFF"):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        path = written(tmp_path, encoded(form))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000 if form == "TIFF" else 100)
        assert probe(path)[:2] == SIZE
        assert decode_with_pillow(path, SIZE).shape == (*SIZE, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UndecodableError, match=r"more pixels than twice PIL\.Image\.MAX_IMAGE_PIXELS"):
        decode_with_pillow(path, SIZE)


def test_warnings_that_are_errors_are_no_reason_to_refuse(tmp_path):
    image = picture(*SIZE, 3).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(range(256)))
    path = written(tmp_path, buffer.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_torchvision(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode_with_pillow(path, SIZE), expected)
        with pytest.raises(UserWarning):
            warnings.warn("filters are as they were", UserWarning, stacklevel=1)


def test_threads_decode_side_by_side(tmp_path):
    kinds = ["GIF", "TIFF", "BMP", "JPEG2000", "PPM", "WEBP", "PNG", "JPEG"]
    paths = [tmp_path / f"{i}.jpg" for i in range(len(kinds))]
    for path, form in zip(paths, kinds, strict=True):
        path.write_bytes(encoded(form))
    expected = [by_torchvision(path) for path in paths]
    barrier = threading.Barrier(8)

    def decode(number):
        if number < 8:
            barrier.wait()
        return decode_with_pillow(paths[number % len(paths)], SIZE)

    with ThreadPoolExecutor(8) as pool:
        for number, image in enumerate(pool.map(decode, range(200))):
            np.testing.assert_array_equal(image, expected[number % len(paths)])


def tiff(entries):
    """A little-endian TIFF of one directory without image data; `entries` are (tag, type, count, value)."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0\x08\0\0\0" + directory + bytes(4)


def small_tiff(*more, height=8, width=8):
    tags = {256: width, 257: height, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: height, 279: 100}
    return tiff([(tag, 4, 1, value) for tag, value in tags.items() if tag not in {tag for tag, *_ in more}] + [*more])


def icon(width, height):
    inner = SIGNATURE + chunk("IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk("IDAT", b"x")
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


HOSTILE = {
    "tiles": small_tiff((322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, 8), (325, 4, 1, 100)),
    "strip": small_tiff((278, 4, 1, 2**31 - 1), (279, 4, 1, 2**31 - 1)),
    "a tag of 4 GB": small_tiff((700, 7, 2**32 - 1, 8)),
    "icon": icon(30_000, 30_000),
    "webp": encoded("WEBP", "RGBA", icc_profile=bytes(200))[:24] + b"\xfe\x3f\0" * 2 + bytes(500),
    "late claim": encoded("GIF")[:6] + b"\xff\xff\xff\xff" + encoded("GIF")[10:],
    "png chunk": made_png(2, 16)[:33] + struct.pack(">I", 2**31 - 1) + b"zTXt" + bytes(100),
    "huge jpeg segment": jpeg_bytes(40, 50),
}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_take_little_memory(tmp_path, kind, sparse):
    """Also where a length in the file is true, since the file is long and sparse."""
    path = written(tmp_path, HOSTILE[kind])
    if sparse:
        with open(path, "r+b") as file:
            file.truncate(5 << 30)
    reset_peak()
    before = psutil.Process().memory_info().rss
    header = probe(path)
    for size in ((8, 8), (40, 50), SIZE):
        try:
            decode_with_pillow(path, size)
        except UndecodableError:
            continue
    assert header.verdict in Verdict
    assert peak_memory() - before < 200 << 20


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory():
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
