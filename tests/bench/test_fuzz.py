"""The probe keeps its promises on damaged files, and the fuzzer finds a probe that doesn't."""

import importlib.util
import io
import json
import re
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from bench import fuzz, fuzz_child, fuzz_decode, fuzz_probe
from bench.fuzz import run_round
from bench.fuzz_files import (
    KINDS,
    LARGEST_INSERT,
    Mutation,
    damaged_files,
    draw_files,
    mutate,
    repair_png,
    split_segments,
)
from bench.fuzz_mutants import DAMAGES, draw_images, draw_mutant, split_chunks
from bench.fuzz_probe import BrokenPropertyError, Tally, check
from dali_mixup.dataset.header import Header, probe
from dali_mixup.dataset.pillow import UndecodableError
from dali_mixup.decode import inspector


@pytest.fixture(scope="module")
def seeds():
    return draw_files()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "file")


def test_the_probe_keeps_its_promises_on_damaged_files(seeds, path):
    tally = Tally()
    failure = run_round(damaged_files(seeds), path, tally, examples=300, number=20261122)
    assert failure is None, f"{failure.message}\n{failure.hex}"
    assert tally.examples >= 300
    assert tally.reasons[""] > 30
    assert len(tally.reasons) > 8


def test_files_to_start_from_are_valid_and_of_all_kinds(seeds, path):
    kinds = set()
    for content in seeds:
        tally = Tally()
        check(content, path, tally)
        with Image.open(io.BytesIO(content)) as image:
            kinds.add(image.format)
    assert kinds >= {"JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"}


def raises(path):
    raise ZeroDivisionError("no")


def leaks(path, kept=[]):  # noqa: B006
    kept.append(open(path, "rb"))  # noqa: SIM115
    return probe(path)


def differs(path, calls=[]):  # noqa: B006
    calls.append(path)
    return probe(path)._replace(mtime_ns=len(calls))


def hoards(path):
    bytearray(b"x") * (100 << 20)
    return probe(path)


def dawdles(path):
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    return probe(path)


def hangs(path):
    try:
        time.sleep(10)
    except Exception:  # noqa: BLE001  a probe that swallows everything is to be stopped, too
        return probe(path)


def returns_a_tuple(path):
    return tuple(probe(path))


def says(**wrong):
    return lambda path: probe(path)._replace(**wrong)


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        (raises, r"must raise nothing, got ZeroDivisionError\('no'\)"),
        (leaks, r"must close its files, got \['/.*/file'\] left open"),
        (differs, "must give the same answer twice, got Header"),
        (hoards, r"must take at most 64 MiB, got (9\d|1\d\d) MiB"),
        (dawdles, r"must take at most 0.05 s, got 0.\d\d s"),
        (hangs, r"must come back, got nothing within 0.2 s"),
        (says(height=3, width=4, reason="odd"), r"a size or a reason, not both, got Header\(height=3"),
        (says(height=0, width=0, reason=""), r"must give a size above 0, or 0 x 0 and a reason"),
        (says(file_size=-1), r"must give a file_size of \d+, got -1"),
        (returns_a_tuple, r"must return a Header, got \("),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_defect_of_the_probe_is_found_and_named(seeds, path, monkeypatch, defect, message):
    monkeypatch.setattr(fuzz_probe, "probe", defect)
    monkeypatch.setattr(fuzz_probe, "SECONDS_LIMIT", 0.05 if defect is dawdles else 5.0)
    monkeypatch.setattr(fuzz_probe, "HANG_SECONDS", 0.2 if defect is hangs else 20.0)
    tally = Tally()
    with pytest.raises(BrokenPropertyError, match=message):
        check(seeds[0], path, tally)
    assert tally.failing == seeds[0]


def test_a_wrong_size_is_found_where_pillow_knows_better(seeds, path, monkeypatch):
    monkeypatch.setattr(fuzz_probe, "probe", lambda path: probe(path)._replace(height=7))
    with pytest.raises(BrokenPropertyError, match="must give Pillow's size of 24 x 40, got 7 x 40"):
        check(seeds[0], path, Tally())


def test_a_file_of_two_sizes_that_does_not_decode_is_no_failure(seeds, path):
    """Pillow takes the last frame header, the probe the first, and libjpeg refuses both."""
    pieces = split_segments(seeds[0])
    frame = next(piece for piece in pieces if piece[1] == 0xC0)
    other = frame[:5] + b"\0\x09\0\x07" + frame[9:]
    check(b"".join([pieces[0], other, *pieces[1:]]), path, Tally())


def test_the_smallest_failing_file_is_kept(path, monkeypatch):
    def fails_on_three_bytes(name):
        header = probe(name)
        if header.file_size >= 3:
            raise ValueError
        return header

    monkeypatch.setattr(fuzz_probe, "probe", fails_on_three_bytes)
    failure = run_round(st.binary(max_size=50), path, Tally(), examples=200, number=1)
    assert failure is not None
    assert bytes.fromhex(failure.hex) == bytes(3)
    assert failure.seed == 1
    assert "got ValueError()" in failure.message


