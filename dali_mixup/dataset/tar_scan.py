"""The samples of one tar: files with the same key, as WebDataset groups them, with the size of each image."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from dali_mixup.dataset.header import look
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.source import Source
from dali_mixup.dataset.tar_files import LOCAL_TARS, Stamp, TarFiles
from dali_mixup.dataset.tar_members import Member, TarError, list_members
from dali_mixup.dataset.verdict import Finding, Verdict, bad, most_bytes

LONGEST_CLASS = 18  # digits and the space around them
MEMBERS_PER_MOVE = 256
COLUMNS: dict[str, type[np.integer[Any]]] = {
    "start": np.int64,
    "file_size": np.int64,
    "height": np.int32,
    "width": np.int32,
    "verdict": np.uint8,
    "target": np.int64,
}
SIDECARS = {"sample": np.int64, "start": np.int64, "size": np.int64}

# As `base_plus_ext` of webdataset 1.0 has it, with all its corners: https://github.com/webdataset/webdataset
KEY_AND_EXTENSION = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)$")
META = re.compile(r"__[^/]*__(?:/|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which files of a key are what, by extension in lower case.

    Attributes:
        image: what an image may be.
        target: the class index; None keeps where all files beside the image lie, for a function.
    """

    image: tuple[str, ...]
    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Names, and something of each.

    Attributes:
        names: of N members.
        columns: (N,) arrays by name.
    """

    names: PathList
    columns: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class TarScan:
    """What is known of a tar.

    Attributes:
        stamp: its size and modification time.
        images: one per sample, see `COLUMNS`; `file_size` is what is read of it at most.
        sidecars: the other files, see `SIDECARS`; none unless a function wants them.
        passed: names of a member each of the keys that hold no image.
        reasons: why a member can't be an image, by its row.
    """

    stamp: Stamp
    images: Table
    sidecars: Table
    passed: PathList
    reasons: dict[int, str]


class KeyedMember(NamedTuple):
    """A member that belongs to a sample."""

    key: str
    extension: str
    member: Member


def split_name(name: str) -> tuple[str, str] | None:
    """The key of a member and its extension in lower case; None for what belongs to no sample."""
    found = None if META.match(name) else KEY_AND_EXTENSION.match(name)
    return found and (found[1], found[2].lower())


def scan_tar(path: str, layout: Layout, moved: Callable[[int], None], tars: TarFiles = LOCAL_TARS) -> TarScan:
    """Read all headers of a tar.

    Args:
        path: the tar.
        layout: what to look for.
        moved: called now and then with the number of bytes that were passed since.
        tars: where it lies.

    Raises:
        TarError: the tar or one of its samples can't be used.
        OSError: it can't be read.
    """
    with tars.open(path) as (source, stamp_now):
        stamp = stamp_now()
        scanner = _Scanner(_ReadAhead(source, tars.chunk), layout)
        for key, members in groupby(_with_keys(list_members(scanner.source), moved), key=lambda each: each.key):
            scanner.add(key, members)  # while its headers are at hand
        if stamp != stamp_now():
            raise TarError("changed while it was scanned")
        return scanner.result(stamp)


def look_again(path: str, images: Table, tars: TarFiles = LOCAL_TARS) -> dict[int, str]:
    """The reasons for those that can't be images, by row."""
    rows = np.flatnonzero(images.columns["verdict"] == Verdict.BAD).tolist()
    if not rows:
        return {}
    with tars.open(path) as (source, _):
        places = ((row, int(images.columns["start"][row]), int(images.columns["file_size"][row])) for row in rows)
        return {row: look(_Part(source, start, size)).reason for row, start, size in places}


class _ReadAhead:
    """Reads some KB at once, since the headers of a tar, a class and the head of an image lie side by side."""

    def __init__(self, source: Source, chunk: int):
        self.source, self.size, self.chunk = source, source.size, chunk
        self._at, self._data = 0, b""

    def read_at(self, at: int, count: int) -> bytes:
        begin = at - self._at
        if not 0 <= begin <= len(self._data) - count:
            self._at, self._data, begin = at, self.source.read_at(at, max(count, self.chunk)), 0
        return self._data[begin : begin + count]


