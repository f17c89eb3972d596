import io
import os
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset.header import probe
from dali_mixup.dataset.verdict import Verdict
from tests.conftest import jpeg_bytes, picture
from tests.made_pngs import SIGNATURE, chunk

FORMATS = {"JPEG": Verdict.SCAN_FIRST, "PNG": Verdict.DALI, "WEBP": Verdict.DALI} | dict.fromkeys(
    ("AVIF", "BMP", "GIF", "JPEG2000", "PCX", "PPM", "SGI", "TGA", "TIFF"), Verdict.PILLOW
)


@pytest.mark.parametrize(("suffix", "verdict"), FORMATS.items())
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_sizes_equal_pillows_in_every_format_and_the_header_decides_who_decodes(tmp_path, suffix, verdict, mode):
    path = tmp_path / "image.jpg"
    picture(37, 91, 0).convert(mode).save(path, suffix)
    header = probe(str(path))
    assert (header.height, header.width, header.reason, header.verdict) == (37, 91, "", verdict)
    assert (header.file_size, header.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"restart_marker_blocks": 4},
        {"exif": b"Exif\0\0" + bytes(30_000)},
        {"comment": b"x" * 60_000},
    ],
)
def test_a_frame_header_is_found_behind_whatever_stands_before_it(tmp_path, options):
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg_bytes(65, 33, **options))
    assert probe(path)[:2] == (65, 33)


def test_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(jpeg_bytes(20, 50, exif=exif))
    assert probe(tmp_path / "turned.jpg")[:2] == (20, 50)


def test_fill_bytes_between_markers_are_skipped(tmp_path):
    content = jpeg_bytes(20, 50)
    (tmp_path / "filled.jpg").write_bytes(content[:2] + b"\xff" * 5000 + content[2:])
    assert probe(tmp_path / "filled.jpg")[:2] == (20, 50)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\xff\xd8", "truncated at byte 2: no frame header"),
        (b"\xff\xd8\xff\xe0\xff", "truncated at byte 5: no frame header"),
        (b"\xff\xd8\xff\xe0\xff\xff" + bytes(100), "truncated at byte 106: no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x10", "truncated at byte 9: no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x10", "frame header claims 0 x 16 pixels"),
        (b"\xff\xd8\xff\xe0\x00\x01" + bytes(9), "not a JPEG: segment of length 1 at byte 2"),
        (b"\xff\xd8" + bytes(9), "not a JPEG: no marker at byte 2"),
        (b"\xff\xd8\xff\xda" + bytes(9), "not a JPEG: no frame header before the image data"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "not an image"),
        (b"hello", "not an image"),
    ],
)
def test_content_that_is_no_image_gets_its_reason(tmp_path, content, reason):
    (tmp_path / "x.jpg").write_bytes(content)
    header = probe(tmp_path / "x.jpg")
    assert (header.height, header.width) == (0, 0)
    assert header.reason.startswith(reason)


def test_things_that_are_no_files_get_their_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert probe(tmp_path / "gone.jpg").reason == "missing"
    assert probe(tmp_path / "pipe.jpg").reason == "not a regular file"
    assert probe(tmp_path).reason == "not a regular file"


@pytest.mark.parametrize("first", [b"", chunk("gAMA", bytes(4))])
def test_a_side_that_no_index_can_hold_is_named(tmp_path, first):
    """Of one bit per pixel in rows of less than a byte; behind another chunk a header is Pillow's to read."""
    header = struct.pack(">IIBBBBB", 3, 1 << 31, 1, 0, 0, 0, 0)
    path = tmp_path / "tall.png"
    path.write_bytes(SIGNATURE + first + chunk("IHDR", header) + chunk("IDAT", zlib.compress(b"")) + chunk("IEND"))
    assert probe(str(path))[:2] == (0, 0)
    assert probe(str(path)).reason == "claims 2147483648 x 3 pixels"
    with pytest.warns(dm.BadFileWarning, match="claims 2147483648 x 3 pixels"):
        assert list(dm.FileList([str(path)], [0], cache=False, progress=False).bad_files) == [0]


