"""Lists of files to leave out: JSON Lines, `{"path": ..., "reason": ...}`, so that no file name breaks them.

A path's bytes are read as UTF-8, whatever the locale, with lone surrogates for those that aren't; the lines are ASCII.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dali_mixup.dataset.paths import PathList
from dali_mixup.errors import BadSample, DatasetError, must_be

CODEC = "utf-8", "surrogateescape"


def write_quarantine(file: str | os.PathLike[str], samples: Iterable[BadSample]) -> None:
    """Write bad files to a list."""
    lines = [
        json.dumps({"path": os.path.abspath(os.fsencode(path)).decode(*CODEC), "reason": reason})
        for _, path, reason in samples
    ]
    Path(file).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def read_quarantine(file: str | os.PathLike[str]) -> list[str]:
    """The paths of a list.

    Raises:
        DatasetError: no such list, or a line of another form.
    """
    try:
        lines = Path(file).read_bytes().decode(*CODEC).split("\n")
    except OSError as error:
        raise DatasetError(
            must_be("exclude", "a list that `dali-mixup index --quarantine` wrote", os.fspath(file), str(error))
        ) from error
    paths = []
    for number, line in enumerate(lines, start=1):
        if not line and number == len(lines):  # what follows the last line's end
            break
        try:
            paths.append(os.fsdecode(json.loads(line)["path"].encode(*CODEC)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            rule = 'one JSON object with a "path"'
            raise DatasetError(
                must_be(f"line {number} of {os.fspath(file)}", rule, line, "for plain paths pass a list of them")
            ) from error
    return paths


def find_kept(
    paths: PathList, exclude: str | os.PathLike[str] | Iterable[str | bytes | os.PathLike[str]]
) -> np.ndarray:
    """Numbers of the paths that aren't excluded, (N,) int64; paths are compared as absolute ones.

    Args:
        paths: all files.
        exclude: the file of a list, or paths.
    """
    excluded = read_quarantine(exclude) if isinstance(exclude, str | os.PathLike) else exclude
    gone = {os.path.abspath(os.fsencode(path)) for path in excluded}
    if not gone:
        return np.arange(len(paths))
    return np.flatnonzero([os.path.abspath(paths.encoded(i).tobytes()) not in gone for i in range(len(paths))])
