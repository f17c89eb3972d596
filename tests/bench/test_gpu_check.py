"""`bench.gpu_check` as a whole on the CPU, where all but what needs CUDA runs, and how it judges."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import dali_mixup as dm
from bench import gpu_check, gpu_smoke, gpu_throughput
from bench.feed import Feed
from bench.gpu_check import NAMES, Part, limit_of, make_parts, run_part
from bench.gpu_cifar10 import describe, time_to
from bench.gpu_data import read_sheet
from bench.gpu_report import Outcome, Reach, judge, make_report, write_report
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


def test_prepare_takes_photos_evenly_up_to_a_size_and_overwrites_nothing(prepared, tmp_path, capsys):
    photos = prepared.parent / "photos"
    size = sum(path.stat().st_size for path in photos.rglob("*.jpg"))
    gpu_check.main(["prepare", str(photos), "--out", str(tmp_path / "some"), "--megabytes", str(size / 4e6)])
    taken = [path.name for path in sorted((tmp_path / "some" / "photos").rglob("*.jpg"))]
    assert len(taken) in (6, 7)
    assert {name[0] for name in taken} == {"0", "1", "2"}
    assert not (tmp_path / "some" / "cifar10").exists()
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main(["prepare", str(photos), "--out", str(tmp_path / "some")])
    assert "exists; remove it" in capsys.readouterr().err


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
    assert set(report.derived["tests"].values()) == {"PASSED"}
    assert {record["what"] for record in report.derived["pixels"]} == {"cmyk"}
    names = {result["name"] for part in ("throughput", "sweeps") for result in parts[part]["found"]["results"]}
    assert names >= {"batch 4: ours", "batch 4: DALI without mixup", "hints: size hints on"}
    assert {kind["error"] for kind in parts["smoke"]["found"]["derived"]["kinds"].values()} == {""}
    assert len(parts["pack"]["found"]["results"]) == 3
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
    assert list(after) == ["stage", "memory", "cifar10"]
    assert after["memory"] == before["memory"]


def test_a_part_says_in_words_why_it_failed(tmp_path):
    outcome = run_part(python("import sys; print('one'); sys.exit('the disk is full')"), tmp_path, 30)
    assert (outcome.state, outcome.error) == ("failed", "exit status 1: one; the disk is full")
    outcome = run_part(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), tmp_path, 30)
    assert outcome.error == "killed by SIGKILL"
    assert run_part(python("pass"), tmp_path, 1).error == "no time was left for it"
    assert run_part(python("pass", skipped="no data"), tmp_path, 30).state == "skipped"


def test_a_part_that_takes_too_long_ends_with_its_children_and_what_it_wrote_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "LEAST_S", 0.0)
    code = f"""
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
pathlib.Path({str(tmp_path)!r}, "child").write_text(str(child.pid))
pathlib.Path({str(tmp_path)!r}, "part.json").write_text('{{"half": 1}}')
time.sleep(100)
"""
    outcome = run_part(python(code), tmp_path, 2.0)
    assert (outcome.state, outcome.error, outcome.found) == ("failed", "stopped at its limit of 2 s", {"half": 1})
    status = Path("/proc", (tmp_path / "child").read_text(), "stat")
    end = time.monotonic() + 10
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_file_of_an_earlier_run_does_not_count(tmp_path):
    (tmp_path / "part.json").write_text('{"old": 1}')
    assert run_part(python("pass"), tmp_path, 30).found is None


def test_a_run_that_is_cut_off_leaves_its_report(folder, tmp_path):
    command = [sys.executable, "-m", "bench.gpu_check", str(folder), "--out", str(tmp_path), "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "--part", "stage", "memory"], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 100
    while not (tmp_path / "gpu_check.json").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(30)
    parts = json.loads((tmp_path / "gpu_check.json").read_text())["derived"]["parts"]
    assert parts["stage"]["state"] == "done"


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
    assert [each["batch 4: ours"] for each in seen] == [1, 2, 3, 3, 3, 3]
    assert [each.get("batch 4, torchvision: torchvision DataLoader", 0) for each in seen] == [0, 0, 0, 1, 2, 3]
    assert next(iter(seen[0])) == "batch 4: DALI without mixup"


def test_limits_stay_below_six_minutes_and_saved_time_goes_on(prepared, tmp_path):
    parts = make_parts(str(prepared), tmp_path, on_gpu=True)
    assert [part.name for part in parts] == list(NAMES)
    assert not any(part.skipped for part in parts)
    assert sum(part.seconds for part in parts) <= 360
    first, *later = parts
    total = sum(part.seconds for part in parts)
    assert limit_of(first, later, total) == first.seconds
    assert limit_of(first, later, total + 9) == first.seconds + 9
    assert limit_of(parts[-1], [], 42) == 42


def measured(**changes):
    """The figures of a check in which each aim is reached, but for what is changed."""
    good = {
        "kinds": {"mixup": {"error": ""}, "tar": {"error": ""}},
        "ratios": {
            "batch 64": {gpu_throughput.DALI: {"median": 0.98}},
            "batch 256, torchvision": {gpu_throughput.TORCHVISION: {"median": 5.5}},
        },
        "shares": {"mixup float32 NCHW 64": 0.2, "mixup float16 NHWC 1024": 0.71, "plain float16 NHWC 1024": 0.1},
        "warm": 970,
        "outcome": {"averaged": 0.941},
        "seconds": 14.0,
        "tests": {"a": "PASSED", "b": "SKIPPED"},
    } | changes
    memory = {"derived": {"peak_bytes": 1000, "warm_bytes": good["warm"]}}
    found = {
        "smoke": {"derived": {"kinds": good["kinds"]}},
        "throughput": {"derived": {"ratios": good["ratios"]}},
        "stage": {"derived": {"shares": good["shares"]}},
        "memory": memory,
        "memory_hints": memory,
        "cifar10": {"derived": {"runs": [{"outcome": good["outcome"], "seconds_to_goal": good["seconds"]}]}},
    }
    return judge(good["tests"], found)


@pytest.mark.parametrize(
    ("part", "corrupted"),
    [
        ("smoke", {"kinds": {"mixup": {"error": ""}, "tar": {"error": "RuntimeError: out of memory"}}}),
        ("throughput", {"ratios": {"batch 64": {gpu_throughput.DALI: {"median": 0.96}}}}),
        ("throughput", {"ratios": {"batch 64": {gpu_throughput.TORCHVISION: {"median": 4.9}}}}),
        ("stage", {"shares": {"mixup float32 NCHW 1024": 0.8, "mixup float16 NHWC 1024": 0.69}}),
        ("memory", {"warm": 940}),
        ("memory_hints", {"warm": 940}),
        ("cifar10", {"outcome": {"averaged": 0.939}}),
        ("cifar10", {"seconds": 15.1}),
        ("cifar10", {"seconds": None}),
        ("tests", {"tests": {"a": "PASSED", "c": "FAILED"}}),
    ],
)
def test_every_aim_can_be_missed(part, corrupted):
    assert {reach.verdict for reach in measured()} == {"reached"}
    assert "not reached" in {reach.verdict for reach in measured(**corrupted) if reach.part == part}
    assert {reach.verdict for reach in judge({}, {})} == {"not measured"}
    assert {reach.part for reach in measured()} == set(NAMES) - {"pack", "sweeps"}
    assert Reach(part="", aim="", least=1.0, value=1.0).verdict == "reached"


@pytest.mark.parametrize(("share", "status"), [(0.71, 0), (0.69, 1)])
def test_the_exit_status_says_whether_an_aim_was_missed(tmp_path, monkeypatch, share, status):
    def found_before(part, out, limit_s):
        return Outcome(
            name=part.name,
            state="done",
            seconds=1.0,
            found={"derived": {"shares": {"mixup float32 NCHW 64": share}}} if part.name == "stage" else None,
        )

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


def test_tests_that_were_cut_off_are_shown_and_not_judged(tmp_path):
    (tmp_path / "tests.log").write_text(
        "tests/a.py::one[after the index] PASSED [ 3%]\ntests/a.py::two FAILED [ 6%]\ntests/a.py::three"
    )
    (tmp_path / "records.jsonl").write_text('{"what": "photos", "load": 0.0, "mean": 0.25, "max": 3}\n{"what": "ph')
    for error, value in (("stopped at its limit of 9 s", None), ("exit status 1: 1 failed", 0.5)):
        report = make_report(
            make_stamp(), {}, [Outcome(name="tests", state="failed", seconds=9.0, error=error)], tmp_path
        )
        assert report.derived["tests"] == {"tests/a.py::one[after the index]": "PASSED", "tests/a.py::two": "FAILED"}
        (reach,) = [each for each in report.derived["reaches"] if each["part"] == "tests"]
        assert (reach["value"], reach["missed"]) == (value, True)
        write_report(report, tmp_path)
        text = (tmp_path / "gpu_check.md").read_text()
        assert "1 passed, 1 failed\n\n- `tests/a.py::two`" in text
        assert re.search(r"^photos +0\.000 +0\.250 +3$", text, re.MULTILINE)


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
