"""How long Ctrl-C takes to end a process that stands in a Loader, in each phase of its life.

The time runs from the signal to the end of the process. For comparison, `no loader` is a process that has imported the
same packages and sleeps.

Examples:
    python -m bench.interrupt path/to/images
    python -m bench.interrupt path/to/images --rounds 9 --json interrupt.json
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

import dali_mixup as dm
from bench.command import DATA, Bench, Found, argument, option
from bench.feed import find_files
from bench.measure import Case, Timing, measure_cases
from bench.report import Report, format_table
from dali_mixup.dataset import sizes

NO_LOADER = "no loader"
PHASES = (NO_LOADER, "index", "first batch", "waiting for data", "training step", "between epochs")
READY = "ready"
HANGS = 60.0  # seconds
STAND_IN = "import sys; from bench.interrupt import stand_in; stand_in(*sys.argv[1:])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    rounds: int = option(5, "how often each phase is interrupted")


def interrupt(phase: str, data: str) -> float:
    """Bring a process into a phase, send it SIGINT, and wait for its end.

    Returns:
        Seconds from the signal to the end.

    Raises:
        RuntimeError: it hung, or ended otherwise than by KeyboardInterrupt.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", STAND_IN, phase, os.path.abspath(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore it
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None  # noqa: S101  it is a pipe
    watchdog = threading.Timer(HANGS, process.kill)
    watchdog.start()
    ready = process.stdout.readline().strip() == READY
    time.sleep(0.2)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    seconds = time.perf_counter() - start
    watchdog.cancel()
    if not ready or not errors.strip().endswith("KeyboardInterrupt"):
        raise RuntimeError(f"phase {phase!r}: the process ended with code {process.returncode}: {errors}")
    return seconds


def stand_in(phase: str, data: str) -> None:
    """Be in a phase until a signal comes."""
    from nvidia.dali import fn  # noqa: F401  so that its import is over

    if phase == NO_LOADER:
        _say_ready()
        time.sleep(HANGS)
    if phase == "index":
        probe = sizes.probe
        sizes.probe = lambda path: (_say_ready(), time.sleep(0.2), probe(path))[-1]  # a slow disk
    dataset = dm.FileList(*find_files(data), cache=False, progress=False)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(224), flip=0.5)
    loader = dm.Loader(dataset, pipeline, batch_size=8, shuffle=True, mixup=dm.MixUp(), device="cpu")
    if phase == "first batch":
        _say_ready()
    while True:
        for step, (images, _) in enumerate(loader):
            if step == 1 and phase in ("waiting for data", "training step"):
                _say_ready()
            while phase == "training step" and step == 1:
                torch.mm(images.flatten(1), images.flatten(1).t())
        if phase == "between epochs":
            _say_ready()
            time.sleep(HANGS)


def _say_ready() -> None:
    print(READY, flush=True)


def measure(options: Options) -> Iterator[Found]:
    """All phases, in turns."""

    def run(phase: str) -> Timing:
        return Timing(items=1, seconds=interrupt(phase, options.data))

    cases = [Case(name=phase, label=phase, run=partial(run, phase)) for phase in PHASES]
    yield Found(results=measure_cases(cases, rounds=options.rounds, warmup=0))


def describe(report: Report) -> str:
    """Median and longest time of each phase."""
    rows = []
    for result in report.results:
        seconds = sorted(timing.seconds for timing in result.timings)
        rows.append([result.label, f"{seconds[len(seconds) // 2]:.2f}", f"{seconds[-1]:.2f}"])
    table = format_table(["phase", "median (s)", "longest (s)"], rows)
    return f"{table}\n\nSeconds from Ctrl-C to the end of the process; {report.settings['rounds']} rounds."


bench = Bench("interrupt", __doc__, Options, measure, describe, unit="endings")
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
