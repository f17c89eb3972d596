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

from bench import gpu_check, gpu_throughput
from bench.feed import Feed
from bench.gpu_check import NAMES, Part, limit_of, make_parts, run_part
from bench.gpu_report import Outcome, Reach, describe_trainings, judge, make_report, time_to, write_report
from bench.report import Report, make_stamp, read_json

ROOT = Path(__file__).parents[2]
BLOCKED = ("timm", "scipy", "hypothesis", "matplotlib", "lightning", "torchdata", "accelerate", "turbojpeg", "psutil")
BARE_MACHINE = f"""
import importlib.machinery
real = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.partition(".")[0] in {BLOCKED} else real(name, *rest)
)
"""


def python(code, name="part", seconds=30.0, **options):
    return Part(name=name, arguments=("-c", code), seconds=seconds, **options)


def test_the_whole_check_runs_and_a_part_that_fails_stops_no_other(folder, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "bench.gpu_check",
        str(folder),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--cifar",
        str(tmp_path / "none"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr  # there is no CIFAR-10 at that place
    report = read_json(out / "gpu_check.json")
    parts = report.derived["parts"]
    assert list(parts) == list(NAMES)
    assert {name: part["state"] for name, part in parts.items()} == dict.fromkeys(NAMES, "done") | {"cifar10": "failed"}
    assert parts["cifar10"]["error"].startswith("exit status ")
    assert set(report.derived["tests"].values()) == {"PASSED"}
    assert {record["what"] for record in report.derived["pixels"]} == {"cmyk"}
    throughput = parts["throughput"]["found"]
    assert {result["name"] for result in throughput["results"]} >= {
        "batch 4: ours",
        "batch 4: DALI without mixup",
        "hints: size hints on",
    }
    verdicts = [reach["verdict"] for reach in report.derived["reaches"]]
    assert verdicts[0] == "reached"
    assert verdicts[-1] == "not measured"
    text = (out / "gpu_check.md").read_text()
    assert "its figures mean nothing" in text
    assert "triton" in text
    for title in (
        "Reaches",
        "Parts",
        "Tests",
        "Throughput",
        "Stage",
        "Memory without size hints",
        "Memory with size hints",
    ):
        assert f"## {title}" in text
    assert text.strip() in done.stdout


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
        [*command, "--parts", "memory", "throughput"], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 100
    while not (tmp_path / "gpu_check.json").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(30)
    parts = json.loads((tmp_path / "gpu_check.json").read_text())["derived"]["parts"]
    assert next(iter(parts.values()))["state"] == "done"


def test_limits_stay_below_eight_minutes_and_saved_time_goes_on(tmp_path):
    parts = make_parts("photos", tmp_path, "cifar", on_gpu=True)
    assert [part.name for part in parts] == list(NAMES)
    assert sum(part.seconds for part in parts) < 480
    first, *later = parts
    assert limit_of(first, later, sum(part.seconds for part in parts)) == first.seconds
    assert limit_of(first, later, 1000) == 1000 - sum(part.seconds for part in later)
    assert limit_of(parts[-1], [], 42) == 42


def test_every_aim_is_judged_by_its_worst_case():
    ratios = {
        "batch 64": {"DALI without mixup": {"median": 0.96}, "torchvision DataLoader": {"median": 5.5}},
        "batch 256": {"DALI without mixup": {"median": 1.02}},
    }
    shares = {
        "mixup float32 NCHW 64": 0.2,
        "mixup float32 NCHW 1024": 0.8,
        "mixup float16 NHWC 1024": 0.71,
        "plain float16 NHWC 1024": 0.1,
    }
    runs = [{"outcome": {"averaged": value}} for value in (0.939, 0.941, 0.942)]
    found = {
        "throughput": {"derived": {"ratios": ratios}},
        "stage": {"derived": {"shares": shares}},
        "cifar10": {"derived": {"runs": runs}},
    }
    reaches = judge({"a": "PASSED", "b": "SKIPPED", "c": "FAILED"}, found)
    assert [reach.value for reach in reaches] == [0.5, 0.96, 0.71, 5.5, 0.941]
    assert [reach.verdict for reach in reaches] == ["not reached", "not reached", "reached", "reached", "reached"]
    assert {reach.verdict for reach in judge({}, {})} == {"not measured"}
    assert Reach(aim="", least=1.0, value=1.0).verdict == "reached"


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
        assert report.derived["reaches"][0]["value"] == value
        write_report(report, tmp_path)
        text = (tmp_path / "gpu_check.md").read_text()
        assert "1 passed, 1 failed\n\n- `tests/a.py::two`" in text
        assert re.search(r"^photos +0\.000 +0\.250 +3$", text, re.MULTILINE)


def test_the_time_to_an_accuracy():
    epochs = [{"seconds": 2.0, "test_accuracy": accuracy} for accuracy in (0.5, 0.94, 0.95)]
    assert time_to(0.94, {"epochs": epochs, "averaged": 0.96}) == 4.0
    assert time_to(0.955, {"epochs": epochs, "averaged": 0.96}) == 6.0
    assert time_to(0.97, {"epochs": epochs, "averaged": 0.96}) is None
    run = {"name": "mixup", "outcome": {"epochs": epochs, "averaged": 0.96, "accuracy": 0.95, "waiting": 0.1}}
    made = Report(benchmark="cifar10", unit="", stamp=make_stamp(), derived={"runs": [run]})
    assert re.search(r"^mixup +0\.9500 +0\.9600 +4\.0 +6\.0 +0\.100$", describe_trainings(made), re.MULTILINE)


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

    assert course.run("batch 4", [course.rival("theirs", Feed(paths=(), labels=(), classes=1), fail)]) == {}
    assert course.missing == {"batch 4: theirs": "RuntimeError: out of memory"}
    course.deadline = time.monotonic() + 1
    assert course.run("batch 8", []) == {}
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
