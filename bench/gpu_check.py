"""All that the project claims about GPUs, shown on one.

Tests, throughput, the stage, memory and CIFAR-10, in under 8 minutes.

Each part is a process of its own with a time limit. One that fails or takes too long is reported with its error, the
others go on, and the exit status is 1. `gpu_check.json` and `gpu_check.md` are written after each part, so a run that
is cut off leaves what it had.

Examples:
    python -m bench.gpu_check path/to/photos --out gpu-check
    python -m bench.gpu_check path/to/photos --out gpu-check --cifar path/to/cifar10 --minutes 9
    python -m bench.gpu_check path/to/photos --out gpu-check --parts stage memory
    python -m bench.gpu_check path/to/photos --out gpu-check --device cpu     # a small run
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from bench.command import argument, build_parser, make_options, option
from bench.gpu_report import STOPPED, Outcome, make_report, write_report
from bench.report import GPU_PACKAGES, make_stamp

ROOT = Path(__file__).parents[1]
GRACE_S = 5.0  # for a part to end by itself when it is told to
LEAST_S = 5.0  # a part that would get less is not begun
SHOWN_LINES = 4  # of the log of a part that failed
NAMES = ("tests", "throughput", "stage", "memory", "memory_hints", "cifar10")
TESTS = "-m pytest -m gpu -v --color=no --no-header -W default -p no:cacheprovider --tb=short"
SMALL_TESTS = "tests/gpu/test_gpu_decoding.py -k cmyk"
SMALL_THROUGHPUT = "--batch-sizes=4 --tuned-at=4 --threads=1 --loads=0 --workers=1 --batches=1 --rounds=1 --size=64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to check."""

    photos: str = argument("a folder of real JPEGs, or of one folder per class")
    out: str = option(..., "where the reports, logs and all timings go")
    cifar: str | None = option(None, "CIFAR-10 as bench.cifar10 takes it; left out without")
    parts: tuple[str, ...] = option(NAMES, "which", choices=NAMES)
    minutes: float = option(7.9, "of all parts together")
    device: str = option("cuda", "cpu runs small parts and leaves out what needs a GPU")

    def __post_init__(self):
        if not Path(self.photos).is_dir():
            raise ValueError(f"{self.photos} is no folder")
        if self.on_gpu and not torch.cuda.is_available():
            raise ValueError("torch finds no GPU; --device cpu shows that the check itself works")

    @property
    def on_gpu(self) -> bool:
        """Whether the parts have their full size."""
        return torch.device(self.device).type == "cuda"


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


def make_parts(photos: str, out: Path, cifar: str | None, *, on_gpu: bool) -> list[Part]:
    """The parts, small ones for the CPU. Their limits together are just below 8 minutes."""
    photos, on_cpu = str(Path(photos).resolve()), "" if on_gpu else "--device=cpu"
    environment = {"DALI_MIXUP_PHOTOS": photos, "DALI_MIXUP_GPU_RECORDS": str(out / "records.jsonl")}
    if not on_gpu:
        environment["DALI_MIXUP_GPU_TESTS_ON"] = "cpu"

    def bench(name: str, seconds: float, module: str, *arguments: str, small: str = "", skipped: str = "") -> Part:
        words = ["-m", f"bench.{module}", *arguments, *f"{on_cpu} {'' if on_gpu else small}".split()]
        return Part(name=name, arguments=(*words, f"--json={out / name}.json"), seconds=seconds, skipped=skipped)

    tests = f"{TESTS} {'tests' if on_gpu else SMALL_TESTS}".split()
    limit = f"--seconds={120 if on_gpu else 60}"
    small_memory = "--steps=3 --batch-size=2 --files=4"
    no_cifar = "no --cifar folder was given (train/ and test/ with one folder per class)"
    train = ("-m", "bench.cifar10", str(Path(cifar or ".").resolve()), f"--json={out / 'cifar10'}.json")
    return [
        Part(name="tests", arguments=tuple(tests), seconds=150, environment=environment),
        bench("throughput", 145, "gpu_throughput", photos, limit, small=SMALL_THROUGHPUT),
        bench("stage", 35, "gpu_stage", small="--batch-sizes=2 --size=16 --rounds=1"),
        bench("memory", 25, "gpu_memory", small=small_memory),
        bench("memory_hints", 25, "gpu_memory", "--size-hints", small=small_memory),
        Part(name="cifar10", arguments=train, seconds=95, skipped="" if cifar else no_cifar),
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
        command, both = [sys.executable, *part.arguments], subprocess.STDOUT
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=both, start_new_session=True)
        try:
            error = _in_words(process.wait(limit_s), log)
        except subprocess.TimeoutExpired:
            error = f"{STOPPED} at its limit of {limit_s:.0f} s"
        finally:
            _end(process)
    written = out / f"{part.name}.json"
    return Outcome(
        name=part.name,
        state="failed" if error else "done",
        seconds=time.monotonic() - start,
        error=error,
        found=json.loads(written.read_text()) if written.exists() else None,
        log=log.name,
    )


def limit_of(part: Part, later: Sequence[Part], left_s: float) -> float:
    """Seconds for a part: its own and those that earlier ones saved, but for those of later ones."""
    reserved = sum(other.seconds for other in later if not other.skipped)
    return max(min(part.seconds, left_s), left_s - reserved)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(Options, "gpu_check", __doc__)
    options = make_options(Options, parser, vars(parser.parse_args(arguments)))
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    stamp, outcomes = make_stamp(GPU_PACKAGES), []
    deadline = time.monotonic() + 60 * options.minutes
    parts = make_parts(options.photos, out, options.cifar, on_gpu=options.on_gpu)
    parts = [part for part in parts if part.name in options.parts]
    for i, part in enumerate(parts):
        limit = limit_of(part, parts[i + 1 :], deadline - time.monotonic())
        print(f"{part.name}: at most {max(0, limit):.0f} s", flush=True)
        outcomes.append(outcome := run_part(part, out, limit))
        print(f"{part.name}: {outcome.state} after {outcome.seconds:.0f} s {outcome.error}".rstrip(), flush=True)
        write_report(make_report(stamp, asdict(options), outcomes, out), out)
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


if __name__ == "__main__":
    sys.exit(main())
