"""One file that DALI's parsers don't take, among 64 good JPEGs in one batch."""

import sys
import tempfile
from pathlib import Path

import pytest

from tests.decode.own_process import run
from tests.decode.strays import BAD, GOOD, PIPELINES, Strays

PLACES = (0, 31, 63)


def look(kinds, pipeline):
    said = []
    with tempfile.TemporaryDirectory() as folder:
        strays = Strays(Path(folder), pipeline)
        for kind in kinds:
            for place in PLACES:
                print(f"{kind} at {place}", file=sys.stderr, flush=True)  # noqa: T201  what a dead process was at
                said += strays.complaints(kind, place)
    return said


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("kinds", [GOOD, BAD], ids=["good", "bad"])
def test_one_odd_file_ends_no_process_and_changes_no_neighbour(kinds, pipeline):
    assert run(look, list(kinds), pipeline) == []
