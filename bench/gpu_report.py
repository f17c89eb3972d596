"""The report of `bench.gpu_check`: what each part found, and whether the project's aims on a GPU are reached."""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import gpu_cifar10, gpu_memory, gpu_smoke, gpu_stage, gpu_throughput, pack
from bench.report import Report, Stamp, as_report, format_table, read_json, write_json

VERDICT = "(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)"
TEST_LINE = re.compile(rf"^(\S+\.py::.*?) {VERDICT}\b", re.MULTILINE)
WORKERS_LINE = re.compile(rf"^\[gw\d+\] \[ *\d+%\] {VERDICT} (\S+\.py::.*?) *$", re.MULTILINE)  # of pytest-xdist
COLLECTED = re.compile(r"^(?:collect.*?|\d+ workers \[)(\d+) (?:selected|items?)\]?$", re.MULTILINE)
NOT_RUN = "NOT RUN"
NO_GPU = "**There was no GPU: this run shows that the check works, and its figures mean nothing.**"
CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a part.

    Attributes:
        name: of the part.
        state: "running", "done", "failed", "cut" (its time was up) or "skipped".
        seconds: that it took.
        error: why it failed, was cut or was skipped.
        found: the JSON that it wrote, also where it failed later.
    """

    name: str
    state: str
    seconds: float = 0.0
    error: str = ""
    found: dict[str, Any] | None = None


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


def make_report(stamp: Stamp, settings: dict[str, Any], outcomes: Sequence[Outcome], *, judged: bool = True) -> Report:
    """All that is known after so many parts.

    An aim of a part that ran is missed unless it was reached; `judged` is whether the aims mean anything.
    """
    ran = {outcome.name for outcome in outcomes if judged and outcome.state != "skipped"}
    reaches = judge({outcome.name: outcome.found["derived"] for outcome in outcomes if outcome.found})
    return Report(
        benchmark="gpu_check",
        unit="",
        settings=settings,
        stamp=stamp,
        missing={outcome.name: outcome.error for outcome in outcomes if outcome.error},
        derived={
            "parts": {outcome.name: asdict(outcome) for outcome in outcomes},
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
    outcomes = {name: Outcome(**part) for name, part in read_json(report).derived["parts"].items()}
    ended = {"state": CUT, "error": "the check ended before it"}
    return {name: replace(each, **ended) if each.state == "running" else each for name, each in outcomes.items()}


def write_report(report: Report, out: Path) -> None:
    """gpu_check.json and gpu_check.md."""
    write_json(report, out / "gpu_check.json")
    draft = out / "gpu_check.md.tmp"
    draft.write_text(as_markdown(report))
    os.replace(draft, out / "gpu_check.md")


def judge(derived: dict[str, dict[str, Any]]) -> list[Reach]:
    """Each aim with what was measured of it, from what the parts derived."""
    kinds = [not kind["error"] for kind in derived.get("smoke", {}).get("kinds", {}).values()]
    ran = [
        verdict == "PASSED" for verdict in derived.get("tests", {}).get("tests", {}).values() if verdict != "SKIPPED"
    ]
    ratios = derived.get("throughput", {}).get("ratios", {}).values()
    cifar = derived.get("cifar10", {})
    runs = cifar.get("runs", []) if cifar.get("images") == gpu_cifar10.IMAGES else []

    def worst(other: str) -> float | None:
        return min((row[other]["median"] for row in ratios if other in row), default=None)

    aims: list[tuple[str, str, float, float | None]] = [
        ("smoke", "share of the kinds of Loaders that work", 1.0, _share(kinds)),
        ("throughput", "with mixup, of DALI without it", 0.97, worst(gpu_throughput.DALI)),
        ("throughput", "multiple of torchvision's DataLoader with 16 workers", 5.0, worst(gpu_throughput.TORCHVISION)),
        (
            "stage",
            "mixup stage, of the device's copy bandwidth, at the worst dtype and layout",
            0.7,
            _worst_stage(derived.get("stage", {})),
        ),
        ("tests", "share of the gpu tests that pass, but for those that are skipped", 1.0, _share(ran)),
        *(
            (name, f"{name}: of the peak, what the first {gpu_memory.WARM:.0%} of the batches took", 0.95, value)
            for name, value in _growth(derived).items()
        ),
        (
            "cifar10",
            "accuracy on CIFAR-10, averaged at test time",
            gpu_cifar10.GOAL,
            max((run["outcome"]["averaged"] for run in runs), default=None),
        ),
        (
            "cifar10",
            "15 s in multiples of the training's time to 94%",
            1.0,
            max((15 / run["seconds_to_goal"] if run["seconds_to_goal"] else 0.0 for run in runs), default=None),
        ),
    ]
    return [Reach(part=part, aim=aim, least=least, value=value) for part, aim, least, value in aims]


def as_markdown(report: Report) -> str:
    """The report for people."""
    parts, derived = report.derived["parts"], report.derived
    reaches = [
        [reach["aim"], f"{reach['least']:g}", _number(reach["value"]), reach["verdict"]] for reach in derived["reaches"]
    ]
    states = [[name, part["state"], f"{part['seconds']:.0f}"] for name, part in parts.items()]
    why = [f"- {name}: {' '.join(part['error'].split())}" for name, part in parts.items() if part["error"]]
    sections = [
        f"# GPU check\n\n{report.stamp}" + ("" if report.stamp.gpu else f"\n\n{NO_GPU}"),
        _section("Reaches", _table(["aim", "at least", "measured", "verdict"], reaches)),
        _section("Parts", _table(["part", "state", "seconds"], states), "\n".join(why)),
    ]
    for name, part in parts.items():
        if name == "tests" and part["found"]:
            sections += [_tests(part["found"]["derived"]["tests"]), _pixels(part["found"]["derived"]["pixels"])]
        elif part["found"]:
            title, show = SECTIONS[name]
            sections.append(_section(title, _fenced(_shown(show, part["found"]))))
    return "\n\n".join(section for section in sections if section) + "\n"


def _shown(show: Callable[[Report], str], found: dict[str, Any]) -> str:
    """A part's own table; one that can't be drawn must not cost the parts that are still to run."""
    try:
        return show(as_report(found))
    except Exception as error:  # noqa: BLE001  whatever is odd about figures that nobody has seen before
        return f"{type(error).__name__}: {error}; the figures stand in gpu_check.json"


def read_tests(log: str) -> dict[str, str]:
    """By name what became of each test, from pytest's own lines; those that were to come later count, too."""
    tests = dict(TEST_LINE.findall(log)) | {name: verdict for verdict, name in WORKERS_LINE.findall(log)}
    collected = COLLECTED.search(log)
    later = int(collected[1]) - len(tests) if collected else 0
    return tests | {f"later {number}": NOT_RUN for number in range(1, later + 1)}


def read_records(path: Path) -> list[dict[str, Any]]:
    """What tests recorded; a last line that was cut off is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _share(verdicts: Sequence[bool]) -> float | None:
    return sum(verdicts) / len(verdicts) if verdicts else None


def _growth(derived: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Of both memory parts: memory may grow while new largest images come, and no longer."""
    rows: dict[str, float | None] = {}
    for name in ("memory", "memory_hints"):
        figures = derived.get(name, {})
        rows[name] = (
            figures["warm_bytes"] / figures["peak_bytes"] if figures.get("whole") and figures["peak_bytes"] else None
        )
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
