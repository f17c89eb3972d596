"""A rank's batch as positions in the epoch's order."""

from typing import NamedTuple


class Step(NamedTuple):
    """Consecutive positions of one rank's batch.

    Attributes:
        first: of its first sample.
        length: number of its samples, B.
        end: where the next global batch begins.
    """

    first: int
    length: int
    end: int
