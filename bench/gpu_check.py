"""All that the project claims about GPUs, shown on one in 6 minutes.

The parts come in the order of their value: smoke (each kind of Loader works, bad files, pixels beside the CPU's),
throughput, the stage, the gpu tests, packs, sweeps over settings, memory and CIFAR-10. Each is a process of its own
with a time limit. One that fails or takes too long is reported with its error, the others go on. The exit status is 1
if one failed or an aim was missed. OUT gets three files: `gpu_check.json` and `gpu_check.md`, written again within a
second of each measurement, so that a run which is cut off leaves what it had, and what the parts print.

`prepare` makes a small folder to carry to a machine that has neither a network nor jpegtran. A plain folder of photos
will do as well, without the parts on packs and CIFAR-10.

Examples:
    python -m bench.gpu_check prepare path/to/photos --cifar path/to/cifar10 --out prepared
    python -m bench.gpu_check prepared --out gpu-check
    python -m bench.gpu_check prepared --out gpu-check --part stage     # once more, beside what the others found
    python -m bench.gpu_check path/to/photos --out gpu-check --device cpu     # a small run
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench import gpu_data
from bench.command import argument, build_parser, make_options, option
from bench.gpu_report import CUT, Outcome, make_report, read_outcomes, read_records, read_tests, write_report
from bench.report import GPU_PACKAGES, make_stamp

ROOT = Path(__file__).parents[1]
POLL_S = 0.5  # between looks at what a part has written
GRACE_S = 5.0  # for a part to end by itself when it is told to
LEAST_S = 5.0  # a part that would get less is not begun
SHOWN_LINES = 4  # of the log of a part that failed
LOG_BYTES = 1_000_000  # of each part; an operator that warns of each image writes more in a second
WORKERS = ("-n=4", "--dist=loadfile")  # most of a test is the start of DALI's decoder, on one core
RECORDS = "records.jsonl"
SMALL_THROUGHPUT = "--batch-sizes=4 --threads=1 --loads=0 --workers=1 --batches=1 --rounds=1 --size=64"
SMALL_MEMORY = "--steps=3 --batch-size=2 --files=4"
PARTS = (  # name, limit in seconds, module and what it gets, on a GPU besides, on a CPU besides
    ("smoke", 65, "bench.gpu_smoke {photos} {packed}", "", "--batches=2 --batch-size=4 --size=32"),
    ("throughput", 75, "bench.gpu_throughput {photos}", "--seconds=62", SMALL_THROUGHPUT),
    ("stage", 20, "bench.gpu_stage", "--batch-sizes 1024 256 64", "--batch-sizes=2 --size=16 --rounds=1"),
    (
        "tests",
        65,
        "pytest -m gpu -v --color=no --no-header -W default -p no:cacheprovider --tb=short",
        "tests",
        "tests/gpu/test_gpu_decoding.py -k cmyk",
    ),
    ("cifar10", 45, "bench.gpu_cifar10 {cifar10}", "", "--epochs=1 --seeds=0 --batch-size=8 --images=16"),
    (
        "pack",
        22,
        "bench.pack {photos} {packed}",
        "--images=1024 --batch-size=64 --rounds=3",
        "--images=24 --batch-size=4 --rounds=1 --size=32",
    ),
    (
        "sweeps",
        40,
        "bench.gpu_throughput {photos} --sweep",
        "--seconds=33 --batch-sizes 256 64 1024 --rounds=2 --batches=8 --threads 8 16 --loads 0.65 0.85 1",
        f"--seconds=30 {SMALL_THROUGHPUT}",
    ),
    ("memory", 12, "bench.gpu_memory", "--steps=300", SMALL_MEMORY),
    ("memory_hints", 12, "bench.gpu_memory --size-hints", "--steps=300", SMALL_MEMORY),
)
NAMES = tuple(name for name, *_ in PARTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to check."""

    data: str = argument("what `prepare` made, or a folder of real JPEGs, or of one folder per class")
    out: str = option(..., "where the reports and the log go")
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

    @property
    def photos(self) -> Path:
        """The folder of JPEGs."""
        root = Path(self.data).resolve()
        return root / "photos" if (root / "photos").is_dir() else root


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process.

    Attributes:
        name: as in `--part`.
        arguments: behind the Python interpreter.
        seconds: its limit.
        skipped: why it isn't to run; "" if it is.
    """

    name: str
    arguments: tuple[str, ...]
    seconds: float
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where parts run.

    Attributes:
        scratch: a folder for what they write.
        log: gets what they print, one after the other.
        environment: variables that they get besides.
    """

    scratch: Path
    log: Path
    environment: dict[str, str]

    def read(self, part: Part, log: str) -> dict[str, Any] | None:
        """What a part, which printed `log`, has found so far."""
        if part.name == "tests":
            return {"derived": {"tests": read_tests(log), "pixels": read_records(self.scratch / RECORDS)}}
        written = self.scratch / f"{part.name}.json"
        return json.loads(written.read_text()) if written.exists() else None


