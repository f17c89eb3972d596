"""Lists of files to leave out: JSON Lines, `{"path": ..., "reason": ...}`, so that no file name breaks them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dali_mixup.dataset.paths import PathList
from dali_mixup.errors import BadSample, DatasetError, must_be


def write_quarantine(file: str | os.PathLike, samples: Iterable[BadSample]) -> None:
    """Write bad files to a list; bytes of a name that aren't UTF-8 become lone surrogates, as in Python."""
    lines = [json.dumps({"path": os.path.abspath(sample.path), "reason": sample.reason}) for sample in samples]
    Path(file).write_text("".join(f"{line}\n" for line in lines))


def read_quarantine(file: str | os.PathLike) -> list[str]:
    """The paths of a list.

    Raises:
        DatasetError: no such list, or a line of another form.
    """
    try:
        lines = Path(file).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            must_be("exclude", "a list that `dali-mixup index --quarantine` wrote", os.fspath(file), str(error))
        ) from error
    paths = []
    for number, line in enumerate(lines, start=1):
        try:
            paths.append(os.fspath(json.loads(line)["path"]))
        except (ValueError, KeyError, TypeError) as error:
            rule = 'one JSON object with a "path"'
            raise DatasetError(
                must_be(f"line {number} of {os.fspath(file)}", rule, line, "for plain paths pass a list of them")
            ) from error
    return paths


def find_kept(paths: PathList, exclude: str | os.PathLike | Iterable[str | bytes | os.PathLike]) -> np.ndarray:
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
