"""What `dali_mixup.dataset.header.probe` promises of every file, checked on one, and counted."""

import io
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from bench.machine import open_files, peak_bytes, reset_peak
from dali_mixup.dataset.header import Header, probe

SECONDS_LIMIT, HANG_SECONDS = 1.0, 20.0
MEMORY_LIMIT = 64 << 20
FIRST_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")  # of `Image.preinit`


class BrokenPropertyError(Exception):
    """A file for which the probe does not do what it promises."""


class HangError(BaseException):
    """The probe did not come back; no `except Exception` on the way swallows it."""


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
    must("give a size or a reason, not both", not (sized and header.reason), header)
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
