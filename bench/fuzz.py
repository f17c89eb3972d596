"""Damaged and hostile image files against `dali_mixup.dataset.header.probe`, for as long as you like.

Each example is a valid file with some damage, or bytes that never were an image. Of every one is asked that the probe

- returns a `Header` and raises nothing, with a reason if it gives no size; a size and a reason only for a TIFF that
  DALI misreads,
- gives the same answer twice, the size that Pillow finds, and the size of the file,
- needs less than a second of the processor and less than 64 MiB, and leaves no file open.

The first example that breaks one of these is reduced to the smallest one that hypothesis finds, printed in hex, and
ends the run.
"""

import argparse
import io
import os
import random
import re
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from bench.feed import find_files
from bench.measure import Result, Timing
from bench.report import Report, format_table, make_stamp, write_json
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

EXAMPLES = """examples:
  python -m bench.fuzz --minutes 1
  python -m bench.fuzz path/to/images --minutes 60 --json fuzz.json
  python -m bench.fuzz --seed 12345
"""
EXAMPLES_PER_ROUND = 2000
SECONDS_LIMIT, HANG_SECONDS = 1.0, 20.0
MEMORY_LIMIT = 64 << 20
LARGEST_INSERT = 1 << 16  # bytes that one mutation adds at most
PHOTO_BYTES = 16 << 10  # of a given photo; its header lies in there
SHOWN_HEX = 4096  # bytes of a failing example on the screen; the JSON file has all of them
JPEG_START = b"\xff\xd8"
TIFF_STARTS = (b"II", b"MM")
FIRST_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")  # of `Image.preinit`
# fmt: off
MAGICS = (
    JPEG_START, b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*", b"II+\0",
    b"P6\n", b"Pf\n", b"8BPS", b"\0\0\1\0", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"DDS ", b"icns",
    b"qoif", b"%!PS-Adobe", b"\xd0\xcf\x11\xe0", b"GRIB", b"SIMPLE  =", b"\x0a\x05\x01\x08", b"\x01\xda", b"FTEX",
    b"BLP2", b"\x89HDF\r\n\x1a\n", b"\0\0\0\x1cftypavif",
)
# fmt: on
# Numbers that parsers stumble over, as 2 and 4 bytes in both orders.
EDGES = tuple(
    struct.pack(order + size, number)
    for size, numbers in (("H", (0, 1, 2, 0x7FFF, 0xFFFF)), ("I", (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)))
    for number in numbers
    for order in "<>"
)


class BrokenPropertyError(Exception):
    """A file for which the probe does not do what it promises."""