def make_parts(options: Options, scratch: Path) -> list[Part]:
    """The parts, small ones for the CPU."""
    beside = options.photos.parent
    needed = {"pack": beside / "packs", "cifar10": beside / "cifar10"}
    missing = {name for name, folder in needed.items() if not (options.photos.name == "photos" and folder.is_dir())}
    places = {
        "photos": str(options.photos),
        "packed": "" if "pack" in missing else f"--packed={needed['pack']}",
        "cifar10": str(needed["cifar10"]),
    }
    parts = []
    for name, seconds, common, large, small in PARTS:
        words = [word.format(**places) for word in f"-m {common} {large if options.on_gpu else small}".split()]
        if name != "tests":
            words += [f"--device={options.device}", f"--json={scratch / name}.json"]
        elif find_spec("xdist") and not os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
            words += WORKERS
        skipped = f"{options.data} has no {needed[name].name}/: it wasn't made by `prepare`" if name in missing else ""
        parts.append(Part(name=name, arguments=tuple(filter(None, words)), seconds=seconds, skipped=skipped))
    return parts


def run_part(part: Part, place: Place, limit_s: float, keep: Callable[[Outcome], object]) -> Outcome:
    """Run a part to its end or its limit; what it finds until then goes to `keep` each time that there is more."""
    if part.skipped:
        return Outcome(name=part.name, state="skipped", error=part.skipped)
    if limit_s < LEAST_S:
        return Outcome(name=part.name, state=CUT, error="no time was left for it")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **place.environment}
    start, found, state, error = time.monotonic(), None, "running", ""
    with place.log.open("ab") as file:
        begin, command = file.tell(), [sys.executable, *part.arguments]
        # a group, to end a part with its children, but no session, which would outlive the command on lent machines
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            while state == "running":
                left = limit_s + start - time.monotonic()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, min(POLL_S, left)))
                log = place.log.read_bytes()[begin:].decode(errors="replace")
                before, found = found, place.read(part, log)
                if process.returncode is not None:
                    error = _in_words(process.returncode, log)
                    state = "failed" if error else "done"
                elif left <= 0:
                    state, error = CUT, f"stopped at its limit of {limit_s:.0f} s"
                elif found != before:
                    keep(Outcome(name=part.name, state=state, seconds=time.monotonic() - start, found=found))
        finally:
            _end(process)
            _cut_short(place.log, begin)
    return Outcome(name=part.name, state=state, seconds=time.monotonic() - start, error=error, found=found)


def limit_of(part: Part, later: Sequence[Part], left_s: float) -> float:
    """Seconds for a part: its own and those that earlier ones saved, but for those of later ones."""
    reserved = sum(other.seconds for other in later if not other.skipped)
    return max(min(part.seconds, left_s), left_s - reserved)


def run_parts(options: Options, out: Path) -> bool:
    """Run what was asked for; whether nothing failed and no aim was missed."""
    outcomes = read_outcomes(out / "gpu_check.json") if options.part else {}
    stamp, passed, deadline = make_stamp(GPU_PACKAGES), True, time.monotonic() + 60 * options.minutes
    environment = {"DALI_MIXUP_PHOTOS": str(options.photos)}
    if not options.on_gpu:
        environment["DALI_MIXUP_GPU_TESTS_ON"] = "cpu"

    def keep(outcome: Outcome) -> bool:
        """Write what is known; whether the part has nothing to complain about."""
        outcomes[outcome.name] = outcome
        known = [outcomes[name] for name in NAMES if name in outcomes]
        report = make_report(stamp, asdict(options), known, judged=options.on_gpu)
        write_report(report, out)
        missed = any(reach["missed"] for reach in report.derived["reaches"] if reach["part"] == outcome.name)
        return not missed and outcome.state in ("done", "skipped")

    log = out / "gpu_check.log"
    if not options.part:
        log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment["DALI_MIXUP_GPU_RECORDS"] = f"{folder}/{RECORDS}"
        place = Place(scratch=Path(folder), log=log, environment=environment)
        chosen = [part for part in make_parts(options, place.scratch) if part.name in (options.part or NAMES)]
        for i, part in enumerate(chosen):
            limit = limit_of(part, chosen[i + 1 :], deadline - time.monotonic())
            print(f"{part.name}: at most {max(0, limit):.0f} s", flush=True)
            outcome = run_part(part, place, limit, keep)
            print(f"{part.name}: {outcome.state} after {outcome.seconds:.0f} s {outcome.error}".rstrip(), flush=True)
            passed &= keep(outcome)
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["prepare"]:
        return gpu_data.run(arguments[1:])
    parser = build_parser(Options, "gpu_check", __doc__)
    options = make_options(Options, parser, vars(parser.parse_args(arguments)))
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    passed = run_parts(options, out)
    print((out / "gpu_check.md").read_text())
    return 0 if passed else 1


def _end(process: subprocess.Popen) -> None:
    """End a part and its children: workers that it left behind would hold the GPU."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def _cut_short(log: Path, begin: int) -> None:
    """Keep the first half and the last one of `LOG_BYTES` of what stands in a log from a place on."""
    content, half = log.read_bytes(), LOG_BYTES // 2
    if len(content) - begin > LOG_BYTES:
        log.write_bytes(content[: begin + half] + b"\n[...]\n" + content[-half:])


def _in_words(status: int, log: str) -> str:
    """Why a part failed, "" if it did not."""
    if status == 0:
        return ""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    end = "; ".join(lines[-SHOWN_LINES:])[-500:]
    how = f"exit status {status}" if status > 0 else f"killed by {signal.Signals(-status).name}"
    return f"{how}: {end}" if end else how


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
