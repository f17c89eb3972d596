"""One question for each of many files: alone as long as answers come at once, in threads where they wait."""

import threading
import time

import pytest

from dali_mixup.dataset.ask_each import FIRST, PART, alone, ask_each, share_what_waits


def answers(ask, numbers):
    return list(ask_each(ask, numbers, description="asking", progress=False))


@pytest.mark.parametrize("count", [0, 1, PART - 1, PART, PART + 1, 1000])
@pytest.mark.parametrize("seconds", [0, 0.0005], ids=["at once", "waiting"])
def test_answers_come_in_order(count, seconds):
    def ask(number):
        time.sleep(seconds)
        return -number

    assert answers(ask, range(3, 3 + count)) == [-number for number in range(3, 3 + count)]


def test_files_that_answer_at_once_are_asked_by_the_caller_alone():
    askers = answers(lambda _: threading.get_ident(), range(2000))
    assert set(askers) == {threading.get_ident()}  # others would only wait for Python's lock, and it for them


def test_files_that_keep_one_waiting_are_asked_by_many_at_once():
    together, most, lock = 0, 0, threading.Lock()

    def ask(number):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.002 if number >= 64 else 0)  # the first ones lie in memory, say
        with lock:
            together -= 1

    answers(ask, range(512))
    assert most > 4


class Clock:
    """Time that passes only when it is told to, and a thread's own."""

    def __init__(self):
        self.now = self.own = 0.0

    def perf_counter(self):
        return self.now

    def thread_time(self):
        return self.own

    def work(self, seconds, waiting):
        self.own += seconds
        self.now += seconds + waiting


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("dali_mixup.dataset.ask_each.time", clock)
    return clock


@pytest.mark.parametrize("seconds", [1e-6, 3e-4], ids=["little work", "much work"])
def test_neither_a_pause_nor_work_starts_threads(clock, seconds):
    def ask(number):
        clock.work(seconds, waiting=0.02 if number % 100 == 50 else 3 * seconds)  # others use the core
        return threading.get_ident()

    assert set(answers(ask, range(1000))) == {threading.get_ident()}


@pytest.mark.parametrize("seconds", [0, 0.0005], ids=["at once", "waiting"])
def test_an_error_stops_the_rest(seconds):
    asked = []

    def ask(number):
        asked.append(number)
        time.sleep(seconds)
        if number == 50:
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        answers(ask, range(100_000))
    assert len(asked) < 5000
    still = len(asked)
    time.sleep(0.05)
    assert len(asked) == still  # no thread goes on


def test_a_walk_that_is_broken_off_asks_no_more():
    asked = []
    walk = ask_each(lambda n: time.sleep(0.0005) or asked.append(n), range(100_000), description="x", progress=False)
    for _ in zip(range(4 * PART), walk, strict=False):
        pass
    walk.close()
    assert len(asked) < 5000


def test_a_bar_counts_the_answers(capsys):
    list(ask_each(lambda _: time.sleep(0.01), range(1600), description="reading sizes", progress=True))
    assert "reading sizes" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, FIRST - 1, FIRST, FIRST + 1, 500])
@pytest.mark.parametrize("waiting", [0, 3, 6], ids=["at once", "others use the core", "waiting"])
def test_only_what_waits_is_shared(clock, count, waiting):
    runs = []

    def ask(run):
        clock.work(1e-6 * len(run), waiting * 1e-6 * len(run))
        return [-number for number in run]

    def share(work, count):
        runs.append(count)
        return work(range(count // 2)) + work(range(count // 2, count)) if count > 1 else alone(work, count)

    assert share_what_waits(ask, count, share) == [-number for number in range(count)]
    assert runs == ([count - FIRST] if waiting > 3 and count > FIRST else [])
