"""All that the project claims about GPUs, shown on one in 6 minutes.

The parts come in the order of their value: smoke (each kind of Loader works, bad files, pixels beside the CPU's),
throughput, the stage, the gpu tests, packs, sweeps over settings, memory and CIFAR-10. Each is a process of its own
with a time limit. One that fails or takes too long is reported with its error, the others go on. The exit status is 1
if one failed or an aim was missed. Parts write their figures after each measurement, and `gpu_check.json` and
`gpu_check.md` are written after each part, so a run that is cut off leaves what it had.

`prepare` makes a small folder to carry to a machine that has neither a network nor jpegtran. A plain folder of photos
will do as well, without the parts on packs and CIFAR-10.

Examples:
    python -m bench.gpu_check prepare path/to/photos --cifar path/to/cifar10 --out prepared
    python -m bench.gpu_check prepared --out gpu-check
    python -m bench.gpu_check prepared --out gpu-check --part stage     # once more, beside what the others found
    python -m bench.gpu_check path/to/photos --out gpu-check --device cpu     # a small run
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import gpu_data
from bench.command import argument, build_parser, make_options, option
from bench.gpu_data import prepare
from bench.gpu_report import STOPPED, Outcome, make_report, read_outcomes, write_report
from bench.report import GPU_PACKAGES, make_stamp

ROOT = Path(__file__).parents[1]
GRACE_S = 5.0  # for a part to end by itself when it is told to
LEAST_S = 5.0  # a part that would get less is not begun
SHOWN_LINES = 4  # of the log of a part that failed
NAMES = ("smoke", "throughput", "stage", "tests", "pack", "sweeps", "memory", "memory_hints", "cifar10")
TESTS = "-m pytest -m gpu -v --color=no --no-header -W default -p no:cacheprovider --tb=short"
SMALL_TESTS = "tests/gpu/test_gpu_decoding.py -k cmyk"
SMALL_THROUGHPUT = "--batch-sizes=4 --threads=1 --loads=0 --workers=1 --batches=1 --rounds=1 --size=64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to check."""

    data: str = argument("what `prepare` made, or a folder of real JPEGs, or of one folder per class")
    out: str = option(..., "where the reports, logs and all timings go")
    part: tuple[str, ...] = option((), "these alone (default all); what others found in OUT stays", choices=NAMES)
    minutes: float = option(6.0, "of all parts together")
    device: str = option("cuda", "cpu runs small parts, judges no aims, and leaves out what needs a GPU")

    def __post_init__(self):
        if not Path(self.data).is_dir():
            raise ValueError(f"{self.data} is no folder")
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


def make_parts(data: str, out: Path, *, on_gpu: bool) -> list[Part]:
    """The parts, small ones for the CPU. Their limits together are just below 6 minutes."""
    root, on_cpu = Path(data).resolve(), "" if on_gpu else "--device=cpu"
    photos = str(root / "photos" if (root / "photos").is_dir() else root)
    packs, cifar = root / "packs", root / "cifar10"
    environment = {"DALI_MIXUP_PHOTOS": photos, "DALI_MIXUP_GPU_RECORDS": str(out / "records.jsonl")}
    if not on_gpu:
        environment["DALI_MIXUP_GPU_TESTS_ON"] = "cpu"

    def bench(name: str, seconds: float, module: str, *arguments: str, small: str = "", skipped: str = "") -> Part:
        words = ["-m", f"bench.{module}", *arguments, *f"{on_cpu} {'' if on_gpu else small}".split()]
        return Part(name=name, arguments=(*words, f"--json={out / name}.json"), seconds=seconds, skipped=skipped)

    tests = f"{TESTS} {'tests' if on_gpu else SMALL_TESTS}".split()
    packed = (f"--packed={packs}",) if packs.is_dir() else ()
    missing = f"{root} holds no {{}}: it wasn't made by `prepare`".format
    sweep = ("--sweep", "--seconds=40", "--batch-sizes", "256", "64", "1024", "--rounds=2", "--threads", "4", "8", "16")
    small_memory = "--steps=3 --batch-size=2 --files=4"
    return [
        bench("smoke", 50, "gpu_smoke", photos, *packed, small="--batches=2 --batch-size=4 --size=32"),
        bench("throughput", 75, "gpu_throughput", photos, "--seconds=60", small=SMALL_THROUGHPUT),
        bench("stage", 25, "gpu_stage", small="--batch-sizes=2 --size=16 --rounds=1"),
        Part(name="tests", arguments=tuple(tests), seconds=70, environment=environment),
        bench(
            "pack",
            25,
            "pack",
            photos,
            *packed,
            "--batch-size=64",
            "--epochs=8",
            "--rounds=3",
            small="--batch-size=4 --size=32 --rounds=1 --epochs=1",
            skipped="" if packed else missing("packs"),
        ),
        bench("sweeps", 45, "gpu_throughput", photos, *sweep, small=f"{SMALL_THROUGHPUT} --seconds=30"),
        bench("memory", 12, "gpu_memory", small=small_memory),
        bench("memory_hints", 12, "gpu_memory", "--size-hints", small=small_memory),
        bench(
            "cifar10",
            45,
            "gpu_cifar10",
            str(cifar),
            small="--epochs=1 --seeds=0 --batch-size=8",
            skipped="" if cifar.is_dir() else missing("CIFAR-10"),
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
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["prepare"]:
        return _prepare(arguments[1:])
    parser = build_parser(Options, "gpu_check", __doc__)
    options = make_options(Options, parser, vars(parser.parse_args(arguments)))
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    stamp = make_stamp(GPU_PACKAGES)
    outcomes = read_outcomes(out / "gpu_check.json") if options.part else {}
    deadline = time.monotonic() + 60 * options.minutes
    parts = make_parts(options.data, out, on_gpu=options.on_gpu)
    chosen = [part for part in parts if part.name in (options.part or NAMES)]
    reaches: list[dict[str, Any]] = []
    for i, part in enumerate(chosen):
        limit = limit_of(part, chosen[i + 1 :], deadline - time.monotonic())
        print(f"{part.name}: at most {max(0, limit):.0f} s", flush=True)
        outcome = outcomes[part.name] = run_part(part, out, limit)
        print(f"{part.name}: {outcome.state} after {outcome.seconds:.0f} s {outcome.error}".rstrip(), flush=True)
        known = [outcomes[name] for name in NAMES if name in outcomes]
        report = make_report(stamp, asdict(options), known, out, judged=options.on_gpu)
        write_report(report, out)
        reaches = report.derived["reaches"]
    print((out / "gpu_check.md").read_text())
    failed = any(outcomes[part.name].state == "failed" for part in chosen)
    names = {part.name for part in chosen}
    missed = any(reach["part"] in names and reach["missed"] for reach in reaches)
    return int(failed or missed)


def _prepare(arguments: Sequence[str]) -> int:
    """`prepare`: the folder to carry."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check prepare", description=gpu_data.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("photos", metavar="PHOTOS", help="a folder of JPEGs, or of one folder per class")
    parser.add_argument("--out", required=True, help="the folder to write; it must not exist")
    parser.add_argument("--cifar", help="CIFAR-10, train/ and test/ with one folder per class; left out without")
    parser.add_argument("--megabytes", type=float, default=10, help="of photos (default %(default)s)")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    if out.exists():
        parser.error(f"{out} exists; remove it, or name another folder")
    prepare(options.photos, out, cifar=options.cifar, megabytes=options.megabytes)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")
    return 0


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
