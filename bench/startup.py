"""How long from `python train.py` to the first batch, step by step, and what `import dali_mixup` adds to torch's.

The files are hard links to yours, as many as asked for, in a temporary folder beside them. Each run is a process of its
own, once with an empty cache of sizes and once with a full one; the files themselves are in the machine's page cache.
"import dali_mixup" counts the names that the README's example uses, which are imported when they are asked for.

Examples:
    python -m bench.startup path/to/images
    python -m bench.startup path/to/images --files 1000 1281167 --json startup.json --plot startup.png
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.command import DATA, Bench, Found, argument, option
from bench.feed import find_files, linked
from bench.measure import Case, Result, Timing, measure_cases, speedup
from bench.plots import Panel, draw_growth
from bench.report import Report, format_spread, format_table

ROOT = Path(__file__).parents[1]
CACHES = ("empty cache", "full cache")
USED = "import dali_mixup as dm, dali_mixup.pipelines.imagenet; dm.ImageFolder, dm.Loader, dm.MixUp, dm.MixUpLoss"
IMPORTS = {"torch": "import torch", "the package": "import dali_mixup", "what the example uses": USED}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    data: str = argument(DATA)
    files: tuple[int, ...] = option((1000, 100_000, 1_281_167), "numbers of files")
    batch_size: int = option(64, "images per batch")
    rounds: int = option(9, "of the imports")


def measure(options: Options) -> Iterator[Found]:
    """The imports against each other, then a run per number of files and cache."""
    cases = [Case(name=name, run=partial(_import, code)) for name, code in IMPORTS.items()]
    results = measure_cases(cases, rounds=options.rounds)
    sources, _ = find_files(options.data)
    derived: dict[str, dict[str, dict[str, float]]] = {}
    for count in options.files:
        with linked(sources, count, beside=Path(options.data).resolve().parent) as links:
            derived[str(count)] = measure_folder(str(Path(links[0]).parents[1]), options.batch_size)
        yield Found(results=results, derived=derived)


def measure_folder(root: str, batch_size: int) -> dict[str, dict[str, float]]:
    """Seconds by step, with an empty cache and then with the one that this has filled."""
    with tempfile.TemporaryDirectory() as cache:
        return {name: _start_training(root, batch_size, cache) for name in CACHES}


def _start_training(root: str, batch_size: int, cache: str) -> dict[str, float]:
    """Seconds by step of one process until its first batch."""
    child = str(Path(__file__).with_name("startup_child.py"))
    started = time.monotonic()
    return json.loads(_run([child, root, str(batch_size), str(started)], {"DALI_MIXUP_CACHE": cache}))


def _import(code: str) -> Timing:
    """One import in a fresh process."""
    return Timing(items=1, seconds=float(_run(["-c", TIMED.format(code)], {})))


def _run(arguments: list[str], variables: dict[str, str]) -> str:
    """What a new Python prints, which may keep its compiled modules, as installed ones are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def describe(report: Report) -> str:
    """Steps by row, runs by column, with their share of the whole; and the imports."""
    runs = {
        f"{int(count):,}, {cache}": steps for count, both in report.derived.items() for cache, steps in both.items()
    }
    steps = next(iter(runs.values()))
    totals = {run: sum(taken.values()) for run, taken in runs.items()}
    rows = [
        [step, *(f"{taken[step]:.2f} ({taken[step] / totals[run]:.0%})" for run, taken in runs.items())]
        for step in steps
    ]
    table = format_table(["seconds", *runs], [*rows, ["all", *(f"{total:.2f}" for total in totals.values())]])
    return f"{table}\n\n{_describe_imports(report.results)}\n"


def _describe_imports(results: tuple[Result, ...]) -> str:
    """Seconds, and multiples of torch's."""
    torch = results[0]
    rows = []
    for each in results:
        seconds = sorted(timing.seconds for timing in each.timings)[len(each.timings) // 2]
        rows.append([f"import of {each.name}", f"{seconds:.3f}", format_spread(speedup(torch, each), 2)])
    return format_table(["", "seconds", "x import torch"], rows)


def plot(report: Report, path: str) -> None:
    """A panel per cache."""
    panels = [
        Panel(
            x="files",
            y=f"seconds, {cache}",
            points=[(int(count), sum(both[cache].values())) for count, both in report.derived.items()],
        )
        for cache in CACHES
    ]
    draw_growth(panels, path, rows=1, title=report.stamp.title)


bench = Bench("startup", __doc__, Options, measure, describe, unit="imports", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
