"""`bench.gpu_check` as a whole on the CPU, where all but what needs CUDA runs, and how it judges."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from bench import gpu_check, gpu_smoke, gpu_throughput, machine
from bench.command import build_parser
from bench.feed import Feed
from bench.gpu_check import NAMES, Options, Part, Place, limit_of, make_parts, run_part
from bench.gpu_cifar10 import describe, time_to
from bench.gpu_data import read_sheet
from bench.gpu_report import (
    NOT_RUN,
    Outcome,
    Reach,
    judge,
    make_report,
    read_outcomes,
    read_records,
    read_tests,
    write_report,
)
from bench.report import Report, make_stamp, read_json, write_json
from tests.conftest import jpeg_bytes

ROOT = Path(__file__).parents[2]
BLOCKED = (
    *("timm", "scipy", "hypothesis", "matplotlib", "lightning", "torchdata", "accelerate", "turbojpeg", "psutil"),
    *("datasets", "torchmetrics", "webdataset", "lmdb", "fsspec", "ffcv", "spdl"),
)
BARE_MACHINE = f"""
import importlib.machinery
real = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.partition(".")[0] in {BLOCKED} else real(name, *rest)
)
"""


def python(code, name="part", seconds=30.0, **options):
    return Part(name=name, arguments=("-c", code), seconds=seconds, **options)


def run(part, folder, limit_s=30.0):
    """The outcome, and those that were kept before it."""
    kept = []
    place = Place(scratch=folder, log=folder / "log", environment={})
    return run_part(part, place, limit_s, kept.append), kept


def is_over(process):
    """Whether a process has ended, or does within some seconds."""
    status, end = Path("/proc", str(process), "stat"), time.monotonic() + 10
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    return not status.exists() or status.read_text().split()[2] == "Z"


def run_check(data, out, *options, environment=None):
    command = [sys.executable, "-m", "bench.gpu_check", str(data), "--out", str(out), "--device", "cpu", *options]
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What `prepare` makes of 26 drawn photos, and of as many images of 32 x 32 in two splits."""
    place = tmp_path_factory.mktemp("prepared")
    for number in range(26):
        path = place / "photos" / "abc"[number % 3] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg_bytes(70 + number, 90 - number, seed=number))
        for split in ("train", "test"):
            small = place / "cifar" / split / "abc"[number % 3] / f"{number:02}.jpg"
            small.parent.mkdir(parents=True, exist_ok=True)
            small.write_bytes(jpeg_bytes(32, 32, seed=number))
    arguments = ["prepare", str(place / "photos"), "--cifar", str(place / "cifar"), "--out", str(place / "made")]
    assert gpu_check.main(arguments) == 0
    return place / "made"


def test_what_is_prepared_holds_all_photos_their_packs_and_cifar10(prepared):
    photos = dm.ImageFolder(prepared / "photos", progress=False)
    assert len(photos) == 26
    for name in ("lossless", "shrunk"):
        pack = dm.PackedDataset(prepared / "packs" / name)
        assert pack.targets.tolist() == photos.targets.tolist()
    assert (dm.PackedDataset(prepared / "packs" / "lossless").pixels(5) == photos.pixels(5)).all()
    images = read_sheet(prepared / "cifar10" / "train", "cpu")
    original = dm.ImageFolder(prepared.parent / "cifar" / "train", progress=False)
    assert images.targets.tolist() == original.targets.tolist()
    for number in range(26):
        difference = images.pixels(number).astype(int) - original.pixels(number)
        assert abs(difference).mean() < 4  # another image would be tens off
    few = read_sheet(prepared / "cifar10" / "train", "cpu", 13)
    assert few.targets.tolist() == original.targets.tolist()[::2]
    assert (few.pixels(3) == images.pixels(6)).all()


