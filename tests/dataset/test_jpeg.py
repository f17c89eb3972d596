import io

import numpy as np
import pytest

import dali_mixup as dm
from dali_mixup.dataset.header import probe
from dali_mixup.dataset.jpeg import SUBSAMPLINGS, can_hold
from dali_mixup.dataset.verdict import Verdict
from tests.conftest import jpeg_bytes, picture
from tests.made_jpegs import made_jpeg
from tests.mutants import claim
from tests.oracles import by_loader, by_torchvision


def written(tmp_path, content):
    (tmp_path / "image.jpg").write_bytes(content)
    return tmp_path / "image.jpg"


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_blocks": 4}, *({"subsampling": i} for i in range(3))],
)
def test_photos_are_dalis_once_they_were_scanned(tmp_path, options):
    assert probe(written(tmp_path, jpeg_bytes(65, 33, **options))).verdict is Verdict.SCAN_FIRST


def test_each_usual_subsampling_is_dalis_and_decoded_as_torchvision_does(tmp_path):
    kinds = [[(h, v), (1, 1), (1, 1)] for h, v in SUBSAMPLINGS]
    kinds += [[(2, 1), (2, 1), (2, 1)], [(4, 1), (2, 1), (2, 1)], [(1, 1)], [(2, 2)], [(3, 1)]]
    paths = [tmp_path / f"{i}.jpg" for i in range(len(kinds))]
    for i, (path, factors) in enumerate(zip(paths, kinds, strict=True)):
        path.write_bytes(made_jpeg(75, 83, factors, seed=i, interval=3 * (i % 2)))
        assert probe(path).verdict is Verdict.SCAN_FIRST
    expected = np.stack([by_torchvision(path) for path in paths])
    np.testing.assert_array_equal(by_loader(paths), expected)
    np.testing.assert_array_equal(by_loader(paths, dm.CenterCrop((20, 20))), expected[:, 28:48, 32:52])


@pytest.mark.parametrize(
    "factors",
    [
        [(3, 1), (1, 1), (1, 1)],
        [(2, 2), (2, 2), (2, 2)],
        [(2, 2), (2, 1), (1, 1)],
        [(1, 1), (2, 1), (1, 1)],
        [(2, 1), (1, 2), (1, 2)],
        [(1, 1)] * 4,
    ],
)
def test_an_unusual_frame_is_left_to_pillow(tmp_path, factors):
    assert probe(written(tmp_path, made_jpeg(75, 83, factors))).verdict is Verdict.PILLOW


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA])
def test_frames_of_another_kind_are_not_dalis(tmp_path, marker):
    whole = jpeg_bytes(40, 50)
    at = whole.index(b"\xff\xc0")
    path = written(tmp_path, whole[: at + 1] + bytes([marker]) + whole[at + 2 :])
    assert probe(path).verdict in (Verdict.PILLOW, Verdict.BAD)


def test_cmyk_is_left_to_pillow(tmp_path):
    buffer = io.BytesIO()
    picture(20, 30, 0).convert("CMYK").save(buffer, "JPEG")
    assert probe(written(tmp_path, buffer.getvalue())).verdict is Verdict.PILLOW


def test_12_bits_are_bad(tmp_path):
    whole = jpeg_bytes(40, 50)
    at = whole.index(b"\xff\xc0") + 4
    assert probe(written(tmp_path, whole[:at] + b"\x0c" + whole[at + 1 :])).verdict is Verdict.BAD


def test_a_size_that_the_file_cannot_hold_is_bad(tmp_path):
    whole = jpeg_bytes(40, 50)
    header = probe(written(tmp_path, claim(whole, 65_500, 65_500)))
    assert header.reason == f"claims 65500 x 65500 pixels, which {len(whole)} bytes can't hold"
    assert header.verdict is Verdict.BAD


@pytest.mark.parametrize("progressive", [False, True])
def test_no_encoder_reaches_the_bound(progressive):
    buffer = io.BytesIO()
    picture(1, 1, 0).resize((4_000, 3_000)).save(buffer, "JPEG", quality=1, optimize=True, progressive=progressive)
    assert can_hold(3_000, 4_000, len(buffer.getvalue()))
    assert not can_hold(3_000, 4_000, 3_000 * 4_000 // 512 - 1)


def test_a_huge_file_with_a_small_photo_in_front_is_left_to_pillow(tmp_path):
    path = written(tmp_path, jpeg_bytes(40, 50))
    with open(path, "r+b") as file:
        file.truncate(3 << 30)
    assert probe(path)[:2] == (40, 50)
    assert probe(path).verdict is Verdict.PILLOW
