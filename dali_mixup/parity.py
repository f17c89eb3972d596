"""How close a translated transform comes to the one it stands for, and the table that `print(pipeline)` shows."""

from dataclasses import dataclass
from enum import StrEnum


class Parity(StrEnum):
    """The largest difference from torchvision on PIL images with the same parameters.

    `python -m bench.parity` measures it.

    Of bilinear resizing fewer than one value in ten million is two levels off: both of its roundings were ties. A
    transform alone is
    meant: a later one may amplify one level.
    """

    EXACT = "exact"
    ONE_LEVEL = "within one level"
    APPROXIMATE = "approximate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One translated transform.

    Attributes:
        theirs: the transform, as it prints itself.
        ours: what does it here.
        parity: how close that comes.
        note: of an approximate one, why and by how much it differs.
    """

    theirs: str
    ours: str
    parity: Parity
    note: str = ""

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
    parts: tuple
