"""Names and tables for people."""

from collections.abc import Sequence


def printable(name: str) -> str:
    """A file or class name that any terminal shows.

    Line breaks, control characters and undecodable bytes are escaped.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def draw_table(rows: Sequence[Sequence[str]]) -> str:
    """Lines of aligned columns: the first one to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def plural(count: int, noun: str) -> str:
    """A count and its noun: 1 file, 2 files, 3 classes."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"
