"""What the tests draw where there are no photos is as varied as photos are, and the same each time."""

import numpy as np
import pytest
from PIL import Image

from tests.drawn_photos import CLASSES, write_photos


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    write_photos(root)
    return sorted(root.rglob("*.JPEG"))


def opened(paths):
    for path in paths:
        with Image.open(path) as image:
            image.load()
            yield image


def test_there_are_32_in_four_classes(drawn):
    assert len(drawn) == 32
    assert [sum(path.parent.name == name for path in drawn) for name in CLASSES] == [8] * 4


def test_sizes_and_encodings_vary_as_those_of_photos(drawn):
    sizes = {image.size for image in opened(drawn)}
    assert len(sizes) > 12
    assert any(width % 2 and height % 2 for width, height in sizes)
    assert {image.mode for image in opened(drawn)} == {"RGB", "L"}
    sampled = {image.layer[0][1:3] for image in opened(drawn) if image.mode == "RGB"}
    assert sampled == {(1, 1), (2, 1), (2, 2)}
    assert {bool(image.info.get("progressive")) for image in opened(drawn)} == {True, False}


def test_neighbours_differ_as_in_photos(drawn):
    """Of the photos beside the project each has 2 to 17 levels in the mean, all have 7.5."""
    small = [np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)) for image in opened(drawn)]
    means = [np.abs(np.diff(pixels.astype(int), axis=1)).mean() for pixels in small]
    assert 2 < min(means) < max(means) < 17
    assert np.mean(means) == pytest.approx(7.5, abs=1)


def test_they_are_the_same_files_each_time(drawn, tmp_path):
    write_photos(tmp_path, count=3)
    for path in tmp_path.rglob("*.JPEG"):
        assert path.read_bytes() == next(old for old in drawn if old.name == path.name).read_bytes()
