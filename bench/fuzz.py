"""Damaged and hostile image files against `dali_mixup.dataset.header.probe`, for as long as you like.

Each example is a valid file with some damage, or bytes that never were an image. Of every one is asked that the probe

- returns a `Header` and raises nothing, with a size or a reason, never both,
- gives the same answer twice, the size that Pillow finds, and the size of the file,
- needs less than a second of the processor and less than 64 MiB, and leaves no file open.

The first example that breaks one of these is reduced to the smallest one that hypothesis finds, printed in hex, and
ends the run. Formats and damages are listed in `bench.fuzz_files`, promises in `bench.fuzz_probe`.

With `--decode` whole small files of each format (`bench.fuzz_mutants`) are damaged and delivered by a real Loader on
the CPU, in processes that may die: in batches of 1, 8 and 64, each beside good files, whole and in windows, in both
modes of `on_bad_sample`, with and without `augment`. The run goes on to its end and counts. It fails if a process dies,
hangs, raises anything but a BadSampleError, takes more memory than four batches beyond what the same batches take
without mutants, or if a good neighbour comes otherwise than without them. Each mutant is compared with Pillow bit for
bit.

Examples:
    python -m bench.fuzz --minutes 1
    python -m bench.fuzz path/to/images --minutes 60 --json fuzz.json
    python -m bench.fuzz --seed 12345
    python -m bench.fuzz --decode --minutes 60 --json bench/results/fuzz_decode.json
    python -m bench.fuzz --decode --seed 12345 --rounds 1 --keep files
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.command import Bench, Found, argument, option
from bench.measure import Result, Timing
from bench.report import Report, format_table
from dali_mixup.commands.progress import open_bar

try:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st
    from hypothesis.errors import Flaky
except ImportError as error:
    raise SystemExit(
        "bench.fuzz must have hypothesis to draw its examples; install it with: pip install hypothesis"
    ) from error

from bench.fuzz_decode import describe_decode, fuzz_decode
from bench.fuzz_files import damaged_files, draw_files, read_photos
from bench.fuzz_probe import BrokenPropertyError, Tally, check

EXAMPLES_PER_ROUND = 2000
SHOWN_HEX = 4096  # bytes of a failing example on the screen; the JSON file has all of them
COUNTED = {"refused": "files that Pillow opens and the probe refuses", "warned": "files on which Pillow warned"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to try."""

    photos: str | None = argument("a folder of images to start from, too", optional=True)
    minutes: float = option(60.0, "how long")
    seed: int = option(
        lambda: random.SystemRandom().randrange(2**31),
        "of the first round (default a new one each time, which is printed)",
    )
    decode: bool = option(False, "deliver whole files with a Loader")
    rounds: int | None = option(None, "with --decode: end after so many")
    keep: str | None = option(None, "with --decode: a folder in which the files stay")

    def __post_init__(self) -> None:
        for name in ("rounds", "keep"):
            if getattr(self, name) is not None and not self.decode:
                raise ValueError(f"--{name} must be given with --decode")
        if self.decode and self.photos:
            raise ValueError("PHOTOS must be given without --decode, which draws its files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was broken, in the round of which seed, by which bytes in hex."""

    message: str
    seed: int
    hex: str


def run_round(
    strategy: st.SearchStrategy[bytes], path: str, tally: Tally, *, examples: int, number: int
) -> Failure | None:
    """Try some examples.

    Args:
        strategy: what to try, as of `damaged_files`.
        path: a file to write examples to.
        tally: counts on.
        examples: how many.
        number: hypothesis's seed.

    Returns:
        The smallest example that breaks a property; None if all is well.
    """

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(strategy)
    def holds(content: bytes) -> None:
        check(content, path, tally)

    try:
        holds()
    except (BrokenPropertyError, Flaky) as error:
        return Failure(message=str(error), seed=number, hex=tally.failing.hex())
    return None


def fuzz(seeds: Sequence[bytes], tally: Tally, *, seconds: float, number: int) -> Failure | None:
    """Rounds of examples, at least one, until the time is over or a property is broken; each has the next seed."""
    start, strategy = time.monotonic(), damaged_files(seeds)
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # in memory
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="dali_mixup-fuzz-") as scratch,
        open_bar("fuzzing", round(seconds), "s") as bar,
    ):
        path = os.path.join(scratch, "file")
        while (passed := time.monotonic() - start) < seconds or not tally.examples:
            bar.update(min(round(seconds), int(passed)) - bar.n)
            bar.set_postfix(files=tally.examples, reasons=len(tally.reasons), refresh=False)
            if failure := run_round(strategy, path, tally, examples=EXAMPLES_PER_ROUND, number=number):
                return failure
            number += 1
    return None


def measure(options: Options) -> Iterator[Found]:
    """All that a run has seen."""
    return _measure_decode(options) if options.decode else _measure_probe(options)


def _measure_decode(options: Options) -> Iterator[Found]:
    print(f"seed {options.seed}", flush=True)
    limits = {"rounds": options.rounds, "keep": options.keep}
    for tally, timing in fuzz_decode(seconds=60 * options.minutes, seed=options.seed, **limits):
        result = Result(name="decode", timings=(timing,))
        yield Found(results=[result], derived=tally.plain(), passed=tally.passed)


def _measure_probe(options: Options) -> Iterator[Found]:
    seeds = draw_files() + (read_photos(options.photos) if options.photos else ())
    print(f"seed {options.seed}, {len(seeds)} files to start from", flush=True)
    tally, start = Tally(), time.monotonic()
    failure = fuzz(seeds, tally, seconds=60 * options.minutes, number=options.seed)
    timing = Timing(items=tally.examples, seconds=time.monotonic() - start)
    counts = {name: dict(getattr(tally, name).most_common()) for name in ("reasons", "refused", "warned")}
    limits = {"slowest": tally.slowest, "growth": tally.growth}
    derived = {**counts, **limits, "failure": failure and asdict(failure)}
    results = [Result(name="probe", timings=(timing,))]
    yield Found(results=results, derived=derived, settings={"start_files": len(seeds)}, passed=failure is None)


def describe(report: Report) -> str:
    """How often each reason came, then the limits, then what went wrong."""
    found, (result,) = report.derived, report.results
    if result.name == "decode":
        return describe_decode(found, result.timings[0])
    rows = [[reason or "(good)", str(count)] for reason, count in found["reasons"].items()]
    lines = [
        format_table(["reason, # for a number", "files"], rows),
        "",
        f"{result.timings[0].items:,} files, {result.rate.median:.0f} files/s, {len(rows)} different reasons. "
        f"Slowest probe {found['slowest']:.3f} s, most memory {found['growth'] / 2**20:.1f} MiB.",
    ]
    for name, text in COUNTED.items():
        if counts := found[name]:
            kinds = "; ".join(f"{kind} ({count})" for kind, count in counts.items())
            lines.append(f"{sum(counts.values()):,} {text}: {kinds}")
    if failure := found["failure"]:
        lines += ["", f"BROKEN (seed {failure['seed']}): {failure['message']}", failure["hex"][: 2 * SHOWN_HEX]]
    return "\n".join(lines)


PACKAGES = ("pillow", "hypothesis")
bench = Bench("fuzz", __doc__, Options, measure, describe, unit="files", packages=PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
