"""How close a translated transform comes to the one it stands for, and the table that `print(pipeline)` shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class Parity(StrEnum):
    """The largest difference from torchvision on PIL images with the same parameters, the closest first.

    `python -m bench.parity` measures it.

    Of bilinear resizing fewer than one value in ten million is two levels off, most often in small images that are
    enlarged: both of its roundings were ties. Of a bicubic `RandomResizedCrop` it is fewer than one in 50,000. A
    transform alone is meant: a later one may amplify one level.
    """

    EXACT = "exact"
    ONE_LEVEL = "within one level"
    APPROXIMATE = "approximate"


class Line(NamedTuple):
    """One translated transform.

    Attributes:
        ours: what does it here: a transform, a geometry, or words.
        parity: how close that comes.
        note: of an approximate one, why and by how much it differs.
        theirs: the transform, as it prints itself.
    """

    ours: Any
    parity: Parity = Parity.EXACT
    note: str = ""
    theirs: str = ""

    def __str__(self) -> str:
        return f"{self.theirs} -> {self.ours} ({self.parity}{': ' if self.note else ''}{self.note})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """Where a pipeline comes from.

    Attributes:
        lines: one for each transform.
        parts: the fields of the pipeline that the lines describe; a changed copy of the pipeline has others.
    """

    lines: tuple[Line, ...]
    parts: tuple[Any, ...]


def together(lines: Sequence[Line], ours: Any) -> Line:
    """One line for several that `ours` does: as close as the least close of them, with all of their notes."""
    parity = max((line.parity for line in lines), key=list(Parity).index, default=Parity.EXACT)
    return Line(ours, parity, "; ".join(dict.fromkeys(line.note for line in lines if line.note)))
