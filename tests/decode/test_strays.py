"""One file that DALI's parsers don't take, among 64 good JPEGs in one batch."""

import pytest

from tests.decode.own_process import run
from tests.decode.strays import BAD, GOOD, PIPELINES, look

PLACES = (0, 31, 63)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("kinds", [GOOD, BAD], ids=["good", "bad"])
def test_one_odd_file_ends_no_process_and_changes_no_neighbour(kinds, pipeline):
    assert run(look, list(kinds), pipeline, PLACES) == []
