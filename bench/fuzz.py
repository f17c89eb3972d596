"""Damaged and hostile image files against `dali_mixup.dataset.header.probe`, for as long as you like.

Each example is a valid file with some damage, or bytes that never were an image. Of every one is asked that the probe

- returns a `Header` and raises nothing, with a reason if it gives no size; a size and a reason only for a TIFF that
  DALI misreads,
- gives the same answer twice, the size that Pillow finds, and the size of the file,
- needs less than a second of the processor and less than 64 MiB, and leaves no file open.

The first example that breaks one of these is reduced to the smallest one that hypothesis finds, printed in hex, and
ends the run. Formats and damages are listed in `bench.fuzz_files`.

Examples:
    python -m bench.fuzz --minutes 1
    python -m bench.fuzz path/to/images --minutes 60 --json fuzz.json
    python -m bench.fuzz --seed 12345
"""

import io
import os
import random
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from bench.command import Bench, Found, option, option_of, optional_argument
from bench.machine import open_files, peak_bytes, reset_peak
from bench.measure import Result, Timing
from bench.report import Report, format_table
from dali_mixup.commands.progress import open_bar
from dali_mixup.dataset.header import Header, probe

try:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st
    from hypothesis.errors import Flaky
except ImportError as error:
    raise SystemExit(
        "bench.fuzz must have hypothesis to draw its examples; install it with: pip install hypothesis"
    ) from error

from bench.fuzz_files import damaged_files, draw_files, read_photos

EXAMPLES_PER_ROUND = 2000
SECONDS_LIMIT, HANG_SECONDS = 1.0, 20.0
MEMORY_LIMIT = 64 << 20
SHOWN_HEX = 4096  # bytes of a failing example on the screen; the JSON file has all of them
TIFF_STARTS = (b"II", b"MM")
FIRST_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")  # of `Image.preinit`
COUNTED = {"refused": "files that Pillow opens and the probe refuses", "warned": "files on which Pillow warned"}


class BrokenPropertyError(Exception):
    """A file for which the probe does not do what it promises."""


class HangError(BaseException):
    """The probe did not come back; no `except Exception` on the way swallows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to try."""

    photos: str | None = optional_argument("a folder of images to start from, too")
    minutes: float = option(60.0, "how long")
    seed: int = option_of(
        lambda: random.SystemRandom().randrange(2**31),
        "of the first round (default a new one each time, which is printed)",
    )


