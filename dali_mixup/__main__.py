"""The command line: `dali-mixup demo`, `preview`, `index`, `pack` and `profile`."""

import argparse
import os
import sys
from collections.abc import Sequence

from dali_mixup import __version__
from dali_mixup.commands import demo, index, pack, preview, profile
from dali_mixup.commands.arguments import EXIT_CODES
from dali_mixup.errors import BadSampleError

COMMANDS = (
    demo,
    preview,
    index,
    pack,
    profile,
)  # in the order of the help; none imports DALI or libturbojpeg before it runs


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code, see `EXIT_CODES`.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        code = options.run(options)
        print(end="", flush=True)  # here, where a closed pipe is no error
        return code
    except BadSampleError as error:
        return _fail(error, 1)
    except BrokenPipeError:  # such as `| head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        print("\ndali-mixup: stopped", file=sys.stderr)
        return 130


def _fail(error: Exception, code: int) -> int:
    print(f"dali-mixup: error: {error}".encode(errors="backslashreplace").decode(), file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The options of all commands."""
    parser = argparse.ArgumentParser(
        prog="dali-mixup",
        description="Feed a PyTorch vision model with mixup: try it, look at it, check your files.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dali-mixup {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
