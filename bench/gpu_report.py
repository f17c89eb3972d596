"""The report of `bench.gpu_check`: what each part found, and whether the project's aims on a GPU are reached."""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import gpu_cifar10, gpu_memory, gpu_smoke, gpu_stage, gpu_throughput, pack
from bench.report import Report, Stamp, as_report, format_table, read_json, write_json

TEST_LINE = re.compile(r"^(\S+\.py::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
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
    """An aim of a part: `value` must be at least `least`; None was not measured."""

    part: str
    aim: str
    least: float
    value: float | None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.value is None:
            return "not measured"
        return "reached" if self.value >= self.least else "not reached"


def make_report(
    stamp: Stamp, settings: dict[str, Any], outcomes: Sequence[Outcome], out: Path, *, judged: bool = True
) -> Report:
    """All that is known after so many parts.

    An aim of a part that ran is missed unless it was reached; `judged` is whether the aims mean anything.
    """
    by_name = {outcome.name: outcome for outcome in outcomes}
    tests = read_tests(out / "tests.log") if "tests" in by_name else {}
    whole = bool(tests) and not by_name["tests"].error.startswith(STOPPED)
    found = {outcome.name: outcome.found for outcome in outcomes if outcome.found}
    ran = {outcome.name for outcome in outcomes if judged and outcome.state != "skipped"}
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
            "reaches": [
                asdict(reach) | {"verdict": reach.verdict, "missed": reach.part in ran and reach.verdict != "reached"}
                for reach in reaches
            ],
        },
    )


def read_outcomes(report: Path) -> dict[str, Outcome]:
    """By name what became of the parts of an earlier run; none if there was none."""
    if not report.exists():
        return {}
    return {name: Outcome(**part) for name, part in read_json(report).derived["parts"].items()}


def write_report(report: Report, out: Path) -> None:
    """gpu_check.json and gpu_check.md."""
    write_json(report, out / "gpu_check.json")
    draft = out / "gpu_check.md.tmp"
    draft.write_text(as_markdown(report))
    os.replace(draft, out / "gpu_check.md")


def judge(tests: dict[str, str], found: dict[str, dict[str, Any]]) -> list[Reach]:
    """Each aim with what was measured of it."""
    derived = {name: part.get("derived", {}) for name, part in found.items()}
    kinds = [not kind["error"] for kind in derived.get("smoke", {}).get("kinds", {}).values()]
    ran = [verdict == "PASSED" for verdict in tests.values() if verdict != "SKIPPED"]
    ratios = [row for part in ("throughput", "sweeps") for row in derived.get(part, {}).get("ratios", {}).values()]
    runs = derived.get("cifar10", {}).get("runs", [])

    def worst(other: str) -> float | None:
        return min((row[other]["median"] for row in ratios if other in row), default=None)

    def best(figure: Callable[[dict[str, Any]], float]) -> float | None:
        return max(map(figure, runs), default=None)

    return [
        Reach(part="smoke", aim="share of the kinds of Loaders that work", least=1.0, value=_share(kinds)),
        Reach(
            part="throughput",
            aim="with mixup, of DALI without it, at the worst batch size",
            least=0.97,
            value=worst(gpu_throughput.DALI),
        ),
        Reach(
            part="throughput",
            aim="multiple of torchvision's DataLoader with 16 workers",
            least=5.0,
            value=worst(gpu_throughput.TORCHVISION),
        ),
        Reach(
            part="stage",
            aim="mixup stage, of the device's copy bandwidth, at the worst dtype and layout",
            least=0.7,
            value=_worst_stage(derived.get("stage", {})),
        ),
        Reach(part="tests", aim="share of the gpu tests that pass, of those that ran", least=1.0, value=_share(ran)),
        *(
            Reach(part=name, aim=f"{name}: of the peak, what the first {share} took", least=0.95, value=value)
            for name, share, value in _growth(derived)
        ),
        Reach(
            part="cifar10",
            aim="accuracy on CIFAR-10, averaged at test time",
            least=gpu_cifar10.GOAL,
            value=best(lambda run: run["outcome"]["averaged"]),
        ),
        Reach(
            part="cifar10",
            aim="15 s in multiples of the training's time to 94%",
            least=1.0,
            value=best(lambda run: 15 / run["seconds_to_goal"] if run["seconds_to_goal"] else 0.0),
        ),
    ]


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


def _share(verdicts: Sequence[bool]) -> float | None:
    return sum(verdicts) / len(verdicts) if verdicts else None


def _growth(derived: dict[str, dict[str, Any]]) -> list[tuple[str, str, float | None]]:
    """Of both memory parts: memory may grow while new largest images come, and no longer."""
    rows = []
    for name in ("memory", "memory_hints"):
        figures = derived.get(name, {})
        peak = figures.get("peak_bytes")
        value = None if peak is None else figures["warm_bytes"] / peak if peak else 1.0
        rows.append((name, f"{gpu_memory.WARM:.0%} of the batches", value))
    return rows


def _worst_stage(derived: dict[str, Any]) -> float | None:
    """At the largest batch, where launches cost nothing and no cache holds the copy."""
    shares = derived.get("shares", {})
    largest = max((int(name.split()[-1]) for name in shares), default=0)
    mixed = (name for name in shares if name.startswith("mixup ") and name.endswith(f" {largest}"))
    return min((shares[name] for name in mixed), default=None)


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


SECTIONS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "smoke": ("Kinds of Loaders", gpu_smoke.describe),
    "throughput": ("Throughput", gpu_throughput.describe),
    "stage": ("Stage", gpu_stage.describe),
    "pack": ("Packs", pack.describe),
    "sweeps": ("Settings", gpu_throughput.describe),
    "memory": ("Memory without size hints", gpu_memory.describe),
    "memory_hints": ("Memory with size hints", gpu_memory.describe),
    "cifar10": ("CIFAR-10", gpu_cifar10.describe),
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
