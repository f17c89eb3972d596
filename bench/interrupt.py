"""How long Ctrl-C takes to end a process that stands in a Loader, in each phase of its life.

The time runs from the signal to the end of the process. For comparison, `no loader` is a process that has imported the
same packages and sleeps.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

import torch

import dali_mixup as dm
from bench.feed import find_files
from bench.measure import Case, Timing, measure_cases
from bench.report import Report, format_table, make_stamp, write_json
from dali_mixup.dataset import sizes

EXAMPLES = """examples:
  python -m bench.interrupt path/to/images
  python -m bench.interrupt path/to/images --rounds 9 --json interrupt.json
"""
NO_LOADER = "no loader"
PHASES = (NO_LOADER, "index", "first batch", "waiting for data", "training step", "between epochs")
READY = "ready"
HANGS = 60.0  # seconds


def interrupt(phase: str, data: str) -> float:
    """Bring a process into a phase, send it SIGINT, and wait for its end.

    Returns:
        Seconds from the signal to the end.

    Raises:
        RuntimeError: it hung, or ended otherwise than by KeyboardInterrupt.
    """
    command = [sys.executable, "-m", "bench.interrupt", os.path.abspath(data), "--stand-in", phase]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(
            signal.signal, signal.SIGINT, signal.default_int_handler
        ),  # a shell's background jobs ignore it
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
    paths, labels = find_files(data)
    dataset = dm.FileList(paths, labels, cache=False, progress=False)
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


def measure_interrupts(data: str, *, rounds: int, progress: bool = True) -> Report:
    """All phases, `rounds` times."""
    stamp = make_stamp()

    def run(phase: str) -> Timing:
        return Timing(items=1, seconds=interrupt(phase, data))

    cases = [Case(name=phase, label=phase, run=partial(run, phase)) for phase in PHASES]
    results = measure_cases(cases, rounds=rounds, warmup=0, progress=progress)
    return Report(
        benchmark="interrupt",
        unit="endings",
        settings={"data": data, "rounds": rounds},
        stamp=stamp,
        results=tuple(results),
    )


def describe(report: Report) -> str:
    """Median and longest time of each phase."""
    rows = []
    for result in report.results:
        seconds = sorted(timing.seconds for timing in result.timings)
        rows.append([result.label, f"{seconds[len(seconds) // 2]:.2f}", f"{seconds[-1]:.2f}"])
    table = format_table(["phase", "median (s)", "longest (s)"], rows)
    return (
        f"{table}\n\nSeconds from Ctrl-C to the end of the process; {report.settings['rounds']} rounds.\n{report.stamp}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.interrupt",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="a folder of images, or of one folder per class")
    parser.add_argument("--rounds", type=int, default=5, help="how often each phase is interrupted (default 5)")
    parser.add_argument("--stand-in", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--json", metavar="FILE", help="write all timings")
    options = parser.parse_args(arguments)
    if options.stand_in:
        stand_in(options.stand_in, options.data)
    report = measure_interrupts(options.data, rounds=options.rounds)
    print(describe(report))
    if options.json:
        write_json(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
