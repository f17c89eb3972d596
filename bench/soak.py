"""A long run: does memory stay flat, does every thread end, is every file closed?

Each scenario runs in a process of its own. A first Loader is used and dropped, since DALI keeps some threads and files
for the whole process; then threads and open files are counted before the Loader is built, while it runs, and after it
is gone. Resident memory is sampled all the way. A scenario passes if memory grows by less than 1 KiB per batch after
the warm-up and nothing stays behind.

Without DATA, small images are drawn into a temporary folder.
"""

import argparse
import gc
import io
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.cpu import cores_of_others, read_cpu
from bench.feed import find_files
from bench.measure import Result, Timing
from bench.options import add_outputs, save
from bench.plots import draw_lines
from bench.report import Report, format_table, make_stamp
from dali_mixup.commands.progress import open_bar
from dali_mixup.pipelines import finetune, imagenet

EXAMPLES = """examples:
  python -m bench.soak
  python -m bench.soak path/to/images --batches 2000
  python -m bench.soak --batches 20000 --json soak.json --plot soak.png
"""
SLOPE_LIMIT = 1024.0  # bytes per batch
WARMUP = 0.1  # of the batches: allocators and caches fill
SAMPLES = 200  # of memory
FIRST_BATCHES = 40  # of the Loader that is thrown away
SETTLE_S = 5.0  # for threads that end on their own
BAD_FRACTION = 0.01
DRAWN_FILES, DRAWN_SIDES, SIZE = 1000, (32, 48), 32

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
Build = Callable[[], dm.Loader]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the process holds at a moment.

    Attributes:
        resident: bytes of memory.
        threads: names of all threads, Python's and others.
        files: what the open file descriptors lead to.
    """

    resident: int
    threads: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """One scenario, run to the end.

    Attributes:
        name: of the scenario.
        label: for people.
        batches: how many.
        timing: images and seconds.
        samples: (batches so far, bytes of resident memory) by rising number.
        before: before the Loader was built.
        during: in the middle.
        after: when the Loader was gone.
    """

    name: str
    label: str
    batches: int
    timing: Timing
    samples: tuple[tuple[int, int], ...]
    before: Usage
    during: Usage
    after: Usage

    @property
    def usages(self) -> dict[str, Usage]:
        """What the process held, by when."""
        return {"before": self.before, "during": self.during, "after": self.after}

    @property
    def settled(self) -> list[tuple[int, int]]:
        """The samples after the warm-up."""
        return [sample for sample in self.samples if sample[0] > WARMUP * self.batches]

    @property
    def slope(self) -> float:
        """Bytes per batch after the warm-up."""
        return robust_slope(self.settled)

    def faults(self) -> list[str]:
        """What is wrong, in words; nothing if all is well."""
        found = [f"memory grows by {self.slope:.0f} bytes per batch"] if self.slope >= SLOPE_LIMIT else []
        for what in ("threads", "files"):
            left = Counter(getattr(self.after, what)) - Counter(getattr(self.before, what))
            if left:
                found.append(f"{what} left: " + ", ".join(f"{count} x {name}" for name, count in sorted(left.items())))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to use the library.

    Attributes:
        label: for people.
        build: a Loader from paths, batch size and a folder for files that the scenario needs.
        run: endless batches from a Loader that it builds itself, so that it dies with them.
    """

    label: str
    build: Callable[[Sequence[str], int, str], dm.Loader]
    run: Callable[[Build], Batches]


def whole_epochs(build: Build) -> Batches:
    """One Loader, every epoch to its end."""
    loader = build()
    while True:
        yield from loader


def broken_epochs(build: Build) -> Batches:
    """One Loader, a `break` after a third of each epoch."""
    loader = build()
    while True:
        for i, batch in enumerate(loader, start=1):
            yield batch
            if i >= len(loader) / 3:
                break


def resumed_epochs(build: Build) -> Batches:
    """One Loader that is saved and set back in the middle of each epoch."""
    loader = build()
    while True:
        for i, batch in enumerate(loader, start=1):
            yield batch
            if i >= len(loader) / 2:
                break
        loader.load_state_dict(loader.state_dict())
        yield from loader


def new_loaders(build: Build) -> Batches:
    """A new Loader for each epoch."""
    while True:
        yield from build()


def mixed_windows(paths: Sequence[str], batch_size: int, _folder: str) -> dm.Loader:
    """Random crops, flips and mixup."""
    return _loader(paths, imagenet.train(SIZE), batch_size)


def augmented(paths: Sequence[str], batch_size: int, _folder: str) -> dm.Loader:
    """With DALI's random operators, whose graph is built anew for each epoch."""
    return _loader(paths, finetune.train(SIZE), batch_size)


def with_bad_files(paths: Sequence[str], batch_size: int, folder: str) -> dm.Loader:
    """One file in a hundred is replaced; a GIF, which DALI can't read, comes through a file in memory."""
    spoiled = write_bad_files(paths, folder)
    return _loader([*paths, *spoiled], imagenet.train(SIZE), batch_size, on_bad_sample="replace", max_bad_fraction=0.5)


