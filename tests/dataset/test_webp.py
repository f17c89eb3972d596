import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from dali_mixup.dataset.header import probe
from dali_mixup.dataset.verdict import Verdict
from tests.conftest import picture
from tests.oracles import by_loader, by_torchvision

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def webp(mode="RGB", seed=3, **options):
    image = picture(61, 47, seed).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def exif(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


PLAIN = [
    {"mode": mode, "lossless": lossless, **options}
    for mode in ("RGB", "RGBA", "L")
    for lossless in (False, True)
    for options in ({}, {"icc_profile": PROFILE}, {"quality": 5}, {"quality": 100}, {"method": 0}, {"exact": True})
]
ODD = [
    {"exif": exif(1)},
    {"exif": exif(6)},
    {"exif": exif(6), "lossless": True},
    {"xmp": b"<x/>"},
    {"save_all": True, "append_images": [picture(61, 47, 4)]},
]


def test_all_that_dali_gets_it_decodes_as_torchvision_does(tmp_path):
    paths = [tmp_path / f"{i}.webp" for i in range(len(PLAIN))]
    for i, (path, options) in enumerate(zip(paths, PLAIN, strict=True)):
        path.write_bytes(webp(seed=i, **options))
    assert {probe(path)[:2] for path in paths} == {(61, 47)}
    assert {probe(path).verdict for path in paths} == {Verdict.DALI}
    np.testing.assert_array_equal(by_loader(paths), np.stack([by_torchvision(path) for path in paths]))


@pytest.mark.parametrize("options", ODD, ids=[" ".join(options) for options in ODD])
def test_animations_and_chunks_behind_the_image_are_left_to_pillow(tmp_path, options):
    (tmp_path / "image.webp").write_bytes(webp(**options))
    header = probe(tmp_path / "image.webp")
    assert (header[:2], header.verdict) == ((61, 47), Verdict.PILLOW)


@pytest.mark.parametrize("change", [lambda whole: whole + b"junk", lambda whole: whole[:-4]])
@pytest.mark.parametrize("options", PLAIN[:8:7])
def test_a_file_of_another_length_than_it_says_is_left_to_pillow(tmp_path, change, options):
    (tmp_path / "image.webp").write_bytes(change(webp(**options)))
    assert probe(tmp_path / "image.webp").verdict == Verdict.PILLOW


def test_another_canvas_than_the_image_is_left_to_pillow(tmp_path):
    content = bytearray(webp("RGBA", icc_profile=PROFILE))
    content[24] += 1
    (tmp_path / "image.webp").write_bytes(content)
    assert probe(tmp_path / "image.webp").verdict == Verdict.PILLOW


def test_a_huge_canvas_is_not_opened(tmp_path, monkeypatch):
    content = bytearray(webp("RGBA", icc_profile=PROFILE))
    content[24:30] = (16_382).to_bytes(3, "little") * 2
    (tmp_path / "image.webp").write_bytes(content)
    monkeypatch.setattr(Image, "OPEN", {})
    assert probe(tmp_path / "image.webp")[:2] == (16_383, 16_383)
