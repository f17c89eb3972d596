import gc
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from dali_mixup.ahead import run_ahead

BEFORE = set()  # threads of Loaders that other tests have left


@pytest.fixture(autouse=True)
def known_threads():
    BEFORE.clear()
    BEFORE.update(threading.enumerate())


def threads():
    return [thread for thread in threading.enumerate() if "ahead" in thread.name and thread not in BEFORE]


def test_items_come_in_order_and_the_thread_ends():
    assert list(run_ahead(iter(range(1000)), 3)) == list(range(1000))
    assert threads() == []


def test_work_is_done_ahead_and_no_further_than_asked():
    made = []
    items = run_ahead((made.append(i) or i for i in range(100)), 2)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert made == [0, 1, 2, 3]  # one with the consumer, two waiting, one in the worker's hands
    items.close()
    assert threads() == []


def test_an_error_is_raised_in_its_place():
    def items():
        yield 1
        raise KeyError("broken")

    ahead = run_ahead(items(), 1)
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="broken"):
        next(ahead)
    assert threads() == []


@pytest.mark.parametrize("leave", ["close", "drop", "throw"])
def test_the_thread_ends_however_the_consumer_leaves(leave):
    items = run_ahead(iter(range(100)), 1)
    next(items)
    assert len(threads()) == 1
    if leave == "close":
        items.close()
    elif leave == "drop":
        del items
        gc.collect()
    else:
        with pytest.raises(ValueError, match="of the consumer"):
            items.throw(ValueError("of the consumer"))
    assert threads() == []


def test_items_are_not_held_after_they_were_handed_over():
    class Item:
        pass

    import weakref

    items = run_ahead((Item() for _ in range(3)), 1)
    item = next(items)
    gone = weakref.ref(item)
    del item
    next(items)
    deadline = time.monotonic() + 5
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone() is None
    items.close()


SUSPENDED = """
import itertools
from dali_mixup.ahead import run_ahead
items = run_ahead(itertools.count(), 2)
print(next(items), flush=True)
"""


@pytest.mark.parametrize("as_file", [False, True])  # of a script in a file, modules go before its variables do
def test_the_interpreter_exits_with_an_iterator_suspended(tmp_path, as_file):
    (tmp_path / "script.py").write_text(SUSPENDED)
    command = [sys.executable, *([tmp_path / "script.py"] if as_file else ["-c", SUSPENDED])]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_ctrl_c_while_waiting_ends_within_a_second():
    code = (
        SUSPENDED.replace("itertools.count()", "iter(lambda: __import__('time').sleep(0.2), 1)")
        + "\nfor item in items: pass"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore Ctrl-C, and so would their children
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            assert process.stdout.readline() == "None\n"
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            assert time.monotonic() - start < 2  # a second, and what the interpreter needs to end on a busy machine
        finally:
            process.kill()
    assert errors.strip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("launched", [True, False])
def test_ctrl_c_while_the_thread_starts_leaves_none(monkeypatch, launched):
    start = threading.Thread.start

    def interrupted(thread):
        if launched:
            start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    made = []
    items = run_ahead((made.append(i) or i for i in iter(int, 1)), 1)
    with pytest.raises(KeyboardInterrupt):
        next(items)
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []
    assert len(made) <= 3
