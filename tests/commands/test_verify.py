"""Damaged files are found, good ones of any kind are not."""

import warnings

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.__main__ import main
from dali_mixup.commands.verify import find_damaged
from tests.commands.files import noise, save
from tests.conftest import jpeg_bytes
from tests.decode.made_files import files
from tests.mutants import KINDS


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


@pytest.mark.filterwarnings("ignore")
def test_verify_finds_what_a_loader_replaces_and_nothing_else(tmp_path):
    contents = list(files().values())
    for seed, kind in enumerate(list(KINDS) * 4):
        rng = np.random.default_rng(seed)
        photo = jpeg_bytes(61, 47, seed, progressive=seed % 3 == 0, restart_marker_rows=seed % 2)
        contents.append(KINDS[kind](photo, rng))
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for i, content in enumerate(contents):
        (tmp_path / "photos" / "a" / f"{i:03}.jpg").write_bytes(content)
    dataset = dm.ImageFolder(tmp_path / "photos", cache=False, progress=False)
    found = dataset.bad_files | find_damaged(dataset)
    options = {"on_bad_sample": "replace", "max_bad_fraction": 1.0, "device": "cpu"}
    made = dm.Loader(dataset, dm.ImagePipeline(geometry=dm.Resize((24, 24))), batch_size=32, **options)
    assert sum(len(targets) for _, targets in made) == len(contents)
    replaced = {number: reason.removesuffix("; replaced") for number, _, reason in made.bad_samples}
    assert sorted(found) == sorted(replaced)
    assert {i: (found[i], replaced[i]) for i in found if found[i] != replaced[i]} == {}
    assert 60 < len(found) < len(contents) - 60
