"""Damaged files are found, good ones of any kind are not."""

import warnings

import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.commands.verify import find_damaged
from tests.commands.files import noise, save


@pytest.fixture
def kinds_of_files(tmp_path):
    """Good files in folder "good", and bad ones whose header is good in "bad"."""
    root = tmp_path / "kinds"
    color = noise()
    save(root / "good" / "progressive.jpg", color, progressive=True)
    save(root / "good" / "cmyk.jpg", color.convert("CMYK"))
    save(root / "good" / "gray.jpg", color.convert("L"))
    save(root / "good" / "lossless.png", color)
    save(root / "good" / "named.jpg", color, format="WEBP")
    baseline = (save(tmp_path / "baseline.jpg", color)).read_bytes()
    progressive = (root / "good" / "progressive.jpg").read_bytes()
    (root / "bad").mkdir()
    (root / "bad" / "half.jpg").write_bytes(baseline[: len(baseline) // 2])
    (root / "bad" / "half_progressive.jpg").write_bytes(progressive[: len(progressive) // 2])
    (root / "bad" / "no_end.jpg").write_bytes(baseline[:-2])
    middle = len(baseline) // 2
    (root / "bad" / "noise.jpg").write_bytes(baseline[:middle] + b"\xff\xc4" + baseline[middle + 2 :])
    # Pillow reads a picture with a gray rest from it, and so does torchvision; nobody can tell it from one that is gray
    (root / "good" / "ended.jpg").write_bytes(baseline[:middle] + b"\xff\xd9" + baseline[middle + 2 :])
    png = (root / "good" / "lossless.png").read_bytes()
    (root / "bad" / "half.png").write_bytes(png[: len(png) // 2])
    return root


def test_verify_finds_every_damaged_file_and_no_good_one(kinds_of_files, capsys):
    assert main(["index", str(kinds_of_files)]) == 0  # their headers are good
    assert main(["index", str(kinds_of_files), "--verify"]) == 1
    out = capsys.readouterr().out
    bad = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in bad] == [
        "half.jpg",
        "half.png",
        "half_progressive.jpg",
        "no_end.jpg",
        "noise.jpg",
    ]
    assert all("/bad/" in line for line in bad)
    assert sum(": truncated at byte " in line for line in bad) == 3
    assert "bad files: 5 (each file was decoded)" in out


def test_verify_leaves_the_warning_filters_alone(kinds_of_files):
    before = list(warnings.filters)
    find_damaged(dm.ImageFolder(kinds_of_files))
    assert warnings.filters == before


def test_verify_refuses_a_file_that_claims_too_many_pixels_without_decoding_it(tmp_path):
    path = save(tmp_path / "bomb" / "a" / "x.jpg", Image.new("L", (16, 16)))
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60000).to_bytes(2) * 2
    path.write_bytes(data + bytes(8_000_000))
    assert find_damaged(dm.ImageFolder(tmp_path / "bomb")) == {
        0: "too many pixels: 60000 x 60000 is more than max_pixels=100000000"
    }