class HangError(BaseException):
    """The probe did not come back; no `except Exception` on the way swallows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One damage to a file.

    Attributes:
        kind: one of `KINDS`.
        at: where, modulo the length; for the segment kinds the number of the segment.
        count: how many bytes, how often, or which other segment.
        payload: what is written or inserted.
    """

    kind: str
    at: int
    count: int
    payload: bytes


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
    failing: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was broken, by which bytes, in the round of which seed."""

    message: str
    content: bytes
    seed: int


def draw_files() -> tuple[bytes, ...]:
    """A small valid file of each kind, as far as this Pillow writes it."""
    pixels = random.Random(0).randbytes(40 * 24 * 3)
    rgb = Image.frombytes("RGB", (40, 24), pixels)
    frames = [rgb, rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    animated = {"save_all": True, "append_images": frames[1:]}
    wanted = [
        *((rgb.convert(mode), "JPEG", {}) for mode in ("RGB", "L", "CMYK")),
        *(
            (rgb, "JPEG", options)
            for options in ({"progressive": True}, {"exif": exif}, {"icc_profile": pixels * 40}, {"comment": pixels})
        ),
        (
            rgb,
            "JPEG",
            {"progressive": True, "exif": exif, "icc_profile": pixels, "restart_marker_blocks": 1, "dpi": (72, 72)},
        ),
        (rgb, "MPO", animated),
        *(
            (rgb.convert(mode), "PNG", {"exif": exif, "icc_profile": pixels[:300]})
            for mode in ("RGB", "RGBA", "L", "P", "1", "I;16")
        ),
        (rgb, "PNG", animated),
        *((rgb.quantize(colors), "GIF", {"comment": b"drawn"}) for colors in (4, 200)),
        (rgb.quantize(16), "GIF", {"save_all": True, "append_images": [frames[1].quantize(16)], "loop": 0}),
        *(
            (rgb.convert(mode), "WEBP", {"lossless": lossless})
            for mode in ("RGB", "RGBA")
            for lossless in (False, True)
        ),
        (rgb, "WEBP", {"exif": exif, "icc_profile": pixels[:300], **animated}),
        *((rgb.convert(mode), "BMP", {}) for mode in ("RGB", "RGBA", "L", "P", "1")),
        *((rgb, "TIFF", {"compression": how}) for how in ("raw", "tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")),
        (rgb.convert("L"), "TIFF", {"big_tiff": True, "save_all": True, "append_images": [rgb.convert("L")]}),
        *((rgb.convert(mode), "PPM", {}) for mode in ("RGB", "L", "1")),
        *((rgb, kind, {}) for kind in ("JPEG2000", "ICO", "TGA", "PCX", "DDS", "AVIF", "SGI", "QOI", "ICNS", "EPS")),
    ]
    files = []
    for image, kind, options in wanted:
        buffer = io.BytesIO()
        with suppress(OSError, KeyError, ValueError):  # a Pillow without this codec
            image.save(buffer, kind, **options)
            files.append(buffer.getvalue())
    return tuple(files)


def read_photos(folder: str) -> tuple[bytes, ...]:
    """The first `PHOTO_BYTES` of each image in a folder."""
    paths, _ = find_files(folder)
    return tuple(Path(path).read_bytes()[:PHOTO_BYTES] for path in paths)


def mutate(content: bytes, mutation: Mutation) -> bytes:
    """The file with one damage more.

    >>> mutate(b"abcdef", Mutation(kind="insert", at=2, count=2, payload=b"xy"))
    b'abxyxycdef'
    >>> mutate(b"abcdef", Mutation(kind="cut", at=8, count=0, payload=b""))
    b'a'
    """
    at = mutation.at % (len(content) + 1)
    before, after, count, payload = content[:at], content[at:], mutation.count, mutation.payload
    match mutation.kind:
        case "set":
            return before + payload + after[len(payload) :]
        case "insert":
            times = min(count, LARGEST_INSERT // max(1, len(payload)))
            return before + payload * times + after
        case "delete":
            return before + after[count:]
        case "duplicate":
            return before + after[:count] * 2 + after[count:]
        case "zero":
            return before + bytes(len(after[:count])) + after[count:]
        case "cut":
            return before
        case "splice":
            return before + payload[count % (len(payload) + 1) :]
        case _:
            return b"".join(_mutate_segments(split_segments(content), mutation))


def _mutate_segments(segments: list[bytes], mutation: Mutation) -> list[bytes]:
    """Damage to the order, number and lengths of a JPEG's segments.

    Its first two bytes and its image data stay where they are.
    """
    between = segments[1:-1]
    if not between:
        return segments
    one, other = mutation.at % len(between), mutation.count % len(between)
    match mutation.kind:
        case "swap segments":
            between[one], between[other] = between[other], between[one]
        case "copy segment":
            between.insert(other, between[one])
        case "drop segment":
            del between[one]
        case "length of segment":
            between[one] = between[one][:2] + struct.pack(">H", mutation.count % 65536) + between[one][4:]
    return [segments[0], *between, segments[-1]]


def split_segments(content: bytes) -> list[bytes]:
    """A JPEG's first marker, its segments, and the rest from the image data on; all of any other file as one piece.

    >>> [piece.hex() for piece in split_segments(bytes.fromhex("ffd8 ffe0000312 ffda0002 55"))]
    ['ffd8', 'ffe0000312', 'ffda000255']
    """
    if not content.startswith(JPEG_START):
        return [content]
    pieces, at = [JPEG_START], 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] not in (b"", b"\xda", b"\xff"):
        end = at + 2 + max(2, int.from_bytes(content[at + 2 : at + 4]))
        pieces.append(content[at:end])
        at = end
    return [*pieces, content[at:]]


def repair_png(content: bytes) -> bytes:
    """The same file with fitting check sums, so that damage passes a parser's first look."""
    at, repaired = 8, bytearray(content)
    while at + 12 <= len(repaired):
        end = at + 8 + int.from_bytes(repaired[at : at + 4])
        if end + 4 > len(repaired):
            break
        repaired[end : end + 4] = zlib.crc32(repaired[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(repaired)


BYTE_KINDS = ("set", "insert", "delete", "duplicate", "zero", "cut", "splice")
SEGMENT_KINDS = ("swap segments", "copy segment", "drop segment", "length of segment")
KINDS = (*BYTE_KINDS, *SEGMENT_KINDS)


def one_of_seeds(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the files, drawn by its number: hypothesis writes down whatever `sampled_from` is given."""

    def content(number: int) -> bytes:
        return seeds[number]

    return st.integers(0, len(seeds) - 1).map(content)


def mutations(seeds: Sequence[bytes]) -> st.SearchStrategy[Mutation]:
    """One damage; most of them lie in the first bytes, where headers are."""
    near, middle, far = st.integers(0, 64), st.integers(0, 1024), st.integers(0, PHOTO_BYTES)
    small = st.one_of(st.binary(max_size=8), st.sampled_from(EDGES), st.sampled_from(MAGICS))
    marker = st.integers(0, 255).map(lambda code: bytes([0xFF, code]))
    payload = st.one_of(small, marker, st.builds(bytes.__add__, marker, small))
    placed = {"at": st.one_of(near, middle, far)}
    return st.one_of(
        st.builds(Mutation, kind=st.just("set"), payload=payload, count=st.just(0), **placed),
        st.builds(Mutation, kind=st.just("insert"), payload=payload, count=st.one_of(st.integers(1, 4), far), **placed),
        st.builds(
            Mutation,
            kind=st.sampled_from(("delete", "duplicate", "zero", "cut")),
            payload=st.just(b""),
            count=st.one_of(near, far),
            **placed,
        ),
        st.builds(Mutation, kind=st.just("splice"), payload=one_of_seeds(seeds), count=st.one_of(near, far), **placed),
        st.builds(
            Mutation,
            kind=st.sampled_from(SEGMENT_KINDS),
            payload=st.just(b""),
            at=st.integers(0, 15),
            count=st.one_of(st.integers(0, 15), st.integers(0, 65535)),
        ),
    )


def damaged_files(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Contents of files: one of `seeds` with up to five damages, or bytes that never were an image."""

    def damage(content: bytes, damages: list[Mutation], repair: bool) -> bytes:
        for mutation in damages:
            content = mutate(content, mutation)
        return repair_png(content) if repair and content.startswith(b"\x89PNG") else content

    damaged = st.builds(damage, one_of_seeds(seeds), st.lists(mutations(seeds), max_size=5), st.booleans())
    begun = st.builds(bytes.__add__, st.sampled_from(MAGICS), st.binary(max_size=256))
    return st.one_of(
        st.binary(max_size=256), begun, damaged, damaged, damaged, damaged
    )  # failures are reduced to the first that also fails


def check(content: bytes, path: str, tally: Tally) -> None:
    """Write a file, probe it, and count what came out.

    Args:
        content: of the file.
        path: where it is written; in memory (/dev/shm) this is much faster.
        tally: gets all that was seen.

    Raises:
        BrokenPropertyError: the probe broke one of its promises.
    """
    with open(path, "wb") as file:
        file.write(content)
    tally.examples += 1
    try:
        header = _probe_within_limits(path, tally)
        _check_header(header, content)
        _check_against_pillow(header, content, tally)
    except BrokenPropertyError:
        tally.failing = content
        raise
    tally.reasons[without_numbers(header.reason)] += 1


def _probe_within_limits(path: str, tally: Tally) -> Header:
    """Probe a file twice: the first time under watch, the second time for the same answer."""
    files_before, peak_before = set(os.listdir("/proc/self/fd")), reset_peak()
    start = time.thread_time()
    header = _probe_or_explain(path, tally)
    seconds = time.thread_time() - start
    growth = peak_memory() - peak_before
    tally.slowest, tally.growth = max(tally.slowest, seconds), max(tally.growth, growth)
    if seconds > SECONDS_LIMIT:
        raise BrokenPropertyError(f"the probe must take at most {SECONDS_LIMIT:g} s, got {seconds:.2f} s")
    if growth > MEMORY_LIMIT:
        raise BrokenPropertyError(f"the probe must take at most {MEMORY_LIMIT >> 20} MiB, got {growth / 2**20:.0f} MiB")
    if left := set(os.listdir("/proc/self/fd")) - files_before:
        raise BrokenPropertyError(f"the probe must close its files, got {sorted(left)} left open")
    if (again := _probe_or_explain(path, tally)) != header:
        raise BrokenPropertyError(f"the probe must give the same answer twice, got {header}, then {again}")
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
    if (
        not isinstance(header, Header)
        or not all(isinstance(value, int) for value in header[:4])
        or not isinstance(header.reason, str)
    ):
        raise BrokenPropertyError(f"the probe must return a Header, got {header!r}")
    sized = header.height > 0 and header.width > 0
    if not sized and (header[:2] != (0, 0) or not header.reason):
        raise BrokenPropertyError(f"the probe must give a size above 0, or 0 x 0 and a reason, got {header}")
    if sized and header.reason and not content.startswith(TIFF_STARTS):
        raise BrokenPropertyError(f"the probe must give a size or a reason, and both for TIFFs only, got {header}")
    if header.file_size != len(content):
        raise BrokenPropertyError(f"file_size must be {len(content)}, got {header.file_size}")


def _check_against_pillow(header: Header, content: bytes, tally: Tally) -> None:
    """The size is Pillow's, unless the file has several sizes: such a file must not decode, whoever is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=pillow_formats()) as image:
                if not header.height:
                    tally.refused[without_numbers(header.reason)] += 1
                elif header[:2] != (image.height, image.width):
                    image.load()
                    raise BrokenPropertyError(
                        f"the size must be Pillow's {image.height} x {image.width}, got {header[0]} x {header[1]}"
                    )
        except BrokenPropertyError:
            raise
        except Exception:  # noqa: BLE001  Pillow opens nothing, or the file of two sizes doesn't decode
            return


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


def reset_peak() -> int:
    """Begin anew to look for this process's peak of resident memory, where Linux allows it; bytes of the peak now."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak_memory()


def peak_memory() -> int:
    """The peak of this process's resident memory, bytes."""
    with open("/proc/self/status", "rb") as file:
        return int(re.findall(rb"VmHWM:\s+(\d+) kB", file.read())[0]) << 10


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
        return Failure(message=str(error), content=tally.failing or b"", seed=number)
    return None


def fuzz(seeds: Sequence[bytes], tally: Tally, *, seconds: float, number: int) -> Failure | None:
    """Rounds of examples until the time is over or a property is broken; each round has the next seed."""
    start, strategy = time.monotonic(), damaged_files(seeds)
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # in memory
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="dali_mixup-fuzz-") as scratch,
        open_bar("fuzzing", round(seconds), "s") as bar,
    ):
        while (passed := time.monotonic() - start) < seconds:
            bar.update(min(round(seconds), int(passed)) - bar.n)
            bar.set_postfix(files=tally.examples, reasons=len(tally.reasons), refresh=False)
            if failure := run_round(
                strategy, os.path.join(scratch, "file"), tally, examples=EXAMPLES_PER_ROUND, number=number
            ):
                return failure
            number += 1
    return None


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
    for name, text in (
        ("refused", "files that Pillow opens and the probe refuses"),
        ("warned", "files on which Pillow warned"),
    ):
        if found[name]:
            lines.append(
                f"{sum(found[name].values()):,} {text}: " + "; ".join(f"{key} ({n})" for key, n in found[name].items())
            )
    if failure := found["failure"]:
        lines += ["", f"BROKEN (seed {failure['seed']}): {failure['message']}", failure["hex"][: 2 * SHOWN_HEX]]
    return "\n".join([*lines, str(report.stamp)])


def make_report(tally: Tally, failure: Failure | None, *, seconds: float, settings: dict[str, object]) -> Report:
    """All that a run has seen."""
    return Report(
        benchmark="fuzz",
        unit="files",
        settings=settings,
        stamp=make_stamp(["pillow", "hypothesis"]),
        results=(Result(name="probe", timings=(Timing(items=tally.examples, seconds=seconds),)),),
        derived={
            **{name: dict(getattr(tally, name).most_common()) for name in ("reasons", "refused", "warned")},
            "slowest": tally.slowest,
            "growth": tally.growth,
            "failure": failure and {"message": failure.message, "seed": failure.seed, "hex": failure.content.hex()},
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a property was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", metavar="PHOTOS", nargs="?", help="a folder of images to start from, too")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--seed", type=int, help="of the first round (default: a new one each time, which is printed)")
    parser.add_argument("--json", metavar="FILE", help="write all that was seen")
    options = parser.parse_args(arguments)
    number = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    seeds = draw_files() + (read_photos(options.photos) if options.photos else ())
    print(f"seed {number}, {len(seeds)} files to start from", flush=True)
    tally, start = Tally(), time.monotonic()
    failure = fuzz(seeds, tally, seconds=60 * options.minutes, number=number)
    settings = {"photos": options.photos, "minutes": options.minutes, "seed": number, "start_files": len(seeds)}
    report = make_report(tally, failure, seconds=time.monotonic() - start, settings=settings)
    print(describe(report))
    if options.json:
        write_json(report, options.json)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
