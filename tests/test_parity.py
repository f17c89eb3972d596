"""What the library states of its parity is what `bench.parity` measures."""

import json
import re
from dataclasses import replace

import pytest

from bench import parity
from bench.parity_cases import build_cases
from dali_mixup.decode.scaled import MOST_IN_MEAN
from dali_mixup.parity import Parity
from dali_mixup.translation.pixel_table import AUG_MIX, NOISE, TABLE
from dali_mixup.translation.step_table import MIRRORED, MIRRORED_NEAREST

CASES = build_cases()


@pytest.fixture(scope="module")
def sources(photos, tmp_path_factory):
    files = sorted(str(path) for path in photos.glob("*/*"))
    return parity.Photos.prepare(files, str(tmp_path_factory.mktemp("copies")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}, {case.options}")
def test_no_transform_differs_by_more_than_the_library_states(sources, case):
    found = parity.measure(case, sources.of(case), epochs=2)
    assert found.holds, found
    assert (found.parity == "by parts") == case.chain
    if found.parity == Parity.APPROXIMATE:
        assert found.largest > 1.01, f"{found} is better than that"
    if found.parity == Parity.ONE_LEVEL:
        assert found.largest > 0.01, f"{found} is exact"


NOTES = {
    "AugMix, bilinear": AUG_MIX,
    "CenterCrop, 201 of 224, after a flip": MIRRORED,
    "RandomErasing, after Normalize, random": NOISE,
    "Resize, (100, 100), nearest, after a flip": MIRRORED_NEAREST,
}


@pytest.mark.parametrize("name", NOTES)
def test_notes_give_the_differences_that_are_measured(sources, name):
    (case,) = [case for case in CASES if f"{case.name}, {case.options}" == name]
    mean, largest = map(float, re.search(r"by ([\d.]+) levels in the mean, ([\d.]+) at most", NOTES[name]).groups())
    found = parity.measure(case, sources.small, epochs=5)
    assert found.mean == pytest.approx(mean, rel=0.25)
    assert 0.8 * largest < found.largest <= largest


def test_scaled_decode_is_near_in_the_mean_and_not_at_each_pixel(sources):
    scaled = [case for case in CASES if case.scaled]
    assert len(scaled) >= 3
    exact = replace(scaled[0], scaled=False)
    assert parity.measure(exact, sources.large, epochs=1).largest <= 1.01
    found = parity.measure(scaled[0], sources.large, epochs=1)
    assert found.parity == Parity.APPROXIMATE
    assert 0.1 < found.mean < MOST_IN_MEAN == found.most_in_mean
    assert not replace(found, mean=0.61).holds


def test_every_transform_of_pixels_is_measured():
    named = {name for case in CASES for name in re.findall(r"\w+", f"{case.name} {case.options} {case.transform!r}")}
    assert set(TABLE) <= named


def test_a_statement_that_does_not_hold_is_marked_and_fails(sources, monkeypatch, capsys, tmp_path):
    folder = sources.whole[0].rsplit("/", 1)[0]
    resize = next(case for case in CASES if case.options == "256, 224, bilinear")
    monkeypatch.setattr(parity, "build_cases", lambda: [resize])
    assert parity.main([folder, "--json", str(tmp_path / "parity.json")]) == 0
    assert "NOT" not in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "parity.json").read_text())["derived"]["differences"]
    assert (row["name"], row["parity"]) == ("Resize, CenterCrop", "within one level")
    assert not parity.Difference(
        name="", options="", parity="within one level", mean=0.0, largest=2.0, beyond=1e-5
    ).holds
    assert not parity.Difference(
        name="", options="", parity="within one level", mean=0.0, largest=3.0, beyond=1e-9
    ).holds
    monkeypatch.setattr(parity, "_stated", lambda case, pipeline: "exact")
    assert parity.main([folder]) == 1
    assert re.search(r"1\.00 +0  NOT exact", capsys.readouterr().out)