class _Part:
    """A member of a tar."""

    def __init__(self, source: Source, start: int, size: int):
        self.source, self.start, self.size = source, start, size

    def read_at(self, at: int, count: int) -> bytes:
        return self.source.read_at(self.start + at, max(0, min(count, self.size - at)))


def _with_keys(members: Iterable[Member], moved: Callable[[int], None]) -> Iterator[KeyedMember]:
    """The members that belong to samples."""
    before = 0
    for count, member in enumerate(members):
        if count % MEMBERS_PER_MOVE == 0:
            moved(member.start - before)
            before = member.start
        found = split_name(member.name)
        if found:
            yield KeyedMember(*found, member)


class _Scanner:
    """Takes a tar's samples one by one."""

    def __init__(self, source: Source, layout: Layout):
        self.source, self.layout = source, layout
        self.names: list[str] = []
        self.rows: list[tuple[int, ...]] = []  # see COLUMNS
        self.sidecar_names: list[str] = []
        self.sidecar_rows: list[tuple[int, int, int]] = []  # see SIDECARS
        self.passed: list[str] = []
        self.reasons: dict[int, str] = {}
        self._keys: set[str] = set()

    def add(self, key: str, members: Iterable[KeyedMember]) -> None:
        """Take the files that stand side by side with one key."""
        files: dict[str, Member] = {}
        found, target = bad(""), 0
        for _, extension, member in members:
            is_image = extension in self.layout.image
            if member.link:
                if is_image or self.layout.target in (None, extension):
                    remedy = "write the tar with --dereference and --hard-dereference"
                    raise TarError(f"{member.name} is a link, without bytes of its own; {remedy}")
                continue
            if extension in files:
                raise TarError(f"{member.name} comes twice: the key {key} has two files with the extension {extension}")
            files[extension] = member
            if is_image:
                found = look(_Part(self.source, member.start, member.size))
            elif extension == self.layout.target:
                target = self._read_class(member)
        images = [files.pop(extension) for extension in self.layout.image if extension in files]
        if len(images) > 1:
            names = " and ".join(image.name for image in images)
            raise TarError(f"{names} are images with the same key; pass image= with the extension of one")
        if not images:
            self.passed += [member.name for member in files.values()][:1]
            return
        self._take(key, images[0], found, target, files)

    def result(self, stamp: Stamp) -> TarScan:
        """All that was found."""
        return TarScan(
            stamp=stamp,
            images=_table(self.names, self.rows, COLUMNS),
            sidecars=_table(self.sidecar_names, self.sidecar_rows, SIDECARS),
            passed=PathList(self.passed),
            reasons=self.reasons,
        )

    def _take(self, key: str, image: Member, found: Finding, target: int, others: dict[str, Member]) -> None:
        if key in self._keys:
            raise TarError(f"{image.name}: the key {key} comes twice, with other files between")
        if self.layout.target not in (None, *others):
            remedy = "pass target= with another extension, or a function"
            raise TarError(f"{image.name} has no target, {key}.{self.layout.target} is missing; {remedy}")
        self._keys.add(key)
        row = len(self.rows)
        if found.reason:
            self.reasons[row] = found.reason
        size = min(image.size, most_bytes(found.height, found.width) + 1)  # so many make it Pillow's, see `look`
        self.names.append(image.name)
        self.rows.append((image.start, size, found.height, found.width, found.verdict, target))
        if self.layout.target is None:
            self.sidecar_names += [member.name for member in others.values()]
            self.sidecar_rows += [(row, member.start, member.size) for member in others.values()]

    def _read_class(self, member: Member) -> int:
        text = self.source.read_at(member.start, min(member.size, LONGEST_CLASS + 1))
        if not re.fullmatch(rb"\s*-?[0-9]+\s*", text) or len(text) > LONGEST_CLASS:
            shown = text.decode(errors="replace")
            remedy = "for anything else pass target= as a function"
            raise TarError(f"{member.name} must hold a class index in decimal digits, got {shown!r}; {remedy}")
        return int(text)


def _table(names: list[str], rows: list[tuple[int, ...]], dtypes: dict[str, type]) -> Table:
    values = zip(*rows, strict=True) if rows else [()] * len(dtypes)
    columns = {name: np.array(column, dtype) for (name, dtype), column in zip(dtypes.items(), values, strict=True)}
    return Table(names=PathList(names), columns=columns)
