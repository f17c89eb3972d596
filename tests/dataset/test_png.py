import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset.header import probe
from dali_mixup.dataset.png import can_hold
from dali_mixup.dataset.verdict import Verdict
from tests.conftest import picture
from tests.made_pngs import KINDS, ODD_CHUNKS, SIGNATURE, chunk, made_png, varieties
from tests.oracles import by_loader, by_torchvision

REFUSED = ("zTXt", "iTXt", "fdAT")


def verdict(tmp_path, content):
    (tmp_path / "image.png").write_bytes(content)
    header = probe(tmp_path / "image.png")
    assert (header.verdict is Verdict.BAD) == (header.height == 0) == bool(header.reason)
    return header.verdict


@pytest.mark.filterwarnings("ignore:.*Transparency:UserWarning")
def test_all_that_dali_gets_it_decodes_as_torchvision_does(tmp_path):
    paths = []
    for number, content in enumerate(varieties().values()):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(content)
    given = [path for path in paths if probe(path).verdict is Verdict.DALI]
    assert len(given) > 200
    expected = np.stack([by_torchvision(path) for path in given])
    np.testing.assert_array_equal(by_loader(given), expected)
    np.testing.assert_array_equal(by_loader(given, dm.CenterCrop((7, 9))), expected[:, 6:13, 7:16])


@pytest.mark.parametrize(("color", "depth"), KINDS)
@pytest.mark.parametrize("interlaced", [0, 1])
def test_8_bits_are_dalis_and_16_bits_are_pillows(tmp_path, color, depth, interlaced):
    expected = Verdict.PILLOW if depth == 16 else Verdict.DALI
    assert verdict(tmp_path, made_png(color, depth, interlaced=interlaced)) == expected


@pytest.mark.parametrize("place", ["before", "middle", "after"])
@pytest.mark.parametrize("kind", [kind for kind in ODD_CHUNKS if kind not in REFUSED])
def test_each_other_chunk_is_left_to_pillow(tmp_path, kind, place):
    assert verdict(tmp_path, made_png(2, 8, **{place: [(kind, ODD_CHUNKS[kind])]})) == Verdict.PILLOW


@pytest.mark.parametrize("kind", REFUSED)
def test_a_chunk_that_pillow_refuses_is_not_dalis(tmp_path, kind):
    content = made_png(2, 8, before=[(kind, ODD_CHUNKS[kind])])
    assert verdict(tmp_path, content) != Verdict.DALI
    assert (by_torchvision(tmp_path / "image.png") is None) == (probe(tmp_path / "image.png").verdict is Verdict.BAD)


def test_an_animation_is_left_to_pillow(tmp_path):
    buffer = io.BytesIO()
    picture(20, 30, 0).save(buffer, "PNG", save_all=True, append_images=[picture(20, 30, 1)])
    assert verdict(tmp_path, buffer.getvalue()) == Verdict.PILLOW


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole[:-12],  # no end
        lambda whole: whole[:-20],
        lambda whole: whole[:33] + whole[33:-12] * 2 + whole[-12:],  # a second palette and image
        lambda whole: whole.replace(chunk("PLTE", bytes(range(48))), b""),
        lambda whole: whole.replace(b"PLTE", b"pLTE"),
    ],
)
def test_chunks_that_are_missing_or_doubled_are_not_dalis(tmp_path, change):
    assert verdict(tmp_path, change(made_png(3, 4, palette=bytes(range(48))))) != Verdict.DALI


def test_image_data_in_many_chunks_are_dalis_unless_something_stands_between_them(tmp_path):
    whole = made_png(2, 8)
    at = whole.index(b"IDAT") - 4
    length = int.from_bytes(whole[at : at + 4])
    data = whole[at + 8 : at + 8 + length]
    pieces = [chunk("IDAT", data[i : i + 10]) for i in range(0, length, 10)]
    end = chunk("IEND")
    assert verdict(tmp_path, whole[:at] + b"".join(pieces) + end) == Verdict.DALI
    np.testing.assert_array_equal(by_loader([tmp_path / "image.png"])[0], by_torchvision(tmp_path / "image.png"))
    pieces.insert(3, chunk("tEXt", b"a\0b"))
    assert verdict(tmp_path, whole[:at] + b"".join(pieces) + end) != Verdict.DALI


@pytest.mark.parametrize("size", [(30_000, 30_000), (1, 900_000), (900_000, 1), (2**31 - 1, 2**31 - 1)])
def test_a_size_that_the_data_cannot_hold_is_bad(tmp_path, size):
    header = struct.pack(">IIBBBBB", size[1], size[0], 8, 2, 0, 0, 0)
    content = SIGNATURE + chunk("IHDR", header) + chunk("IDAT", zlib.compress(bytes(100))) + chunk("IEND")
    assert verdict(tmp_path, content) == Verdict.BAD
    assert probe(tmp_path / "image.png").reason == (
        f"claims {size[0]} x {size[1]} pixels, which {len(content)} bytes can't hold"
    )


def test_few_pixels_that_the_data_cannot_hold_are_pillows_affair(tmp_path):
    header = struct.pack(">IIBBBBB", 300, 200, 8, 2, 0, 0, 0)
    content = SIGNATURE + chunk("IHDR", header) + chunk("IDAT", zlib.compress(bytes(100))) + chunk("IEND")
    assert verdict(tmp_path, content) == Verdict.PILLOW


def test_a_chunk_longer_than_the_file_is_not_dalis_and_holds_no_more_than_the_file(tmp_path):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    content = SIGNATURE + chunk("IHDR", header) + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(200)
    assert verdict(tmp_path, content) == Verdict.BAD
    whole = made_png(2, 8)
    at = whole.index(b"IDAT") - 4
    assert verdict(tmp_path, whole[:at] + struct.pack(">I", 2**31 - 1) + whole[at + 4 :]) != Verdict.DALI


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_no_encoder_reaches_the_bound(mode):
    buffer = io.BytesIO()
    Image.new(mode, (3_000, 2_000)).save(buffer, "PNG", compress_level=9)
    data = sum(
        int.from_bytes(buffer.getvalue()[at - 4 : at])
        for at in range(len(buffer.getvalue()))
        if buffer.getvalue().startswith(b"IDAT", at)
    )
    bits = {"1": 1, "L": 8, "RGB": 24, "RGBA": 32}[mode]
    assert can_hold(2_000, 3_000, bits, data)
    assert not can_hold(2_000, 3_000, bits, 2_000 * 3_000 * bits // 8 // 1_033)


def test_a_hundred_thousand_chunks_are_not_all_looked_at(tmp_path, monkeypatch):
    whole = made_png(2, 8)
    (tmp_path / "image.png").write_bytes(whole[:33] + chunk("tEXt", b"a\0b") * 100_000 + whole[33:])
    pread, reads = os.pread, []
    monkeypatch.setattr(os, "pread", lambda *arguments: (reads.append(1), pread(*arguments))[1])
    assert probe(tmp_path / "image.png").verdict == Verdict.PILLOW
    assert len(reads) < 5_000
