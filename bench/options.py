"""Options that benchmarks share, and what they do."""

import argparse
from collections.abc import Callable

from bench.report import Report, write_json


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add `--json` and `--plot`."""
    parser.add_argument("--json", metavar="FILE", help="write all timings")
    parser.add_argument("--plot", metavar="FILE.png", help="draw a chart")


def save(report: Report, options: argparse.Namespace, plot: Callable[[str], None]) -> None:
    """Write what `add_outputs` was asked for."""
    if options.json:
        write_json(report, options.json)
    if options.plot:
        plot(options.plot)