@dataclass(slots=True)
class Tally:
    """What a run has seen so far.

    Attributes:
        examples: how many files were probed.
        reasons: how many of each, without numbers and quotes; "" for good ones.
        warned: warnings of Pillow on the way, likewise.
        refused: files that Pillow opens and the probe refuses, by the probe's reason.
        slowest: seconds of the processor.
        growth: the most bytes of memory that one probe added.
        failing: the last file that broke a property, which is the smallest one after hypothesis is done.
    """

    examples: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    growth: int = 0
    failing: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was broken, in the round of which seed, by which bytes in hex."""

    message: str
    seed: int
    hex: str


def check(content: bytes, path: str, tally: Tally) -> None:
    """Write a file, probe it, and count what came out.

    Args:
        content: of the file.
        path: where it is written; in memory (/dev/shm) this is much faster.
        tally: gets all that was seen.

    Raises:
        BrokenPropertyError: the probe broke one of its promises.
    """
    Path(path).write_bytes(content)
    tally.examples += 1
    try:
        header = _probe_within_limits(path, tally)
        _check_header(header, content)
        _check_against_pillow(header, content, tally)
    except BrokenPropertyError:
        tally.failing = content
        raise
    tally.reasons[without_numbers(header.reason)] += 1


def must(rule: str, holds: object, got: object) -> None:
    """Raise unless the probe holds a promise."""
    if not holds:
        raise BrokenPropertyError(f"the probe must {rule}, got {got}")


def _probe_within_limits(path: str, tally: Tally) -> Header:
    """Probe a file twice: the first time under watch, the second time for the same answer."""
    files, peak, start = Counter(open_files()), reset_peak(), time.thread_time()
    header = _probe_or_explain(path, tally)
    seconds, growth = time.thread_time() - start, peak_bytes() - peak
    left = list((Counter(open_files()) - files).elements())
    tally.slowest, tally.growth = max(tally.slowest, seconds), max(tally.growth, growth)
    must(f"take at most {SECONDS_LIMIT:g} s", seconds <= SECONDS_LIMIT, f"{seconds:.2f} s")
    must(f"take at most {MEMORY_LIMIT >> 20} MiB", growth <= MEMORY_LIMIT, f"{growth / 2**20:.0f} MiB")
    must("close its files", not left, f"{left} left open")
    again = _probe_or_explain(path, tally)
    must("give the same answer twice", again == header, f"{header}, then {again}")
    return header


def _probe_or_explain(path: str, tally: Tally) -> Header:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with ended_after(HANG_SECONDS):
                header = probe(path)
        except HangError as error:
            raise BrokenPropertyError(f"the probe must come back, got nothing within {HANG_SECONDS:g} s") from error
        except Exception as error:
            raise BrokenPropertyError(f"the probe must raise nothing, got {error!r}") from error
    tally.warned.update({without_numbers(f"{warning.category.__name__}: {warning.message}") for warning in caught})
    return header


def _check_header(header: Header, content: bytes) -> None:
    right_types = isinstance(header, Header) and all(isinstance(value, int) for value in header[:4])
    must("return a Header", right_types and isinstance(header.reason, str), repr(header))
    sized = header.height > 0 and header.width > 0
    must("give a size above 0, or 0 x 0 and a reason", sized or (header[:2] == (0, 0) and header.reason), header)
    one = not (sized and header.reason) or content.startswith(TIFF_STARTS)
    must("give a size or a reason, and both for TIFFs only", one, header)
    must(f"give a file_size of {len(content)}", header.file_size == len(content), header.file_size)


def _check_against_pillow(header: Header, content: bytes, tally: Tally) -> None:
    """The size is Pillow's, unless the file has several sizes: such a file must not decode, whoever is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=pillow_formats()) as image:
                size = image.height, image.width
                if header.height and header[:2] != size:
                    image.load()
        except Exception:  # noqa: BLE001  Pillow opens nothing, or the file of two sizes doesn't decode
            return
    if not header.height:
        tally.refused[without_numbers(header.reason)] += 1
    else:
        must("give Pillow's size of {} x {}".format(*size), header[:2] == size, f"{header[0]} x {header[1]}")


@cache
def pillow_formats() -> tuple[str, ...]:
    """Pillow's formats but EPS, whose `load` starts Ghostscript; those first that Pillow itself tries first."""
    Image.init()
    return (*FIRST_FORMATS, *(name for name in sorted(Image.OPEN) if name not in ("EPS", *FIRST_FORMATS)))


def without_numbers(text: str) -> str:
    """A message as a kind of message: without digits and quotes, at most 100 characters.

    >>> without_numbers("not an image: ValueError: got b'xyz' at byte 17")
    'not an image: ValueError: got … at byte #'
    """
    quoted = re.sub(r"""b?'[^']*'|b?"[^"]*\"""", "…", text)
    return re.sub(r"\d+", "#", quoted)[:100]


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raise `HangError` in the body once it takes longer than that; only in the main thread."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
    """Rounds of examples until the time is over or a property is broken; each round has the next seed."""
    start, strategy = time.monotonic(), damaged_files(seeds)
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # in memory
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="dali_mixup-fuzz-") as scratch,
        open_bar("fuzzing", round(seconds), "s") as bar,
    ):
        path = os.path.join(scratch, "file")
        while (passed := time.monotonic() - start) < seconds:
            bar.update(min(round(seconds), int(passed)) - bar.n)
            bar.set_postfix(files=tally.examples, reasons=len(tally.reasons), refresh=False)
            if failure := run_round(strategy, path, tally, examples=EXAMPLES_PER_ROUND, number=number):
                return failure
            number += 1
    return None


def measure(options: Options) -> Iterator[Found]:
    """All that a run has seen."""
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
