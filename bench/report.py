"""What a benchmark leaves behind: a stamp of the machine, JSON for programs, a table for people."""

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.machine import cores
from bench.measure import Result, Spread, Timing

PACKAGES = ("torch", "numpy", "nvidia-dali-cuda120")
GPU_PACKAGES = ("triton", "torchvision", "pillow", "nvidia-nvimgcodec-cu12", "nvidia-nvjpeg-cu12", "nvidia-nvjpeg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Where and with what numbers were taken.

    Attributes:
        cpu: its model.
        cores: those that this process may use.
        gpu: its model, or None.
        versions: of Python and packages, on a GPU also of its driver and CUDA.
        commit: of this repository, with "+changes" where files differ from it; "unknown" outside of git.
        date: UTC, ISO 8601.
    """

    cpu: str
    cores: int
    gpu: str | None
    versions: dict[str, str]
    commit: str
    date: str

    def __str__(self) -> str:
        machine = f"{self.cpu}, {self.cores} cores" + (f", {self.gpu}" if self.gpu else "")
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{machine}; {versions}; commit {self.commit}; {self.date}"

    @property
    def title(self) -> str:
        """Of a chart."""
        return f"{self.gpu or self.cpu}, {self.cores} cores; commit {self.commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of one run of a benchmark.

    Attributes:
        benchmark: its name.
        unit: what is counted, such as "images".
        settings: options that hold for all variants.
        stamp: machine, versions, commit, date.
        results: one per variant.
        missing: variants that could not run, with the reason.
        derived: numbers computed from the results, such as ratios.
    """

    benchmark: str
    unit: str
    settings: dict[str, Any] = field(default_factory=dict)
    stamp: Stamp
    results: tuple[Result, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    derived: dict[str, Any] = field(default_factory=dict)


def make_stamp(packages: Sequence[str] = ()) -> Stamp:
    """The stamp of this machine and moment, with the versions of `PACKAGES` and of further installed `packages`."""
    versions = {"python": platform.python_version()}
    for name in (*PACKAGES, *packages):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        versions |= {"CUDA of torch": str(torch.version.cuda), "driver": _driver()}
    return Stamp(
        cpu=_cpu_model(),
        cores=cores(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        versions=versions,
        commit=_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write_json(report: Report, path: str | os.PathLike) -> None:
    """Write the report in one step: a reader finds all of it or the file that was there before."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".tmp", delete=False) as file:
        try:
            json.dump(asdict(report), file, indent=2)
            file.write("\n")
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def read_json(path: str | os.PathLike) -> Report:
    """The report that `write_json` wrote."""
    return as_report(json.loads(Path(path).read_text()))


def as_report(data: dict[str, Any]) -> Report:
    """The report of which this is the JSON."""
    results = tuple(
        Result(**(row | {"timings": tuple(Timing(**timing) for timing in row["timings"])})) for row in data["results"]
    )
    return Report(**(data | {"stamp": Stamp(**data["stamp"]), "results": results}))


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell; the first to the left, the others to the right.

    >>> print(format_table(["variant", "images/s"], [["ours", "1502"], ["a longer name", "391"]]))
    variant        images/s
    -------------  --------
    ours               1502
    a longer name       391
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    cells = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in lines
    )
    return "\n".join("  ".join(row).rstrip() for row in cells)


def format_spread(value: Spread, digits: int = 0) -> str:
    """Median and quartiles.

    >>> format_spread(Spread(median=4.0, low=3.91, high=4.1, count=5), digits=2)
    '4.00 (3.91-4.10)'
    """
    return f"{value.median:.{digits}f} ({value.low:.{digits}f}-{value.high:.{digits}f})"


def _cpu_model() -> str:
    """Neither psutil nor, on most distributions, `platform.processor()` tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = _output([*git, "rev-parse", "--short=10", "HEAD"])
    return f"{commit}+changes" if commit and _output([*git, "status", "--porcelain", "-uno"]) else commit or "unknown"


def _driver() -> str:
    """NVIDIA's."""
    return (
        _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).partition("\n")[0] or "unknown"
    )


def _output(command: Sequence[str]) -> str:
    """What a command prints; "" if there is none or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