def test_a_huge_png_is_named_and_not_decoded(tmp_path):
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = (65_000).to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    (tmp_path / "bomb.jpg").write_bytes(content)
    assert probe(tmp_path / "bomb.jpg").reason == f"claims 65000 x 65000 pixels, which {len(content)} bytes can't hold"


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_bytes_give_a_size_or_a_reason(tmp_path_factory, data):
    original = jpeg_bytes(20, 50, progressive=data.draw(st.booleans()))
    content = bytearray(data.draw(st.one_of(st.binary(max_size=200), st.just(original))))
    for _ in range(data.draw(st.integers(0, 8)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz.jpg"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    header = probe(path)
    assert (header.height > 0 and header.width > 0) == (header.verdict is not Verdict.BAD) != bool(header.reason)


@pytest.mark.parametrize("stray", [b"\0\0", b"abc", b"\xff\x00", b"\xff\xff\xff"])
def test_stray_bytes_between_segments_that_pillow_forgives_are_forgiven(tmp_path, stray):
    whole = jpeg_bytes(40, 50)
    at = whole.index(b"\xff\xdb")
    (tmp_path / "stray.jpg").write_bytes(whole[:at] + stray + whole[at:])
    with Image.open(tmp_path / "stray.jpg") as image:
        assert image.size == (50, 40)
    assert probe(tmp_path / "stray.jpg")[:2] == (40, 50)
    assert probe(tmp_path / "stray.jpg").verdict is (Verdict.SCAN_FIRST if stray == b"\xff" * 3 else Verdict.PILLOW)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89HDF\r\n\x1a\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 30\n%%EndComments\n",
        b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(80),
        b"#define x_width 20\n#define x_height 30\nstatic char x_bits[] = {0};",
    ],
)
def test_formats_for_which_programs_would_run_and_exotic_ones_are_not_supported(tmp_path, content):
    (tmp_path / "image.jpg").write_bytes(content)
    assert probe(tmp_path / "image.jpg")[:2] == (0, 0)
    assert probe(tmp_path / "image.jpg").reason.startswith("not an image")


def test_a_jpeg_with_an_odd_segment_is_no_other_format(tmp_path):
    """GIMP's brushes, for example, are recognized by less than JPEGs are."""
    whole = jpeg_bytes(40, 24)
    path = tmp_path / "odd.jpg"
    path.write_bytes(whole[:4] + b"\0\0\0\x01" + whole[8:])
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (24, 40))
    assert probe(path)[:2] == (40, 24)


def test_megabytes_of_fill_bytes_take_few_reads(tmp_path, monkeypatch):
    whole, reads = jpeg_bytes(40, 50), []
    (tmp_path / "fill.jpg").write_bytes(whole[:2] + b"\xff" * (1 << 20) + whole[2:])
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: (reads.append(1), pread(*arguments))[1])
    assert probe(tmp_path / "fill.jpg")[:2] == (40, 50)
    assert len(reads) < 300


def test_a_photo_takes_one_open_and_one_read(tmp_path, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes(jpeg_bytes(400, 500))
    calls = []
    for name in ("open", "fstat", "read", "pread"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (calls.append(name), original(*a))[1])
    assert probe(tmp_path / "photo.jpg")[:2] == (400, 500)
    assert calls == ["open", "fstat", "pread"]


@pytest.mark.parametrize("side", [2**31, 2**32 - 1])
def test_a_side_that_no_column_holds_is_bad(tmp_path, side):
    path = tmp_path / "image.qoi"
    path.write_bytes(b"qoif" + struct.pack(">IIBB", side, 3, 3, 0) + bytes(99))
    header = probe(path)
    assert (header.height, header.width, header.verdict) == (0, 0, Verdict.BAD)
    assert header.reason == f"claims 3 x {side} pixels"
