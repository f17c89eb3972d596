"""The command line: `dali-mixup demo`, `preview` and `index`."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dali_mixup import __version__
from dali_mixup.errors import BadSampleError

EXIT_CODES = """\
exit codes:
  0    it worked
  1    there are bad files
  2    wrong options, or input that can't be used
  130  stopped with Ctrl-C
"""
DEMO_EXAMPLES = """\
examples:
  dali-mixup demo                               draw images into .data/demo, train on them
  dali-mixup demo --data cifar10                train on cifar10/train, validate on cifar10/val or cifar10/test
  dali-mixup demo --data cifar10 --epochs 80    long enough for mixup to pay
  dali-mixup demo --data imagenet --size 96 --images 20000 --epochs 4

Both trainings start from the same network and see the same crops in the same order.

"""
PREVIEW_EXAMPLES = """\
examples:
  dali-mixup preview photos --out grid.png
  dali-mixup preview photos --out grid.png --tiles 8 --size 224 --alpha 1 --seed 3
  dali-mixup preview photos --out grid.png --cutmix --alpha 1

The images come from a Loader's first batch, which is three times as large as the grid: the third that is mixed
the most is shown.

"""
INDEX_EXAMPLES = """\
examples:
  dali-mixup index photos                       from the files' headers, remembered for the next time
  dali-mixup index photos --verify              decode each file to its end
  dali-mixup index photos --verify --quarantine bad.jsonl
                                                and list the bad ones for ImageFolder("photos", exclude="bad.jsonl")
  dali-mixup index imagenet --all > report.txt

"""


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
    command = importlib.import_module(f"dali_mixup.commands.{options.command}")  # here, so that --help is quick
    try:
        code = command.run(options)
        sys.stdout.flush()  # here, where a closed pipe is no error
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
    _add_demo(commands)
    _add_preview(commands)
    _add_index(commands)
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=examples + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = _add_command(commands, "demo", "train a small network with mixup and without, and compare", DEMO_EXAMPLES)
    demo.add_argument(
        "--data", type=Path, metavar="FOLDER", help="holds train/ and val/ (or test/); without it images are drawn"
    )
    demo.add_argument(
        "--work",
        type=Path,
        default=Path(".data/demo"),
        metavar="FOLDER",
        help="for drawn images (default: %(default)s)",
    )
    _add_out(demo, default=Path("preview.png"))
    demo.add_argument("--epochs", type=_at_least(1), metavar="N", help="default: as many as take about half a minute")
    demo.add_argument(
        "--images",
        type=_at_least(10),
        metavar="N",
        help="train on N images, validate on a third of that (default: 3000, or all of --data)",
    )
    demo.add_argument(
        "--size", type=_at_least(16), default=64, metavar="PIXELS", help="side of the crops (default: %(default)s)"
    )
    demo.add_argument("--batch-size", type=_at_least(2), default=32, metavar="N", help="default: %(default)s")
    _add_mixup(demo, alpha=0.2)


def _add_preview(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    preview = _add_command(
        commands, "preview", "draw mixed images of a batch beside the two images that each is made of", PREVIEW_EXAMPLES
    )
    preview.add_argument(
        "folder", type=Path, metavar="FOLDER", help="one folder of images per class, or one that holds train/"
    )
    _add_out(preview, default=None)
    preview.add_argument(
        "--tiles", type=_at_least(1), default=6, metavar="N", help="mixed images (default: %(default)s)"
    )
    preview.add_argument(
        "--size", type=_at_least(16), default=160, metavar="PIXELS", help="side of an image (default: %(default)s)"
    )
    preview.add_argument(
        "--cutmix", action="store_true", help="boxes of one image in the other (CutMix) instead of mixtures"
    )
    _add_mixup(preview, alpha=0.4)


def _add_index(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    index = _add_command(
        commands, "index", "count files per class, measure their sizes, name bad files", INDEX_EXAMPLES
    )
    index.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="one folder of images per class, or one that holds train/, val/, test/",
    )
    index.add_argument("--verify", action="store_true", help="decode each file to its end")
    index.add_argument(
        "--quarantine",
        type=_writable,
        metavar="LIST",
        help="write the bad files to a list that ImageFolder(exclude=LIST) leaves out",
    )
    index.add_argument("--all", action="store_true", help="list all classes")
    index.add_argument(
        "--no-cache", dest="cache", action="store_false", help="read all headers anew and remember nothing"
    )


def _add_out(parser: argparse.ArgumentParser, default: Path | None) -> None:
    note = "" if default is None else " (default: %(default)s)"
    parser.add_argument(
        "--out",
        type=_picture,
        default=default,
        required=default is None,
        metavar="FILE",
        help=f"the picture, .png or .jpg{note}",
    )


def _add_mixup(parser: argparse.ArgumentParser, alpha: float) -> None:
    parser.add_argument(
        "--alpha", type=float, default=alpha, help="weights are drawn from Beta(alpha, alpha) (default: %(default)s)"
    )
    parser.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="default: %(default)s")


def _at_least(least: int) -> Callable[[str], int]:
    """A parser of whole numbers for argparse."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
        return int(text)

    return parse


def _writable(text: str) -> Path:
    """A file that can be written, known before the work begins."""
    path = Path(text)
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"must be in a folder that exists and can be written, got {text!r}")
    return path


def _picture(text: str) -> Path:
    path = _writable(text)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise argparse.ArgumentTypeError(f"must end in .png or .jpg, got {text!r}")
    return path


if __name__ == "__main__":
    sys.exit(main())
