import time

import pytest

from dali_mixup.commands.progress import run_in_threads


def test_work_in_threads_comes_back_in_order_and_stops_at_an_error(capsys):
    assert run_in_threads(lambda x: x * x, range(1000), "squares") == [x * x for x in range(1000)]
    done = []

    def fail(x):
        done.append(x)
        time.sleep(0.001)
        raise ValueError(f"item {x}")

    with pytest.raises(ValueError, match="item 0"):
        run_in_threads(fail, range(100_000), "squares")
    assert len(done) < 1000
