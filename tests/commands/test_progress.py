import time

import pytest

from dali_mixup.commands.progress import open_bar, run_in_threads


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
def test_results_come_in_the_order_of_the_items(count, capsys):
    assert run_in_threads(lambda x: x * x, range(count), "squares") == [x * x for x in range(count)]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_ctrl_c_stops_the_rest(error):
    done = []

    def fail(x):
        done.append(x)
        time.sleep(0.001)
        raise error(f"item {x}")

    with pytest.raises(error, match="item 0"):
        run_in_threads(fail, range(100_000), "squares")
    assert len(done) < 1000


def test_a_bar_of_short_work_is_never_shown(capsys):
    with open_bar("quick", 3, "files") as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_bar_of_long_work_says_what_is_done_and_disappears(capsys):
    with open_bar("slow", 3, "files") as bar:
        bar.start_t -= 10
        bar.update(2)
        bar.refresh()
    assert "slow" in capsys.readouterr().err
