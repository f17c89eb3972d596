"""The report of `bench.gpu_check`: what each part found, and whether the project's aims on a GPU are reached."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.measure import spread
from bench.report import Report, Stamp, write_json

TEST_LINE = re.compile(r"^(\S+\.py::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
GOAL_94 = 0.94
NO_GPU = "**There was no GPU: this run shows that the check works, and its figures mean nothing.**"
STOPPED = "stopped"  # how the error of a part begins that took too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a part.

    Attributes:
        name: of the part.
        state: "done", "failed" or "skipped".
        seconds: that it took.
        error: why it failed or was skipped.
        found: the JSON that it wrote, also where it failed later.
        log: the name of its log.
    """

    name: str
    state: str
    seconds: float
    error: str = ""
    found: dict[str, Any] | None = None
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """An aim: `value` must be at least `least`; None was not measured."""

    aim: str
    least: float
    value: float | None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.value is None:
            return "not measured"
        return "reached" if self.value >= self.least else "not reached"


def make_report(stamp: Stamp, settings: dict[str, Any], outcomes: Sequence[Outcome], out: Path) -> Report:
    """All that is known after so many parts."""
    by_name = {outcome.name: outcome for outcome in outcomes}
    tests = read_tests(out / "tests.log") if "tests" in by_name else {}
    whole = bool(tests) and not by_name["tests"].error.startswith(STOPPED)
    found = {outcome.name: outcome.found for outcome in outcomes if outcome.found}
    reaches = judge(tests if whole else {}, found)
    return Report(
        benchmark="gpu_check",
        unit="",
        settings=settings,
        stamp=stamp,
        results=(),
        missing={outcome.name: outcome.error for outcome in outcomes if outcome.error},
        derived={
            "parts": {outcome.name: asdict(outcome) for outcome in outcomes},
            "tests": tests,
            "pixels": read_records(out / "records.jsonl"),
            "reaches": [asdict(reach) | {"verdict": reach.verdict} for reach in reaches],
        },
    )


def write_report(report: Report, out: Path) -> None:
    """gpu_check.json and gpu_check.md."""
    write_json(report, out / "gpu_check.json")
    draft = out / "gpu_check.md.tmp"
    draft.write_text(as_markdown(report))
    os.replace(draft, out / "gpu_check.md")


def judge(tests: dict[str, str], found: dict[str, dict[str, Any]]) -> list[Reach]:
    """Each aim with what was measured of it."""
    ran = [verdict for verdict in tests.values() if verdict != "SKIPPED"]
    passed = sum(verdict == "PASSED" for verdict in ran) / len(ran) if ran else None
    ratios = found.get("throughput", {}).get("derived", {}).get("ratios", {})
    beside_dali = [row["DALI without mixup"]["median"] for row in ratios.values() if "DALI without mixup" in row]
    beside_torchvision = [
        row["torchvision DataLoader"]["median"] for row in ratios.values() if "torchvision DataLoader" in row
    ]
    return [
        Reach(aim="share of the gpu tests that pass, of those that ran", least=1.0, value=passed),
        Reach(
            aim="with mixup, of DALI without it, at the worst batch size",
            least=0.97,
            value=min(beside_dali, default=None),
        ),
        Reach(
            aim="mixup stage, of the device's copy bandwidth, at the worst dtype and layout",
            least=0.7,
            value=_worst_stage(found),
        ),
        Reach(aim="multiple of torchvision's DataLoader", least=5.0, value=min(beside_torchvision, default=None)),
        Reach(aim="accuracy on CIFAR-10, averaged at test time", least=GOAL_94, value=_cifar_accuracy(found)),
    ]