def test_prepare_takes_photos_evenly_up_to_a_size_and_overwrites_nothing(tmp_path, capsys):
    photos, out, noise = tmp_path / "photos", tmp_path / "some", np.random.default_rng(0)
    for number in range(24):
        path = photos / "abc"[number // 8] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (200, 700, 3), np.uint8)).save(path)
    size = sum(path.stat().st_size for path in photos.rglob("*.jpg"))
    assert gpu_check.main(["prepare", str(photos), "--out", str(out), "--megabytes", str(size / 1e6)]) == 0
    assert re.search(rf"^{out}: \d\.\d MB \(packs \d\.\d, photos \d\.\d\)$", capsys.readouterr().out, re.MULTILINE)
    assert 0.7 * size < sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) <= size
    taken = [path.name for path in sorted((out / "photos").rglob("*.jpg"))]
    assert taken[0] == "00.jpg"
    assert taken[-1] == "23.jpg"
    assert len({int(name[:2]) // 8 for name in taken}) == 3
    assert not (out / "cifar10").exists()
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main(["prepare", str(photos), "--out", str(out)])
    assert "exists; remove it" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="--megabytes must be more"):
        gpu_check.main(["prepare", str(photos), "--out", str(tmp_path / "none"), "--megabytes", "0.001"])


def test_the_whole_check_runs_on_a_bare_machine(prepared, tmp_path):
    """Without a network, jpegtran, libturbojpeg and all packages but torch's and DALI's."""
    out, bare = tmp_path / "out", tmp_path / "bare"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(BARE_MACHINE)
    (bare / "bin").mkdir()
    path = os.pathsep.join([str(bare), str(ROOT)])
    machine = {"PYTHONPATH": path, "PATH": str(bare / "bin"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = run_check(prepared, out, environment=machine)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    report = read_json(out / "gpu_check.json")
    parts = report.derived["parts"]
    assert list(parts) == list(NAMES)
    assert {name: part["state"] for name, part in parts.items()} == dict.fromkeys(NAMES, "done")
    tests = parts["tests"]["found"]["derived"]
    assert set(tests["tests"].values()) == {"PASSED"}
    assert {record["what"] for record in tests["pixels"]} == {"cmyk"}
    assert {path.name for path in out.iterdir()} == {"gpu_check.json", "gpu_check.md", "gpu_check.log"}
    names = {result["name"] for part in ("throughput", "sweeps") for result in parts[part]["found"]["results"]}
    assert names >= {"batch 4: ours", "batch 4: DALI without mixup", "hints: size hints on"}
    assert {kind["error"] for kind in parts["smoke"]["found"]["derived"]["kinds"].values()} == {""}
    assert len(parts["pack"]["found"]["results"]) == 6
    text = (out / "gpu_check.md").read_text()
    assert "its figures mean nothing" in text
    titles = ("Reaches", "Parts", "Tests", "Kinds of Loaders", "Throughput", "Stage", "Packs", "Settings", "CIFAR-10")
    for title in (*titles, "Memory without size hints", "Memory with size hints"):
        assert f"## {title}" in text
    assert text.strip() in done.stdout


def test_a_part_may_be_repeated_beside_what_others_found(folder, tmp_path):
    first = run_check(folder, tmp_path, "--part", "memory", "cifar10")
    assert first.returncode == 0, first.stderr  # what has no data is skipped
    before = read_json(tmp_path / "gpu_check.json").derived["parts"]
    assert (before["memory"]["state"], before["cifar10"]["state"]) == ("done", "skipped")
    assert "wasn't made by `prepare`" in before["cifar10"]["error"]
    assert run_check(folder, tmp_path, "--part", "stage").returncode == 0
    after = read_json(tmp_path / "gpu_check.json").derived["parts"]
    assert list(after) == ["stage", "cifar10", "memory"]
    assert after["memory"] == before["memory"]


def test_a_part_says_in_words_why_it_failed(tmp_path):
    outcome, _ = run(python("import sys; print('one'); sys.exit('the disk is full')"), tmp_path)
    assert (outcome.state, outcome.error) == ("failed", "exit status 1: one; the disk is full")
    outcome, _ = run(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), tmp_path)
    assert outcome.error == "killed by SIGKILL"
    outcome, _ = run(python("pass"), tmp_path, 1)
    assert (outcome.state, outcome.error) == ("cut", "no time was left for it")
    assert run(python("pass", skipped="no data"), tmp_path)[0].state == "skipped"


def test_a_part_that_hangs_ends_with_its_children_and_what_it_wrote_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "LEAST_S", 0.0)
    code = f"""
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
pathlib.Path({str(tmp_path)!r}, "child").write_text(str(child.pid))
pathlib.Path({str(tmp_path)!r}, "part.json").write_text('{{"half": 1}}')
time.sleep(100)
"""
    monkeypatch.setattr(gpu_check, "GRACE_S", 0.2)
    outcome, kept = run(python(code), tmp_path, 2.0)
    assert (outcome.state, outcome.error, outcome.found) == ("cut", "stopped at its limit of 2 s", {"half": 1})
    assert [(each.state, each.found) for each in kept] == [("running", {"half": 1})]
    assert is_over((tmp_path / "child").read_text())


def test_after_a_part_that_hangs_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "LEAST_S", 0.0)
    parts = [python("import time; time.sleep(100)", "smoke", 1.0), python("pass", "stage", 10.0)]
    monkeypatch.setattr(gpu_check, "make_parts", lambda options, scratch: parts)
    out = tmp_path / "out"
    arguments = [str(tmp_path), "--out", str(out), "--device", "cpu", "--minutes", "0.18"]
    assert gpu_check.main(arguments) == 1
    found = read_json(out / "gpu_check.json").derived["parts"]
    assert {name: part["state"] for name, part in found.items()} == {"smoke": "cut", "stage": "done"}
    assert "- smoke: stopped at its limit of 1 s" in (out / "gpu_check.md").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_check_that_is_ended_in_the_middle_leaves_all_measurements(folder, tmp_path, number):
    command = [sys.executable, "-m", "bench.gpu_check", str(folder), "--out", str(tmp_path), "--device", "cpu"]
    check = subprocess.Popen([*command, "--part", "throughput"], cwd=ROOT, stdout=subprocess.DEVNULL)
    report, end, part = tmp_path / "gpu_check.json", time.monotonic() + 100, ""
    while not report.exists() and check.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
        part = Path(f"/proc/{check.pid}/task/{check.pid}/children").read_text().strip() or part
    check.send_signal(number)
    check.wait(30)
    if number == signal.SIGKILL:
        os.killpg(int(part), number)
    assert is_over(part)
    running = read_json(report).derived["parts"]["throughput"]
    assert running["state"] == "running"
    assert "batch 4: DALI without mixup" in [result["name"] for result in running["found"]["results"]]
    assert read_outcomes(report)["throughput"].error == "the check ended before it"


