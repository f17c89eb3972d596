"""The report of `bench.gpu_check`: what each part found, and whether the project's aims on a GPU are reached."""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import gpu_memory, gpu_stage, gpu_throughput
from bench.measure import spread
from bench.report import Report, Stamp, as_report, format_table, write_json

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

    def worst(other: str) -> float | None:
        return min((row[other]["median"] for row in ratios.values() if other in row), default=None)

    aims = [
        ("share of the gpu tests that pass, of those that ran", 1.0, passed),
        ("with mixup, of DALI without it, at the worst batch size", 0.97, worst("DALI without mixup")),
        ("mixup stage, of the device's copy bandwidth, at the worst dtype and layout", 0.7, _worst_stage(found)),
        ("multiple of torchvision's DataLoader", 5.0, worst("torchvision DataLoader")),
        ("accuracy on CIFAR-10, averaged at test time", GOAL_94, _cifar_accuracy(found)),
    ]
    return [Reach(aim=aim, least=least, value=value) for aim, least, value in aims]


def as_markdown(report: Report) -> str:
    """The report for people."""
    parts, derived = report.derived["parts"], report.derived
    found = {name: as_report(part["found"]) for name, part in parts.items() if part["found"]}
    reaches = [
        [reach["aim"], f"{reach['least']:g}", _number(reach["value"]), reach["verdict"]] for reach in derived["reaches"]
    ]
    states = [[name, part["state"], f"{part['seconds']:.0f}"] for name, part in parts.items()]
    why = [f"- {name}: {' '.join(part['error'].split())}" for name, part in parts.items() if part["error"]]
    sections = [
        f"# GPU check\n\n{report.stamp}" + ("" if report.stamp.gpu else f"\n\n{NO_GPU}"),
        _section("Reaches", _table(["aim", "at least", "measured", "verdict"], reaches)),
        _section("Parts", _table(["part", "state", "seconds"], states), "\n".join(why)),
        _tests(derived["tests"]),
        _pixels(derived["pixels"]),
        *(_section(title, _fenced(show(found[name]))) for name, (title, show) in SECTIONS.items() if name in found),
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
    mixed = (name for name in shares if name.startswith("mixup ") and name.endswith(f" {largest}"))
    return min((shares[name] for name in mixed), default=None)


def _cifar_accuracy(found: dict[str, dict[str, Any]]) -> float | None:
    runs = found.get("cifar10", {}).get("derived", {}).get("runs", [])
    return spread([run["outcome"]["averaged"] for run in runs]).median if runs else None


def _tests(tests: dict[str, str]) -> str:
    if not tests:
        return ""
    verdicts = list(tests.values())
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.lower()}" for verdict in dict.fromkeys(verdicts))
    bad = [f"- `{name}`" for name, verdict in tests.items() if verdict in ("FAILED", "ERROR")]
    return _section("Tests", counts, "\n".join(bad))


def _pixels(records: Sequence[dict[str, Any]]) -> str:
    if not records:
        return ""
    columns = ("what", "load", "fancy", "mean", "max")
    rows = [[_number(record.get(column)) for column in columns] for record in records]
    return _section("Differences from the CPU, in levels of 255", _table(columns, rows))


def describe_trainings(report: Report) -> str:
    """How long each training took to 94%."""
    rows = []
    for run in report.derived["runs"]:
        outcome = run["outcome"]
        total, there = sum(epoch["seconds"] for epoch in outcome["epochs"]), time_to(GOAL_94, outcome)
        accuracies = [f"{outcome['accuracy']:.4f}", f"{outcome['averaged']:.4f}"]
        seconds = ["never" if there is None else f"{there:.1f}", f"{total:.1f}"]
        rows.append([run["name"], *accuracies, *seconds, f"{outcome['waiting']:.3f}"])
    return format_table(["", "accuracy", "averaged", "s of training to 94%", "s in all", "waiting for data"], rows)


def time_to(goal: float, outcome: dict[str, Any]) -> float | None:
    """Seconds of training to a test accuracy without averaging, else with it at the end; None if it never came."""
    seconds = 0.0
    for epoch in outcome["epochs"]:
        seconds += epoch["seconds"]
        if epoch["test_accuracy"] >= goal:
            return seconds
    return seconds if outcome["averaged"] >= goal else None


SECTIONS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "throughput": ("Throughput", gpu_throughput.describe),
    "stage": ("Stage", gpu_stage.describe),
    "memory": ("Memory without size hints", gpu_memory.describe),
    "memory_hints": ("Memory with size hints", gpu_memory.describe),
    "cifar10": ("CIFAR-10", describe_trainings),
}


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *filter(None, paragraphs)])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _fenced(format_table(header, rows))


def _fenced(text: str) -> str:
    """As it is: readable in a terminal, too, which shows the report at the end of the check."""
    return f"```text\n{text}\n```"
