"""All that the project claims about GPUs, shown on one.

Tests, throughput, the stage, memory and CIFAR-10, in under 8 minutes.

Each part is a process of its own with a time limit. One that fails or takes too long is reported with its error, the
others go on, and the exit status is 1. `gpu_check.json` and `gpu_check.md` are written after each part, so a run that
is cut off leaves what it had.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.gpu_report import STOPPED, Outcome, make_report, write_report
from bench.gpu_stamp import make_gpu_stamp

EXAMPLES = """examples:
  python -m bench.gpu_check path/to/photos --out gpu-check
  python -m bench.gpu_check path/to/photos --out gpu-check --cifar path/to/cifar10 --minutes 9
  python -m bench.gpu_check path/to/photos --out gpu-check --parts stage memory
  python -m bench.gpu_check path/to/photos --out gpu-check --device cpu     # a small run that shows that the check
  itself works
"""
ROOT = Path(__file__).parents[1]
GRACE_S = 5.0  # for a part to end by itself when it is told to
LEAST_S = 5.0  # a part that would get less is not begun
SHOWN_LINES = 4  # of the log of a part that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process.

    Attributes:
        name: as in `--parts`; also of its files.
        arguments: behind the Python interpreter.
        seconds: its limit.
        environment: variables that it gets besides.
        skipped: why it isn't to run; "" if it is.
    """

    name: str
    arguments: tuple[str, ...]
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)
    skipped: str = ""


NAMES = ("tests", "throughput", "stage", "memory", "memory_hints", "cifar10")


def make_parts(photos: str, out: Path, cifar: str | None, *, on_gpu: bool) -> list[Part]:
    """The parts, small ones for the CPU. Their limits together are just below 8 minutes."""
    photos = str(Path(photos).resolve())
    tests = (
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-v",
        "--color=no",
        "--no-header",
        "-W",
        "default",
        "-p",
        "no:cacheprovider",
        "--tb=short",
    )
    environment = {"DALI_MIXUP_PHOTOS": photos, "DALI_MIXUP_GPU_RECORDS": str(out / "records.jsonl")}
    small_throughput = (
        "--device=cpu",
        "--batch-sizes=4",
        "--tuned-at=4",
        "--threads=1",
        "--loads=0",
        "--workers=1",
        "--batches=1",
    )
    throughput = (
        f"--seconds={120 if on_gpu else 60}",
        *(() if on_gpu else (*small_throughput, "--rounds=1", "--size=64")),
    )
    stage = () if on_gpu else ("--device=cpu", "--batch-sizes=2", "--size=16", "--rounds=1")
    memory = () if on_gpu else ("--device=cpu", "--steps=3", "--batch-size=2", "--files=4")
    return [
        Part(
            name="tests",
            arguments=(*tests, "tests") if on_gpu else (*tests, "tests/gpu/test_gpu_decoding.py", "-k", "cmyk"),
            seconds=150,
            environment=environment if on_gpu else environment | {"DALI_MIXUP_GPU_TESTS_ON": "cpu"},
        ),
        Part(
            name="throughput",
            arguments=("-m", "bench.gpu_throughput", photos, *throughput, _json(out, "throughput")),
            seconds=145,
        ),
        Part(name="stage", arguments=("-m", "bench.gpu_stage", *stage, _json(out, "stage")), seconds=35),
        Part(name="memory", arguments=("-m", "bench.gpu_memory", *memory, _json(out, "memory")), seconds=25),
        Part(
            name="memory_hints",
            arguments=("-m", "bench.gpu_memory", "--size-hints", *memory, _json(out, "memory_hints")),
            seconds=25,
        ),
        Part(
            name="cifar10",
            arguments=("-m", "bench.cifar10", str(Path(cifar or ".").resolve()), _json(out, "cifar10")),
            seconds=95,
            skipped="" if cifar else "no --cifar folder was given (train/ and test/ with one folder per class)",
        ),
    ]


def run_part(part: Part, out: Path, limit_s: float) -> Outcome:
    """Run a part to its end or its limit; what it wrote until then counts in any case."""
    if part.skipped:
        return Outcome(name=part.name, state="skipped", seconds=0.0, error=part.skipped)
    if limit_s < LEAST_S:
        return Outcome(name=part.name, state="failed", seconds=0.0, error="no time was left for it")
    for stale in (out / f"{part.name}.json", *([out / "records.jsonl"] if part.name == "tests" else [])):
        stale.unlink(missing_ok=True)
    log, start = out / f"{part.name}.log", time.monotonic()
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **part.environment}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *part.arguments],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            error = _in_words(process.wait(limit_s), log)
        except subprocess.TimeoutExpired:
            error = f"{STOPPED} at its limit of {limit_s:.0f} s"
        finally:
            _end(process)
    seconds = time.monotonic() - start
    return Outcome(
        name=part.name,
        state="failed" if error else "done",
        seconds=seconds,
        error=error,
        found=_read(out / f"{part.name}.json"),
        log=log.name,
    )


def limit_of(part: Part, later: Sequence[Part], left_s: float) -> float:
    """Seconds for a part: its own and those that earlier ones saved, but for those of later ones."""
    reserved = sum(other.seconds for other in later if not other.skipped)
    return max(min(part.seconds, left_s), left_s - reserved)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    on_gpu = torch.device(options.device).type == "cuda"
    if not Path(options.photos).is_dir():
        print(f"{options.photos} is no folder", file=sys.stderr)
        return 2
    if on_gpu and not torch.cuda.is_available():
        print("torch finds no GPU; --device cpu shows that the check itself works", file=sys.stderr)
        return 2
    settings = {name: getattr(options, name) for name in ("photos", "cifar", "device", "minutes", "parts")}
    stamp, outcomes = make_gpu_stamp(), []
    deadline = time.monotonic() + 60 * options.minutes
    parts = [
        part for part in make_parts(options.photos, out, options.cifar, on_gpu=on_gpu) if part.name in options.parts
    ]
    for i, part in enumerate(parts):
        limit = limit_of(part, parts[i + 1 :], deadline - time.monotonic())
        print(f"{part.name}: at most {max(0, limit):.0f} s", flush=True)
        outcomes.append(run_part(part, out, limit))
        print(
            f"{part.name}: {outcomes[-1].state} after {outcomes[-1].seconds:.0f} s {outcomes[-1].error}".rstrip(),
            flush=True,
        )
        write_report(make_report(stamp, settings, outcomes, out), out)
    print((out / "gpu_check.md").read_text())
    return int(any(outcome.state == "failed" for outcome in outcomes))


def _end(process: subprocess.Popen) -> None:
    """End a part and its children: workers that it left behind would hold the GPU."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _in_words(status: int, log: Path) -> str:
    """Why a part failed, "" if it did not."""
    if status == 0:
        return ""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    end = "; ".join(lines[-SHOWN_LINES:])[-500:]
    how = f"exit status {status}" if status > 0 else f"killed by {signal.Signals(-status).name}"
    return f"{how}: {end}" if end else how


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _json(out: Path, name: str) -> str:
    return f"--json={out / name}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_check",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", metavar="PHOTOS", help="a folder of real JPEGs, or of one folder per class")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the reports, logs and all timings go")
    parser.add_argument("--cifar", metavar="DATA", help="CIFAR-10 as bench.cifar10 takes it; left out without")
    parser.add_argument("--parts", nargs="+", choices=NAMES, default=list(NAMES), help="default all")
    parser.add_argument("--minutes", type=float, default=7.9, help="of all parts together (default 7.9)")
    parser.add_argument(
        "--device", default="cuda", help="default cuda; cpu runs small parts and leaves out what needs a GPU"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