@pytest.mark.parametrize("kind", KINDS)
def test_every_damage_works_on_every_file_and_stays_small(seeds, kind):
    changed = 0
    for content in (*seeds, b"", b"\xff\xd8", b"\xff\xd8\xff"):
        for at, count in ((0, 1), (3, 2), (999, 60_000)):
            damaged = mutate(content, Mutation(kind=kind, at=at, count=count, payload=b"\xff\0"))
            assert len(damaged) <= 2 * len(content) + LARGEST_INSERT
            changed += damaged != content
    assert changed > 10


def test_segments_make_up_the_file(seeds):
    for content in seeds:
        assert b"".join(split_segments(content)) == content
    assert len(split_segments(seeds[0])) > 5


def test_a_repaired_png_passes_pillows_check_sums(seeds):
    png = next(content for content in seeds if content.startswith(b"\x89PNG"))
    damaged = png[:19] + b"\x05" + png[20:]  # the width
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(damaged))
    with Image.open(io.BytesIO(repair_png(damaged))) as image:
        assert image.width == 5
    assert repair_png(png) == png
    assert repair_png(png[:40]) == png[:40]


def test_the_command_line_counts_every_file_and_its_reason(tmp_path, folder, seeds, capsys, monkeypatch):
    monkeypatch.setattr(fuzz, "EXAMPLES_PER_ROUND", 200)
    assert fuzz.main([str(folder), "--minutes", "0", "--seed", "5", "--json", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert f"seed 5, {len(seeds) + 23} files to start from" in shown
    assert "BROKEN" not in shown
    found = json.loads((tmp_path / "out.json").read_text())
    derived, items = found["derived"], found["results"][0]["timings"][0]["items"]
    given = {"photos": str(folder), "minutes": 0, "seed": 5, "decode": False, "rounds": None, "keep": None}
    assert found["settings"] == given | {"start_files": len(seeds) + 23}
    assert items >= 200
    assert sum(derived["reasons"].values()) == items
    assert derived["failure"] is None
    assert 0 < derived["slowest"] < fuzz_probe.SECONDS_LIMIT
    assert re.search(rf"\(good\) +{derived['reasons']['']}$", shown, re.MULTILINE)
    assert f"{items:,} files, " in shown
    assert f"{len(derived['reasons'])} different reasons" in shown


def test_a_failure_ends_the_run_with_its_bytes(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fuzz_probe, "probe", lambda path: Header(0, 0, probe(path).file_size, 0, ""))
    assert fuzz.main(["--minutes", "1", "--json", str(tmp_path / "out.json")]) == 1
    assert "BROKEN (seed " in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["derived"]["failure"]["hex"] == ""


def test_without_hypothesis_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    spec = importlib.util.spec_from_file_location("fuzz_without", fuzz.__file__)
    monkeypatch.setitem(sys.modules, "fuzz_without", module := importlib.util.module_from_spec(spec))
    with pytest.raises(SystemExit, match="must have hypothesis"):
        spec.loader.exec_module(module)


REPLACES = 29  # the seed of a round in batches of 8, centre crops, with replacements


@pytest.fixture(scope="module")
def starts():
    return draw_images()


def test_whole_images_of_each_format_are_good_and_small(starts):
    assert len({start.format for start in starts}) >= 25
    for start in starts:
        with Image.open(io.BytesIO(start.content)) as image:
            assert image.convert("RGB").size == image.size
            assert max(image.size) <= 120
        assert len(start.content) < 1 << 17


def test_chunks_make_up_the_file(starts):
    for start in starts:
        assert b"".join(split_chunks(start.content)) == start.content
        assert len(split_chunks(start.content)) >= 3, start.format


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_works_on_whole_images_and_on_nothing(starts, damage):
    rng = Random(0)
    changed = sum(DAMAGES[damage](start.content, rng, starts[0].content) != start.content for start in starts)
    assert changed > 3
    assert isinstance(DAMAGES[damage](b"", rng, b""), bytes)


def test_mutants_depend_on_the_seed_alone_and_come_from_all_formats(starts):
    drawn, again = ([draw_mutant(starts, rng) for _ in range(500)] for rng in (Random(3), Random(3)))
    assert drawn == again
    assert {mutant.format for mutant in drawn} == {start.format for start in starts}


def test_the_loader_delivers_mutants_as_pillow_reads_them(tmp_path, capsys):
    out = str(tmp_path / "out.json")
    command = ["--decode", "--minutes", "5", "--rounds", "2", "--seed", "5", "--json", out]
    assert fuzz.main([*command, "--keep", str(tmp_path / "kept")]) == 0
    derived = json.loads(Path(out).read_text())["derived"]
    total = sum((Counter(count) for count in derived["formats"].values()), Counter())
    assert derived["rounds"] == 2
    assert min(total["delivered"], total["refused"]) > 5
    assert total["mutants"] > 40
    assert derived["findings"] == derived["failures"] == []
    shown = capsys.readouterr().out
    assert f"{total['mutants']} mutants in 2 rounds" in shown
    assert re.search(rf"^all +{total['mutants']} ", shown, re.MULTILINE)
    assert len(list((tmp_path / "kept").iterdir())) >= 64


@pytest.mark.parametrize("wrong", [["--rounds", "2"], ["--keep", "x"], ["--decode", "photos"]])
def test_options_of_the_other_mode_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        fuzz.main(wrong)
    assert "must be given with" in capsys.readouterr().err


def brighter(source, size, real=inspector.decode_source):
    pixels = real(source, size).copy()
    pixels[pixels.shape[0] // 2] ^= 1
    return pixels


def black(source, size, real=inspector.decode_source):
    try:
        return real(source, size)
    except UndecodableError:
        return np.zeros((*size, 3), np.uint8)


def refusing(source, size):
    raise UndecodableError("no")


@pytest.mark.parametrize(
    ("defect", "kinds"),
    [
        (brighter, {"pixels differ", "a good neighbour changed"}),
        (black, {"delivered where Pillow refuses"}),
        (refusing, {"refused where Pillow delivers", "a good neighbour changed"}),
    ],
)
@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning", "ignore::UserWarning:PIL")
def test_a_wrong_decoder_is_found(starts, tmp_path, monkeypatch, defect, kinds):
    """The run without mutants is left as it is, as if it were the mutants that made the difference."""
    real, calls = fuzz_child.deliver, []

    def deliver(paths, way):
        calls.append(paths)
        with monkeypatch.context() as patched:
            if len(calls) == 2:
                patched.setattr(inspector, "decode_source", defect)
            return real(paths, way)

    monkeypatch.setattr(fuzz_child, "deliver", deliver)
    tally = fuzz_decode.DecodeTally()
    tally.add(fuzz_child.run_round(REPLACES, starts, tmp_path))
    assert {finding["kind"] for finding in tally.findings} == kinds
    assert {finding["seed"] for finding in tally.findings} == {REPLACES}
    assert tally.passed == ("a good neighbour changed" not in kinds)


@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning", "ignore::UserWarning:PIL")
def test_growing_memory_is_a_failure(starts, tmp_path, monkeypatch):
    real, calls = fuzz_child.deliver, []

    def deliver(paths, way):
        calls.append(paths)
        return replace(real(paths, way), peak=(1 << 30) * len(calls))

    monkeypatch.setattr(fuzz_child, "deliver", deliver)
    tally = fuzz_decode.DecodeTally()
    tally.add(fuzz_child.run_round(REPLACES, starts, tmp_path))
    assert [failure["kind"] for failure in tally.failures] == ["memory"]
    assert tally.memory_ratio == 64
    assert not tally.passed


DEATHS = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "hang": ("time.sleep(60)", "hang: nothing for 3 s"),
    "memory": ("kept = bytearray(b'x') * (400 << 20); time.sleep(60)", r"memory: 0\.\d GiB"),
    "error": ("say('end', error='no', traceback='')", "no"),
}


@pytest.mark.parametrize("kind", DEATHS)
def test_the_end_of_a_process_is_a_failure_with_its_seed(kind, tmp_path, monkeypatch, capsys):
    death, text = DEATHS[kind]
    (tmp_path / "dying.py").write_text(
        f"""import json, os, signal, sys, time
seed, count = int(sys.argv[1]), int(sys.argv[2])
def say(event, **more):
    print(json.dumps(dict(event=event, seed=seed, **more)), flush=True)
for seed in range(seed, seed + count):
    say("begin", way="none")
    say("phase", phase="with mutants")
    if seed == 12:
        print("so it ends", file=sys.stderr, flush=True)
        {death}
    else:
        say("end", way="none", counts={{}}, findings=[], memory_ratio=0)
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, value in (("CHILD", "dying"), ("HANG_SECONDS", 3.0), ("MOST_BYTES", 300 << 20)):
        monkeypatch.setattr(fuzz_decode, name, value)
    out = tmp_path / "out.json"
    command = ["--decode", "--seed", "10", "--rounds", "5", "--minutes", "5", "--json", str(out)]
    assert fuzz.main(command) == 1
    derived = json.loads(out.read_text())["derived"]
    (failure,) = derived["failures"]
    assert (failure["kind"], failure["seed"]) == (kind, 12)
    assert re.fullmatch(text, failure["text"])
    assert failure["again"] == [kind]
    assert derived["rounds"] == 4
    if kind != "error":
        assert failure["phase"] == "with mutants"
        assert "so it ends" in failure["stderr"]
    assert f"FAILED (--decode --seed 12 --rounds 1): {kind}: {failure['text']}" in capsys.readouterr().out
