"""Targets that a function of the user's makes of the files beside an image in a tar."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dali_mixup.dataset.source import Source
from dali_mixup.dataset.tar_files import LOCAL_TARS, TarFiles
from dali_mixup.dataset.tar_scan import SIDECARS, TarScan, split_name
from dali_mixup.errors import DatasetError, must_be

Target = Callable[[Mapping[str, Any]], Any]

KEY, URL = "__key__", "__url__"


class Sidecars(Mapping[str, Any]):
    """What WebDataset's samples hold beside the image: bytes by extension, each read when it is asked for.

    `["__key__"]` is the sample's key, `["__url__"]` the path of its tar.
    """

    def __init__(self, source: Source, key: str, url: str, places: dict[str, tuple[int, int]]):
        self._source, self._places, self._names = source, places, {KEY: key, URL: url}

    def __getitem__(self, extension: str) -> Any:
        if extension in self._names:
            return self._names[extension]
        start, size = self._places[extension]
        return self._source.read_at(start, size)

    def __iter__(self) -> Iterator[str]:
        yield from self._names
        yield from self._places

    def __len__(self) -> int:
        return len(self._names) + len(self._places)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"


def make_targets(
    target: Target, paths: Sequence[str], scans: Sequence[TarScan], tars: TarFiles = LOCAL_TARS
) -> np.ndarray:
    """What a function says of each sample of these tars, in order; (N, ...).

    Raises:
        DatasetError: it raised something, or gives no number or array of numbers, or arrays of several shapes.
        OSError: a tar can't be read.
    """
    found: list[np.ndarray] = []
    for path, scan in zip(paths, scans, strict=True):
        with tars.open(path) as (source, _):
            for name, sidecars in zip(scan.images.names, _sidecars(source, path, scan), strict=True):
                try:
                    value = np.asarray(target(sidecars))
                except Exception as error:
                    why = f"target({sidecars}) raised {type(error).__name__}: {error}"
                    raise DatasetError(f"{path}: {name}: {why}") from error
                if not np.issubdtype(value.dtype, np.number) or (found and value.shape != found[0].shape):
                    rule = f"numbers of shape {found[0].shape}" if found else "a number, or an array of numbers"
                    raise DatasetError(f"{path}: {name}: {must_be(f'target({sidecars})', rule, value)}")
                found.append(value)
    return np.array(found)


def _sidecars(source: Source, path: str, scan: TarScan) -> Iterator[Sidecars]:
    """Of each sample."""
    places: list[dict[str, tuple[int, int]]] = [{} for _ in scan.images.names]
    columns = (scan.sidecars.columns[name].tolist() for name in SIDECARS)
    for name, sample, start, size in zip(scan.sidecars.names, *columns, strict=True):
        places[sample][_split(name)[1]] = start, size
    for name, own in zip(scan.images.names, places, strict=True):
        yield Sidecars(source, _split(name)[0], path, own)


def _split(name: str) -> tuple[str, str]:
    found = split_name(name)
    assert found is not None  # noqa: S101  the scan took it for the same reason
    return found