def _loader(paths: Sequence[str], pipeline: dm.ImagePipeline, batch_size: int, **options: object) -> dm.Loader:
    dataset = dm.FileList(paths, [i % 10 for i in range(len(paths))], cache=False)
    return dm.Loader(dataset, pipeline, batch_size=batch_size, shuffle=True, mixup=dm.MixUp(), device="cpu", **options)  # pyright: ignore[reportArgumentType]


SCENARIOS = {
    "windows": Scenario(label="windows with mixup", build=mixed_windows, run=whole_epochs),
    "augment": Scenario(label="with random operators", build=augmented, run=whole_epochs),
    "bad": Scenario(label="1% bad files and a GIF", build=with_bad_files, run=whole_epochs),
    "break": Scenario(label="break in each epoch", build=mixed_windows, run=broken_epochs),
    "resume": Scenario(label="saved and set back in each epoch", build=augmented, run=resumed_epochs),
    "new": Scenario(label="a new Loader for each epoch", build=mixed_windows, run=new_loaders),
}


def draw_jpegs(folder: str, count: int = DRAWN_FILES) -> list[str]:
    """Write small JPEGs of smooth random colours; their paths."""
    paths = [os.path.join(folder, f"{i:05}.jpg") for i in range(count)]
    for i, path in enumerate(paths):
        generator = np.random.default_rng(i)
        width, height = generator.integers(*DRAWN_SIDES, size=2, endpoint=True).tolist()
        colours = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        colours.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def write_bad_files(paths: Sequence[str], folder: str) -> list[str]:
    """Half of a JPEG, an empty file, a text in turn, as many as `BAD_FRACTION` of `paths`, and a good GIF.

    Their paths.
    """
    half = Path(paths[0]).read_bytes()
    contents = [half[: len(half) // 2], b"", b"no image"]
    drawn = io.BytesIO()
    Image.new("RGB", (SIZE + 8, SIZE), "orange").quantize(8).save(drawn, "GIF")
    files = {f"bad{i:05}.jpg": contents[i % 3] for i in range(max(3, round(BAD_FRACTION * len(paths))))} | {
        "good.gif.jpg": drawn.getvalue()
    }
    for name, content in files.items():
        Path(folder, name).write_bytes(content)
    return [os.path.join(folder, name) for name in files]


def read_usage() -> Usage:
    """What this process holds now. Linux only."""
    threads = []
    for task in os.listdir("/proc/self/task"):
        try:
            threads.append(Path("/proc/self/task", task, "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    files = []
    for number in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the listing's own
            continue
    return Usage(resident=resident_bytes(), threads=tuple(sorted(threads)), files=tuple(sorted(files)))


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def robust_slope(samples: Sequence[tuple[int, int]]) -> float:
    """The median of the slopes between all pairs of points (Theil and Sen): a burst or a step changes it little.

    >>> robust_slope([(0, 7), (1, 9), (2, 400), (3, 13), (4, 15)])
    2.0
    """
    if len(samples) < 2:
        return 0.0
    xs, ys = np.array(samples, np.float64).T
    first, second = np.triu_indices(len(xs), 1)
    return float(np.median((ys[second] - ys[first]) / (xs[second] - xs[first])))


def soak(name: str, scenario: Scenario, paths: Sequence[str], *, batches: int, batch_size: int) -> Soak:
    """Run one scenario in this process.

    Args:
        name: of the result.
        scenario: what to run.
        paths: image files.
        batches: how many, after those of a first Loader that is thrown away.
        batch_size: images per batch.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)

        def start() -> Batches:
            return scenario.run(lambda: scenario.build(paths, batch_size, folder))

        _take(start(), min(batches, FIRST_BATCHES))
        before = settled_usage(None)
        samples, timing, during = _sampled(start(), batches, scenario.label)
        after = settled_usage(before)
    return Soak(
        name=name,
        label=scenario.label,
        batches=batches,
        timing=timing,
        samples=tuple(samples),
        before=before,
        during=during,
        after=after,
    )


def _take(stream: Batches, count: int) -> None:
    for _ in range(count):
        next(stream)


def _sampled(stream: Batches, batches: int, label: str) -> tuple[list[tuple[int, int]], Timing, Usage]:
    """Consume batches; memory over them, how long they took, and what was held in the middle."""
    every, images_seen, during, samples = max(1, batches // SAMPLES), 0, read_usage(), []
    cpu, start = read_cpu(), time.perf_counter()
    with open_bar(label, batches, "batches") as bar:
        for done in range(1, batches + 1):
            images, _ = next(stream)
            images_seen += len(images)
            del images, _
            bar.update()
            if done % every == 0:
                samples.append((done, resident_bytes()))
            if done == (batches + 1) // 2:
                during = read_usage()
    seconds = time.perf_counter() - start
    others, peak = cores_of_others(cpu, read_cpu()), max(resident for _, resident in samples)
    return samples, Timing(items=images_seen, seconds=seconds, others=others, peak_bytes=peak), during


def settled_usage(before: Usage | None) -> Usage:
    """What is held once all garbage is collected, and threads that are about to end have ended.

    Args:
        before: wait until there are no more threads than here; None waits until their number stays for a second.
    """
    end = time.monotonic() + SETTLE_S
    gc.collect()
    usage = read_usage()
    while time.monotonic() < end:
        if before is not None and len(usage.threads) <= len(before.threads):
            break
        time.sleep(1.0 if before is None else 0.1)
        count = len(usage.threads)
        usage = read_usage()
        if before is None and len(usage.threads) == count:
            break
    return usage


def soak_apart(name: str, paths: Sequence[str], *, batches: int, batch_size: int) -> Soak:
    """Run one of `SCENARIOS` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_soak_by_name, name, paths, batches, batch_size).result()


def _soak_by_name(name: str, paths: Sequence[str], batches: int, batch_size: int) -> Soak:
    return soak(name, SCENARIOS[name], paths, batches=batches, batch_size=batch_size)


def make_report(soaks: Sequence[Soak], settings: dict[str, object]) -> Report:
    """All scenarios, with their samples."""
    return Report(
        benchmark="soak",
        unit="images",
        settings=settings,
        stamp=make_stamp(),
        results=tuple(Result(name=each.name, label=each.label, timings=(each.timing,)) for each in soaks),
        derived={each.name: _as_record(each) for each in soaks},
    )


def _as_record(soak: Soak) -> dict[str, object]:
    """For JSON; the folders of open files are the machine's own business."""
    usages = {
        name: replace(usage, files=tuple(map(os.path.basename, usage.files))) for name, usage in soak.usages.items()
    }
    return {**asdict(replace(soak, **usages)), "slope": soak.slope, "faults": soak.faults()}


def describe(soaks: Sequence[Soak], stamp: object) -> str:
    """A row per scenario, then every fault in words."""
    rows = []
    for each in soaks:
        usages = each.usages.values()
        settled = [resident for _, resident in each.settled]
        rows.append(
            [
                each.label,
                f"{each.batches:,}",
                f"{each.timing.items / each.timing.seconds:,.0f}",
                f"{settled[0] / 2**20:.1f} - {settled[-1] / 2**20:.1f}",
                f"{each.slope:+.0f}",
                "/".join(str(len(usage.threads)) for usage in usages),
                "/".join(str(len(usage.files)) for usage in usages),
                "FAILED" if each.faults() else "flat",
            ]
        )
    header = [
        "scenario",
        "batches",
        "images/s",
        "MiB after warm-up - end",
        "bytes/batch",
        "threads",
        "files",
        "verdict",
    ]
    faults = [f"{each.name}: {fault}" for each in soaks for fault in each.faults()]
    note = "Threads and open files: before / while / after the Loader."
    return "\n".join([format_table(header, rows), "", note, *faults, str(stamp)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a scenario failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", nargs="?", help="a folder of images; without it small ones are drawn")
    parser.add_argument("--batches", type=int, default=20_000, help="per scenario (default 20000)")
    parser.add_argument("--batch-size", type=int, default=16, help="images per batch (default 16)")
    parser.add_argument(
        "--scenarios",
        nargs="+",
        choices=SCENARIOS,
        default=list(SCENARIOS),
        metavar="NAME",
        help=f"some of {' '.join(SCENARIOS)}",
    )
    add_outputs(parser)
    options = parser.parse_args(arguments)
    if options.batches < 2 or options.batch_size < 1:
        parser.error("--batches must be at least 2 and --batch-size at least 1")
    with tempfile.TemporaryDirectory(prefix="dali_mixup-soak-") as folder:
        paths = find_files(options.data)[0] if options.data else draw_jpegs(folder)
        soaks = [
            soak_apart(name, paths, batches=options.batches, batch_size=options.batch_size)
            for name in options.scenarios
        ]
    settings = {"data": options.data, "files": len(paths), "batches": options.batches, "batch_size": options.batch_size}
    report = make_report(soaks, settings)
    print(describe(soaks, report.stamp))
    save(
        report,
        options,
        lambda path: draw_memory(soaks, path, title=f"{report.stamp.cpu}; commit {report.stamp.commit}"),
    )
    return 1 if any(each.faults() for each in soaks) else 0


def draw_memory(soaks: Sequence[Soak], path: str, *, title: str) -> None:
    """Memory over batches, a line per scenario, from its level after the warm-up; the limit as a dashed line."""
    lines = {}
    for each in soaks:
        level = each.settled[0][1]
        done, resident = zip(*each.samples, strict=True)
        lines[f"{each.name}: {each.slope:+.0f} bytes per batch"] = done, [(now - level) / 2**20 for now in resident]
    start, end = (max(edge(done for done, _ in each.settled) for each in soaks) for edge in (min, max))
    limit = f"limit: {SLOPE_LIMIT:.0f} bytes per batch"
    lines[limit] = (start, end), (0, (end - start) * SLOPE_LIMIT / 2**20)
    draw_lines(lines, path, x="batches", y="MiB above the level after the warm-up", title=title, limit=limit)


if __name__ == "__main__":
    sys.exit(main())
