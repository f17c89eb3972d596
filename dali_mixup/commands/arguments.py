"""What the parsers of several commands share: the form of their help, options, and types of arguments."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

EXIT_CODES = """\
exit codes:
  0    it worked
  1    there are bad files
  2    wrong options, or input that can't be used
  130  stopped with Ctrl-C
"""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, purpose: str, *, examples: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """The parser of a subcommand.

    Args:
        commands: of the main parser.
        name: what a user types.
        purpose: one line, in the list of all commands and at the head of its own help.
        examples: the end of its help, with an empty line behind it.
        run: the command; takes the parsed options, returns the exit code.
    """
    parser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=examples + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_out(parser: argparse.ArgumentParser, *, default: Path | None = None) -> None:
    """`--out`, a picture; required if there is no default."""
    note = "" if default is None else " (default: %(default)s)"
    parser.add_argument(
        "--out",
        type=_picture,
        default=default,
        required=default is None,
        metavar="FILE",
        help=f"the picture, .png or .jpg{note}",
    )


def add_mixup(parser: argparse.ArgumentParser, *, alpha: float) -> None:
    """`--alpha` and `--seed`."""
    parser.add_argument(
        "--alpha", type=float, default=alpha, help="weights are drawn from Beta(alpha, alpha) (default: %(default)s)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="default: %(default)s")


def at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `least`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
        return int(text)

    return parse


def writable(text: str) -> Path:
    """A type of arguments: a file that can be written, known before the work begins."""
    path = Path(text)
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"must be in a folder that exists and can be written, got {text!r}")
    return path


def _picture(text: str) -> Path:
    path = writable(text)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise argparse.ArgumentTypeError(f"must end in .png or .jpg, got {text!r}")
    return path
