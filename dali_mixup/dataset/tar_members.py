"""The members of a tar by its headers alone: USTAR, GNU and PAX.

The forms are those of https://www.gnu.org/software/tar/manual/html_node/Standard.html and of POSIX's `pax`. Python's
`tarfile` reads the same, but takes for the end what is none: a damaged header, or where a cut file happens to stop.
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from dali_mixup.dataset.source import Source

BLOCK = 512
MAX_EXTENSION = 1 << 20  # bytes of a long name or of PAX records
REGULAR, LINKS, WITHOUT_DATA = (b"0", b"\0", b"7"), (b"1", b"2"), (b"1", b"2", b"3", b"4", b"5", b"6")
GNU_NAME, GNU_LINK, GNU_SPARSE = b"L", b"K", b"S"
PAX, PAX_SOLARIS, PAX_GLOBAL = b"x", b"X", b"g"
RECORD = re.compile(rb"(\d{1,7}) ([^=]*)=")
COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class TarError(Exception):
    """Why a tar can't be used; the text is about one of its members, or a place in it."""


class Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: its path, with lone surrogates for what the file system's encoding doesn't know, as `os.fsdecode` has it.
        start: its first byte in the tar.
        size: in bytes.
        link: whether it is a hard or symbolic link, which has no bytes.
    """

    name: str
    start: int
    size: int
    link: bool = False


def list_members(source: Source) -> Iterator[Member]:
    """The files and links of a tar, in its order; directories and devices are passed over.

    Raises:
        TarError: it is truncated, damaged, compressed or no tar, or holds a sparse file.
        OSError: it can't be read.
    """
    at, everywhere, own = 0, {}, {}
    while (block := source.read_at(at, BLOCK)).count(0) < BLOCK:
        if len(block) < BLOCK:
            raise TarError(_why_short(source, block, at))
        if not _is_sum_right(block):
            raise TarError(_why_no_header(block, at))
        kind, size, start = block[156:157], int(own.get(b"size") or _number(block[124:136], at)), at + BLOCK
        name = os.fsdecode(own.get(b"path") or everywhere.get(b"path") or _short_name(block))
        at = start if kind in WITHOUT_DATA else start + size + -size % BLOCK
        if start + size > source.size and kind not in WITHOUT_DATA:
            raise TarError(f"truncated at byte {source.size}, inside of {name}")
        if kind == GNU_NAME:
            own[b"path"] = _extension(source, start, size).split(b"\0", 1)[0]
        elif kind in (PAX, PAX_SOLARIS):
            own |= _records(_extension(source, start, size), start)
        elif kind == PAX_GLOBAL:
            everywhere |= _records(_extension(source, start, size), start)
        elif kind != GNU_LINK:
            if kind == GNU_SPARSE or any(key.startswith(b"GNU.sparse.") for key in own):
                raise TarError(f"{name} is a sparse file; write the tar without --sparse")
            if kind in (*REGULAR, *LINKS) and not name.endswith("/"):  # which is how old tars mark a directory
                yield Member(name, start, size, kind in LINKS)
            own = {}
    rest = source.read_at(at, MAX_EXTENSION)
    if rest.count(0) < len(rest):
        raise TarError(f"there is more after its end at byte {at}; list joined tars one by one")


def after_header(block: bytes, at: int) -> int | None:
    """Where the next header is, by one block alone; None for a block that isn't a header of USTAR, GNU or PAX.

    Args:
        block: 512 bytes.
        at: their place in the tar.
    """
    if len(block) < BLOCK or block[257:262] != b"ustar" or not _is_sum_right(block):
        return None
    try:
        size = 0 if block[156:157] in WITHOUT_DATA else _number(block[124:136], at)
    except TarError:
        return None
    return at + BLOCK + size + -size % BLOCK


def _is_sum_right(block: bytes) -> bool:
    """The bytes of a header with spaces in the place of their sum; some old writers took them as signed."""
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    try:
        stated = int(block[148:156].split(b"\0", 1)[0] or b"0", 8)
    except ValueError:
        return False
    return stated == total or stated == total - 256 * sum(byte > 127 for byte in block)


def _number(field: bytes, at: int) -> int:
    """Octal digits, or what doesn't fit in them: a binary number behind a set bit, as GNU writes it."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    try:
        return int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        raise TarError(f"damaged header at byte {at}") from None


def _short_name(block: bytes) -> bytes:
    """A name of up to 100 bytes, and where USTAR has it the folder before it; GNU keeps times there."""
    name, magic, folder = (block[begin:end].split(b"\0", 1)[0] for begin, end in ((0, 100), (257, 263), (345, 500)))
    return folder + b"/" + name if folder and magic == b"ustar" else name


def _extension(source: Source, start: int, size: int) -> bytes:
    """What stands in the place of a file and tells of the next one."""
    if size > MAX_EXTENSION:
        raise TarError(f"damaged header at byte {start - BLOCK}: a name of {size} bytes")
    return source.read_at(start, size)


def _records(content: bytes, start: int) -> dict[bytes, bytes]:
    """PAX records: lines `<length> <key>=<value>`, the length in decimal digits and of the whole line."""
    records, at = {}, 0
    while found := RECORD.match(content, at):
        end = at + int(found[1])
        value = content[found.end() : end - 1]
        if content[end - 1 : end] != b"\n" or end <= found.end() or (found[2] == b"size" and not value.isdigit()):
            break
        records[found[2]] = value
        at = end
    if content[at:].strip(b"\0"):
        raise TarError(f"damaged PAX records at byte {start + at}")
    return records


def _why_short(source: Source, block: bytes, at: int) -> str:
    if not source.size:
        return "empty file"
    return _why_no_header(block, at) if at == 0 else f"truncated at byte {source.size}: no end mark"


def _why_no_header(block: bytes, at: int) -> str:
    if at:
        return f"damaged header at byte {at}"
    for magic, command in COMPRESSED.items():
        if block.startswith(magic):
            return f"it is compressed, and so can't be read in any order; uncompress it ({command})"
    return "it is no tar"