def test_figures_are_kept_after_each_round(folder):
    """So that a part which is cut off in the middle of a comparison leaves the rounds before."""
    options = gpu_throughput.Options(
        data=str(folder),
        batch_sizes=(4,),
        threads=(1,),
        loads=(0.0,),
        workers=1,
        batches=1,
        rounds=3,
        size=32,
        device="cpu",
    )
    course = gpu_throughput.measure(options)
    seen = [{result.name: len(result.timings) for result in found.results} for found in course]
    assert [each["batch 4: ours"] for each in seen] == [1, 2, 3, 3, 3, 3, 3, 3, 3]
    assert [each.get("batch 4, torchvision: torchvision DataLoader", 0) for each in seen] == [0, 0, 0, 0, 0, 0, 1, 2, 3]
    assert next(iter(seen[0])) == "batch 4: DALI without mixup"


def test_without_psutil_the_whole_machine_counts_as_this_process(monkeypatch):
    """So that a turn ends when its worker processes have filled their queues."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    before = machine.read_cpu()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.5)
    busy = machine.read_cpu()
    child.kill()
    child.wait()
    assert busy.tree - before.tree > 0.05
    assert machine.cores_of_others(before, busy) == 0


def test_what_a_part_prints_too_much_is_cut_from_the_middle(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "LOG_BYTES", 100)
    for first in "ab":
        run(python(f"print('{first}' * 80); print('z' * 80)"), tmp_path)
    assert (tmp_path / "log").read_text().split() == [x for first in "ab" for x in (first * 50, "[...]", "z" * 49)]


def test_limits_stay_below_six_minutes_and_saved_time_goes_on(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: True)
    parts = make_parts(Options(data=str(prepared), out=""), tmp_path)
    assert [part.name for part in parts] == list(NAMES)
    assert not any(part.skipped for part in parts)
    assert sum(part.seconds for part in parts) <= 360
    first, *later = parts
    total = sum(part.seconds for part in parts)
    assert limit_of(first, later, total) == first.seconds
    assert limit_of(first, later, total + 9) == first.seconds + 9
    assert limit_of(parts[-1], [], 42) == 42
    for part in parts:  # none of which can run here: at least each benchmark takes its arguments
        _, module, *arguments = part.arguments
        if module != "pytest":
            parser = build_parser(import_module(module).bench.options, module, "")
            parser.add_argument("--json")
            given = parser.parse_args(arguments)
            assert (given.device, given.json) == ("cuda", str(tmp_path / f"{part.name}.json"))


def measured(**changes):
    """The figures of a check in which each aim is reached, but for what is changed."""
    good = {
        "kinds": {"mixup": {"error": ""}, "tar": {"error": ""}},
        "ratios": {
            "batch 256": {gpu_throughput.DALI: {"median": 0.98}},
            "batch 256, torchvision": {gpu_throughput.TORCHVISION: {"median": 5.5}},
        },
        "shares": {"mixup float32 NCHW 64": 0.2, "mixup float16 NHWC 1024": 0.71, "plain float16 NHWC 1024": 0.1},
        "memory": {"peak_bytes": 1000, "warm_bytes": 970, "whole": True},
        "averaged": 0.941,
        "seconds": 14.0,
        "images": 50_000,
        "tests": {"a": "PASSED", "b": "SKIPPED"},
    } | changes
    run = {"outcome": {"averaged": good["averaged"]}, "seconds_to_goal": good["seconds"]}
    return judge(
        {
            "smoke": {"kinds": good["kinds"]},
            "throughput": {"ratios": good["ratios"]},
            "stage": {"shares": good["shares"]},
            "tests": {"tests": good["tests"]},
            "memory": good["memory"],
            "memory_hints": good["memory"],
            "cifar10": {"images": good["images"], "runs": [run]},
        }
    )


@pytest.mark.parametrize(
    ("part", "corrupted"),
    [
        ("smoke", {"kinds": {"mixup": {"error": ""}, "tar": {"error": "RuntimeError: out of memory"}}}),
        ("throughput", {"ratios": {"batch 64": {gpu_throughput.DALI: {"median": 0.96}}}}),
        ("throughput", {"ratios": {"batch 64": {gpu_throughput.TORCHVISION: {"median": 4.9}}}}),
        ("stage", {"shares": {"mixup float32 NCHW 1024": 0.8, "mixup float16 NHWC 1024": 0.69}}),
        ("memory", {"memory": {"peak_bytes": 1000, "warm_bytes": 940, "whole": True}}),
        ("memory_hints", {"memory": {"peak_bytes": 1000, "warm_bytes": 940, "whole": True}}),
        ("cifar10", {"averaged": 0.939}),
        ("cifar10", {"seconds": 15.1}),
        ("cifar10", {"seconds": None}),
        ("tests", {"tests": {"a": "PASSED", "c": "FAILED"}}),
        ("tests", {"tests": {"a": "PASSED", "c": NOT_RUN}}),
    ],
)
def test_every_aim_can_be_missed(part, corrupted):
    assert {reach.verdict for reach in measured()} == {"reached"}
    missed = {reach.part for reach in measured(**corrupted) if reach.verdict == "not reached"}
    assert part in missed
    assert {reach.verdict for reach in judge({})} == {"not measured"}
    assert {reach.part for reach in measured()} == set(NAMES) - {"pack", "sweeps"}
    assert Reach(part="", aim="", least=1.0, value=1.0).verdict == "reached"


@pytest.mark.parametrize(
    ("part", "partial"),
    [
        ("memory", {"memory": {"peak_bytes": 1000, "warm_bytes": 1000, "whole": False}}),
        ("memory", {"memory": {"peak_bytes": 0, "warm_bytes": 0, "whole": True}}),
        ("cifar10", {"images": 2000}),
        ("stage", {"shares": {"plain float16 NHWC 1024": 0.9}}),
        ("throughput", {"ratios": {}}),
    ],
)
def test_what_was_cut_off_or_has_other_data_is_not_taken_for_a_measurement(part, partial):
    assert {reach.verdict for reach in measured(**partial) if reach.part == part} == {"not measured"}


@pytest.mark.parametrize(("share", "status"), [(0.71, 0), (0.69, 1)])
def test_the_exit_status_says_whether_an_aim_was_missed(tmp_path, monkeypatch, share, status):
    def found_before(part, place, limit_s, keep):
        found = {"derived": {"shares": {"mixup float32 NCHW 64": share}}} if part.name == "stage" else None
        return Outcome(name=part.name, state="done", found=found)

    stamp = make_stamp()
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_check, "run_part", found_before)
    monkeypatch.setattr(gpu_check, "make_stamp", lambda _: stamp)
    monkeypatch.setattr(gpu_check, "write_report", lambda report, out: write_json(report, out / "gpu_check.json"))
    (tmp_path / "gpu_check.md").write_text("")
    assert gpu_check.main([str(tmp_path), "--out", str(tmp_path), "--part", "stage"]) == status
    assert gpu_check.main([str(tmp_path), "--out", str(tmp_path), "--part", "memory"]) == 1  # it measured nothing


@pytest.mark.parametrize("wrong", ["images", "targets", "nan", "error"])
def test_a_kind_that_goes_wrong_is_named_and_stops_no_other(folder, monkeypatch, wrong):
    original, calls = gpu_smoke._batches, []

    def corrupt(kind, options, device):
        calls.append(kind)
        batches = original(kind, options, device)
        is_ours = len(calls) % 2 == 1  # the CPU's come second
        return damaged(batches) if is_ours and kind.options.get("dtype") == torch.bfloat16 else batches

    def damaged(batches):
        if wrong == "error":
            raise RuntimeError("out of memory")
        for images, targets in batches:
            off = {"images": 0.5, "nan": float("nan")}.get(wrong, 0.0)
            yield images + off, targets + (wrong == "targets")

    monkeypatch.setattr(gpu_smoke, "_batches", corrupt)
    *_, found = gpu_smoke.measure(gpu_smoke.Options(data=str(folder), batch_size=4, batches=1, size=32, device="cpu"))
    bad = {name for name, each in found.derived["kinds"].items() if each["error"]}
    assert bad == {"bfloat16"}
    assert not found.passed


ALONE = "tests/a.py::one[after the index] PASSED [ 3%]\ntests/a.py::two FAILED [ 6%]\ntests/a.py::three"
BY_WORKERS = "[gw0] [ 25%] PASSED tests/a.py::one[after the index] \n[gw3] [100%] FAILED tests/a.py::two "


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("collected 4 items", ALONE),
        ("collecting ... collected 9 items / 5 deselected / 4 selected", ALONE),
        ("created: 4/4 workers\n4 workers [4 items]", BY_WORKERS),
    ],
)
def test_tests_that_did_not_run_any_more_count_against_the_aim(tmp_path, line, lines):
    log = f"{line}\n\n{lines}"
    tests = read_tests(log)
    assert tests == {
        "tests/a.py::one[after the index]": "PASSED",
        "tests/a.py::two": "FAILED",
        "later 1": NOT_RUN,
        "later 2": NOT_RUN,
    }
    (tmp_path / "records").write_text('{"what": "photos", "load": 0.0, "mean": 0.25, "max": 3}\n{"what": "ph')
    found = {"derived": {"tests": tests, "pixels": read_records(tmp_path / "records")}}
    report = make_report(make_stamp(), {}, [Outcome(name="tests", state="cut", error="stopped", found=found)])
    (reach,) = [each for each in report.derived["reaches"] if each["part"] == "tests"]
    assert (reach["value"], reach["missed"]) == (0.25, True)
    write_report(report, tmp_path)
    text = (tmp_path / "gpu_check.md").read_text()
    assert "1 passed, 1 failed, 2 not run\n\n- `tests/a.py::two`" in text
    assert re.search(r"^photos +0\.000 +0\.250 +3$", text, re.MULTILINE)


def test_figures_that_no_table_can_show_stop_nothing(tmp_path):
    stage = {"benchmark": "gpu_stage", "unit": "", "stamp": asdict(make_stamp()), "results": [], "derived": {}}
    write_report(make_report(make_stamp(), {}, [Outcome(name="stage", state="running", found=stage)]), tmp_path)
    assert "KeyError: 'shares'; the figures stand in gpu_check.json" in (tmp_path / "gpu_check.md").read_text()
    assert read_json(tmp_path / "gpu_check.json").derived["parts"]["stage"]["found"] == stage


def test_the_time_to_an_accuracy():
    epochs = [{"seconds": 2.0, "test_accuracy": accuracy} for accuracy in (0.5, 0.94, 0.95)]
    assert time_to(0.94, epochs, 0.96) == 4.0
    assert time_to(0.955, epochs, 0.96) == 6.0
    assert time_to(0.97, epochs, 0.96) is None
    outcome = {"epochs": epochs, "averaged": 0.96, "accuracy": 0.95, "waiting": 0.1}
    run = {"name": "seed 0", "outcome": outcome, "seconds_to_goal": 4.0}
    made = Report(benchmark="cifar10", unit="", stamp=make_stamp(), derived={"runs": [run]})
    assert re.search(r"^seed 0 +0\.9500 +0\.9600 +4\.0 +6\.0 +0\.100$", describe(made), re.MULTILINE)


def test_without_a_gpu_the_check_says_so(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main([str(folder), "--out", str(tmp_path)])
    assert "torch finds no GPU; --device cpu" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main([str(tmp_path / "none"), "--out", str(tmp_path)])
    assert "none is no folder" in capsys.readouterr().err


def test_a_loader_that_does_not_start_is_a_line_of_the_report():
    options = gpu_throughput.Options(data="", rounds=1, batches=1)
    course = gpu_throughput.Course(options=options, deadline=time.monotonic() + 100)

    def fail():
        raise RuntimeError("out of memory")

    assert not list(course.run("batch 4", [course.rival("theirs", Feed(paths=(), labels=(), classes=1), fail)]))
    assert course.missing == {"batch 4: theirs": "RuntimeError: out of memory"}
    course.deadline = time.monotonic() + 1
    assert not list(course.run("batch 8", []))
    assert course.missing["batch 8"] == "no time was left"


def test_gpu_tests_are_collected_where_nothing_but_torch_is_installed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BARE_MACHINE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--collect-only", "-p", "no:cacheprovider"]
    blocked = [sys.executable, "-c", f"import importlib.util as u; print([u.find_spec(name) for name in {BLOCKED}])"]
    shown = subprocess.run(blocked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == str([None] * len(BLOCKED))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    made_for_gpus = {f"tests/gpu/test_gpu_{name}.py" for name in ("decoding", "stage", "loader")}
    assert collected >= made_for_gpus | {
        "tests/stage/test_triton_kernel.py",
        "tests/test_loader.py",
        "tests/transforms/test_pixels.py",
    }
