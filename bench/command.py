"""The one shape of a benchmark: frozen options go in, findings come out, and all of them print, save and draw alike."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, MISSING, Field, asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import torch

from bench.measure import Result
from bench.report import Report, make_stamp, write_json

T = TypeVar("T")
Options = TypeVar("Options")

PATIENCE = "wait while others use the machine, so many seconds in all"
DATA = "a folder of images, or of one folder per class"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a benchmark has found so far.

    Attributes:
        results: one per variant.
        missing: variants that could not run, with the reason.
        derived: numbers computed from the results, such as ratios.
        settings: what the options don't say, such as the number of files.
        passed: whether the exit status is 0.
    """

    results: Sequence[Result] = ()
    missing: dict[str, str] = field(default_factory=dict)
    derived: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    passed: bool = True


@dataclass(frozen=True, slots=True)
class Bench(Generic[Options]):
    """A benchmark as a command, `python -m bench.NAME`.

    Attributes:
        name: of the module.
        about: its docstring: what is measured, how, and examples of the command.
        options: a frozen dataclass of `option`s and `argument`s; a ValueError of its own is a wrong command line.
        measure: yields all that was found so far, once or several times; each time it is saved.
        describe: a report as a table with notes.
        unit: what is counted, such as "images".
        plot: draws a report into a PNG file; None for a benchmark without a chart.
        packages: whose versions matter besides.
    """

    name: str
    about: str | None
    options: type[Options]
    measure: Callable[[Options], Iterator[Found]]
    describe: Callable[[Report], str]
    _: KW_ONLY
    unit: str
    plot: Callable[[Report, str], None] | None = None
    packages: tuple[str, ...] = ()

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """The command line."""
        parser = build_parser(self.options, self.name, self.about)
        parser.add_argument("--json", metavar="FILE", help="write all that was measured")
        if self.plot:
            parser.add_argument("--plot", metavar="FILE.png", help="draw a chart")
        given = vars(parser.parse_args(arguments))
        json, plot = given.pop("json", None), given.pop("plot", None)
        options, stamp = make_options(self.options, parser, given), make_stamp(self.packages)
        found, report = Found(), Report(benchmark=self.name, unit=self.unit, stamp=stamp)
        for found in self.measure(options):
            settings = asdict(options) | found.settings  # pyright: ignore[reportArgumentType]  it is a dataclass
            shown = {"results": tuple(found.results), "missing": found.missing, "derived": found.derived}
            report = replace(report, settings=settings, **shown)
            if json:
                write_json(report, json)
        print(f"{self.describe(report)}\n{report.stamp}")
        if self.plot and plot:
            self.plot(report, plot)
        return 0 if found.passed else 1


def option(default: Any, text: str, *, choices: Sequence[str] | None = None, parse: Callable | None = None) -> Any:
    """A field that is an option, called like it with dashes; its type says what it takes.

    Args:
        default: a value, which the help shows, or a function that finds it out; `...` for an option that must be given.
        text: for people.
        choices: what it may be, or each of several.
        parse: makes the value out of one word; None leaves it to the type.
    """
    told = {"help": text, "choices": choices, "parse": parse, "required": default is ...}
    if callable(default):
        return field(default_factory=default, metadata=told)
    return field(default=MISSING if default is ... else default, metadata=told)


def argument(text: str, *, optional: bool = False) -> Any:
    """A field that is given by its place, without a name; None if an optional one isn't."""
    return field(default=None if optional else MISSING, metadata={"help": text, "nargs": "?" if optional else None})


def best_device() -> str:
    """The GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build_parser(options: type, name: str, about: str | None) -> argparse.ArgumentParser:
    """A command line with an option for each field of a dataclass."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what isn't given is left to the dataclass
    )
    types = get_type_hints(options)
    for each in fields(options):
        _add(parser, each, types[each.name])
    return parser


def make_options(options: type[T], parser: argparse.ArgumentParser, given: dict[str, Any]) -> T:
    """The options that were given, the others at their defaults; the process ends where they make no sense."""
    try:
        return options(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
    except ValueError as error:
        parser.error(str(error))


def numbers(text: str) -> tuple[int, ...]:
    """Positive numbers with commas between them, in rising order.

    >>> numbers("32,16"), numbers("")
    ((16, 32), ())
    """
    found = sorted(int(part) for part in text.split(",") if part)
    if found and found[0] < 1:
        raise argparse.ArgumentTypeError(f"must be positive numbers, got {text!r}")
    return tuple(found)


def _add(parser: argparse.ArgumentParser, each: "Field[Any]", kind: Any) -> None:
    """One field."""
    told, default, by_place = each.metadata, each.default, "nargs" in each.metadata
    name = each.name if by_place else "--" + each.name.replace("_", "-")
    if kind is bool:
        parser.add_argument(name, action="store_true", help=told["help"])
        return
    parse, many = told.get("parse"), get_origin(kind) is tuple
    while get_origin(kind) in (UnionType, tuple):  # int of `int | None` and of `tuple[int, ...]`
        kind = get_args(kind)[0]
    if isinstance(default, tuple):
        default = ("," if parse else " ").join(map(str, default))
    added = parser.add_argument(
        name,
        type=parse or kind,
        nargs="+" if many and not parse else told.get("nargs"),
        choices=told.get("choices"),
        metavar=each.name.upper() if by_place else None,
        help=told["help"] + ("" if default in (MISSING, None, "") else f" (default {default})"),
    )
    if told.get("required"):
        added.required = True  # add_argument knows no such thing of what is given by its place
