"""What others decode for DALI equals Pillow's pixels, and a damaged file gets no opinion."""

import os

import numpy as np
import pytest
from PIL import Image

from dali_mixup.decode.second_opinion import MemoryFile, decode_otherwise
from tests.conftest import jpeg_bytes, picture

SIZE = (40, 50)


def expected(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gif", {}),
        ("a.png", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.bmp", {}),
        ("a.webp", {"lossless": True}),
        ("a.jp2", {}),
    ],
)
def test_any_format_is_decoded_as_pillow_decodes_it(tmp_path, name, options):
    picture(*SIZE, seed=1).save(tmp_path / name, **options)
    opinion = decode_otherwise(os.fsencode(tmp_path / name), SIZE)
    assert opinion.decoder == "Pillow"
    assert np.array_equal(opinion.image, expected(tmp_path / name))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_without_its_end_marker_is_decoded_as_the_whole_one(tmp_path, mode, options):
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    picture(*SIZE, seed=1).convert(mode).save(whole, quality=90, **options)
    cut.write_bytes(whole.read_bytes()[:-2])
    opinion = decode_otherwise(os.fsencode(cut), SIZE)
    assert opinion.decoder == "PyTurboJPEG"
    assert np.array_equal(opinion.image, expected(whole))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_truncated_jpeg_gets_no_opinion_where_libjpeg_would_fill_it_with_gray(tmp_path, part, options):
    whole = jpeg_bytes(*SIZE, seed=1, **options)
    (tmp_path / "a.jpg").write_bytes(whole[: int(part * len(whole))])
    assert decode_otherwise(os.fsencode(tmp_path / "a.jpg"), SIZE) is None


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif"])
def test_an_image_of_another_size_than_the_index_knows_gets_none(tmp_path, name):
    picture(*SIZE, seed=1).save(tmp_path / name)
    assert decode_otherwise(os.fsencode(tmp_path / name), SIZE) is not None
    assert decode_otherwise(os.fsencode(tmp_path / name), (50, 40)) is None


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_what_is_no_image_gets_none(tmp_path, content):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    assert decode_otherwise(os.fsencode(tmp_path / "a.jpg"), SIZE) is None


def test_a_file_in_memory_is_lossless_and_gone_with_its_object():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    file = MemoryFile(image)
    path = os.fsdecode(file.path)
    assert np.array_equal(expected(path), image)
    assert np.array_equal(expected(path), image)  # it can be opened again
    target = os.readlink(path)
    del file
    assert not os.path.exists(path) or os.readlink(path) != target