def as_markdown(report: Report) -> str:
    """The report for people."""
    parts, derived = report.derived["parts"], report.derived
    found = {name: part["found"] for name, part in parts.items() if part["found"]}
    reaches = [
        [reach["aim"], f"{reach['least']:g}", _number(reach["value"]), reach["verdict"]] for reach in derived["reaches"]
    ]
    states = [[name, part["state"], f"{part['seconds']:.0f}", part["error"]] for name, part in parts.items()]
    sections = [
        f"# GPU check\n\n{report.stamp}" + ("" if report.stamp.gpu else f"\n\n{NO_GPU}"),
        "## Reaches\n\n" + _table(["aim", "at least", "measured", "verdict"], reaches),
        "## Parts\n\n" + _table(["part", "state", "seconds", "why"], states),
        _tests(derived["tests"]),
        _pixels(derived["pixels"]),
        *(make(found[name]) for name, make in SECTIONS.items() if name in found),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def read_tests(log: Path) -> dict[str, str]:
    """By name what became of each test, from pytest's own lines, so that a run that was cut off counts."""
    return dict(TEST_LINE.findall(log.read_text(errors="replace"))) if log.exists() else {}


def read_records(path: Path) -> list[dict[str, Any]]:
    """What tests recorded; a last line that was cut off is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _worst_stage(found: dict[str, dict[str, Any]]) -> float | None:
    """At the largest batch, where launches cost nothing and no cache holds the copy."""
    shares = found.get("stage", {}).get("derived", {}).get("shares", {})
    largest = max((int(name.split()[-1]) for name in shares), default=0)
    return min(
        (share for name, share in shares.items() if name.startswith("mixup ") and name.endswith(f" {largest}")),
        default=None,
    )


def _cifar_accuracy(found: dict[str, dict[str, Any]]) -> float | None:
    runs = found.get("cifar10", {}).get("derived", {}).get("runs", [])
    return spread([run["outcome"]["averaged"] for run in runs]).median if runs else None


def _tests(tests: dict[str, str]) -> str:
    if not tests:
        return ""
    verdicts = list(tests.values())
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.lower()}" for verdict in dict.fromkeys(verdicts))
    bad = [f"- `{name}`" for name, verdict in tests.items() if verdict in ("FAILED", "ERROR")]
    return "\n".join([f"## Tests\n\n{counts}", *([""] if bad else []), *bad])


def _pixels(records: Sequence[dict[str, Any]]) -> str:
    if not records:
        return ""
    columns = ("what", "load", "fancy", "mean", "max")
    rows = [[_number(record.get(column)) for column in columns] for record in records]
    return "## Differences from the CPU, in levels of 255\n\n" + _table(columns, rows)


def _throughput(found: dict[str, Any]) -> str:
    best = found["derived"].get("best", {})
    rates = [[result["name"], f"{_rate(result):.0f}"] for result in found["results"]]
    ratios = [
        [group, other, f"{ratio['median']:.3f}", f"{ratio['low']:.3f} to {ratio['high']:.3f}"]
        for group, row in found["derived"].get("ratios", {}).items()
        for other, ratio in row.items()
    ]
    missing = [f"- {name}: {' '.join(reason.split())}" for name, reason in found["missing"].items()]
    chosen = ", ".join(f"{name} = {value}" for name, value in best.items())
    return "\n\n".join(
        [
            f"## Throughput\n\nBest settings: {chosen or 'not measured'}. "
            f"torchvision's DataLoader had {found['settings']['workers']} workers.",
            _table(["loader", "images/s"], rates),
            _table(["", "ours with mixup, as a multiple of", "median", "middle half"], ratios),
            *(["Not measured:\n\n" + "\n".join(missing)] if missing else []),
        ]
    )


def _stage(found: dict[str, Any]) -> str:
    shares = found["derived"]["shares"]
    rows = [
        [result["name"], f"{_rate(result) / 1e9:.0f}", _number(shares.get(result["name"]))]
        for result in found["results"]
    ]
    return "## Stage\n\n" + _table(["stage, dtype, layout, batch", "GB/s", "of copy_"], rows)


def _memory(found: dict[str, Any]) -> str:
    derived, settings = found["derived"], found["settings"]
    peak, warm, last = (f"{derived[name] / 2**20:.0f} MiB" for name in ("peak_bytes", "warm_bytes", "last_bytes"))
    return (
        f"## Memory {'with' if settings['size_hints'] else 'without'} size hints\n\n"
        f"Peak {peak}; {warm} after {derived['warm_steps']} batches of {settings['batch_size']}, {last} "
        f"after {settings['steps']}."
    )


def _cifar10(found: dict[str, Any]) -> str:
    rows = []
    for run in found["derived"]["runs"]:
        outcome = run["outcome"]
        total = sum(epoch["seconds"] for epoch in outcome["epochs"])
        there = time_to(GOAL_94, outcome)
        cells = [
            f"{outcome['accuracy']:.4f}",
            f"{outcome['averaged']:.4f}",
            "never" if there is None else f"{there:.1f}",
            f"{total:.1f}",
        ]
        rows.append([run["name"], *cells, f"{outcome['waiting']:.3f}"])
    return "## CIFAR-10\n\n" + _table(
        ["", "accuracy", "averaged", "s of training to 94%", "s in all", "waiting for data"], rows
    )


def time_to(goal: float, outcome: dict[str, Any]) -> float | None:
    """Seconds of training to a test accuracy without averaging, else with it at the end; None if it never came."""
    seconds = 0.0
    for epoch in outcome["epochs"]:
        seconds += epoch["seconds"]
        if epoch["test_accuracy"] >= goal:
            return seconds
    return seconds if outcome["averaged"] >= goal else None


SECTIONS = {"throughput": _throughput, "stage": _stage, "memory": _memory, "memory_hints": _memory, "cifar10": _cifar10}


def _rate(result: dict[str, Any]) -> float:
    return spread([timing["items"] / timing["seconds"] for timing in result["timings"]]).median


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [
        [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
        for row in (header, ["---"] * len(header), *rows)
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
