"""The long run in short: it passes where all is well, and finds what stays behind."""

import gc
import json
import mmap
import threading
import time

import pytest

from bench import soak
from bench.feed import draw_jpegs
from bench.report import Report, make_stamp
from bench.soak import Soak, Usage, robust_slope
from bench.soak_scenarios import SCENARIOS, Scenario, mixed_windows, whole_epochs

NOTHING = Usage(resident=0, threads=(), files=())


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return draw_jpegs(str(tmp_path_factory.mktemp("drawn")), 48, soak.DRAWN_SIDES)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A few hundred batches say less of memory than 20,000 do."""
    monkeypatch.setattr(soak, "SLOPE_LIMIT", 64 << 10)
    monkeypatch.setattr(soak, "SETTLE_S", 1.0)


def run(paths, stream, batches=200, build=mixed_windows):
    return soak.soak("short", Scenario("a short one", build, stream), paths, batches=batches, batch_size=8)


def described(result):
    found = soak.found([result], files=48)
    report = Report(benchmark="soak", unit="", stamp=make_stamp(), results=tuple(found.results), derived=found.derived)
    return soak.describe(report)


def after_each_batch(act):
    """Whole epochs, with something done after each batch."""

    def stream(build):
        for batch in whole_epochs(build):
            act()
            yield batch

    return stream


def test_mixed_windows_leave_nothing_and_keep_nothing(paths):
    result = run(paths, whole_epochs)
    assert result.faults() == []
    assert result.timing.items == 200 * 8
    assert len(result.samples) == 200
    assert all(resident > 0 for _, resident in result.samples)
    assert len(result.during.threads) > len(result.before.threads)
    table = described(result)
    assert "a short one" in table
    assert "flat" in table
    assert "FAILED" not in table


@pytest.mark.parametrize("name", ["bad", "break", "resume", "new"])
def test_every_way_to_use_a_loader_runs_on_beyond_an_epoch(paths, name, tmp_path):
    scenario = SCENARIOS[name]
    stream = scenario.run(lambda: scenario.build(paths, 8, str(tmp_path)))
    with pytest.warns() if name == "bad" else pytest.MonkeyPatch.context():
        assert all(len(next(stream)[0]) for _ in range(9))


@pytest.mark.parametrize("count", [2, 6])
def test_a_loader_that_is_dropped_frees_its_threads_without_the_garbage_collector(paths, tmp_path, count):
    """In the middle of an epoch, and at its end."""
    soak.settled_usage(None)
    gc.disable()
    try:
        before = soak.read_usage()
        stream = whole_epochs(lambda: mixed_windows(paths, 8, str(tmp_path)))
        for _ in range(count):
            next(stream)
        assert len(soak.read_usage().threads) > len(before.threads)
        stream.close()
        end = time.monotonic() + 5
        while len(soak.read_usage().threads) > len(before.threads) and time.monotonic() < end:
            time.sleep(0.05)
        assert len(soak.read_usage().threads) <= len(before.threads)
    finally:
        gc.enable()


def test_memory_that_somebody_keeps_are_found(paths):
    kept = []

    def keep():
        pages = mmap.mmap(-1, 256 << 10)  # not the allocator's, which may have memory to spare
        pages.write(bytes(len(pages)))
        kept.append(pages)

    result = run(paths, after_each_batch(keep))
    (fault,) = result.faults()
    assert fault.startswith("memory grows by ")
    assert result.slope == pytest.approx(256 << 10, rel=0.2)
    assert "FAILED" in described(result)


def test_a_file_and_a_thread_that_stay_are_found(paths, tmp_path):
    kept, end = [], threading.Event()

    def open_once():
        if len(kept) == 2:  # the Loader that is thrown away has its own
            for _ in range(9):  # threads of earlier tests, which have the same name, may end meanwhile
                threading.Thread(target=end.wait).start()
            kept.append(open(tmp_path / "left", "wb"))  # noqa: SIM115  it is the fault to be found
        else:
            kept.append(None)

    monkey = after_each_batch(lambda: open_once() if len(kept) < 3 else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soak, "FIRST_BATCHES", 2)
        result = run(paths, monkey, batches=20)
    end.set()
    kept[2].close()
    threads, files = result.faults()
    assert threads.startswith("threads left: ")
    assert files == f"files left: 1 x {tmp_path / 'left'}"


def made(samples, **usages):
    usages = {"before": NOTHING, "during": NOTHING, "after": NOTHING} | usages
    return Soak(
        name="x", label="x", batches=100, timing=soak.Timing(items=1, seconds=1.0), samples=tuple(samples), **usages
    )


def test_growth_during_the_warmup_does_not_count():
    assert made([(i, min(i, 10) * 2**20) for i in range(1, 101)]).slope == 0


def test_growth_by_steps_counts_and_one_burst_does_not(monkeypatch):
    monkeypatch.setattr(soak, "SLOPE_LIMIT", 1024.0)
    steps = made([(i, i // 20 * 20 * 4096) for i in range(1, 101)])
    assert steps.slope == pytest.approx(4096, rel=0.1)
    assert steps.faults()
    burst = made([(i, (1 << 30) * (40 < i < 60)) for i in range(1, 101)])
    assert not burst.faults()


def test_a_slope_needs_two_points():
    assert robust_slope([]) == robust_slope([(1, 5)]) == 0.0


def test_what_was_there_before_is_no_fault():
    before = Usage(resident=0, threads=("a", "a", "b"), files=("/x",))
    after = Usage(resident=0, threads=("a", "b", "b"), files=())
    assert made([], before=before, after=before).faults() == []
    assert made([], before=before, after=after).faults() == ["threads left: 1 x b"]


def test_the_command_line_runs_a_scenario_in_a_process_of_its_own(tmp_path, capsys):
    outputs = ["--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "out.png")]
    assert soak.main(["--batches", "100", "--batch-size", "8", "--scenarios", "windows", *outputs]) == 0
    assert "windows with mixup" in capsys.readouterr().out
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["derived"]["windows"]["faults"] == []
    assert found["results"][0]["timings"][0]["items"] == 800


def test_too_few_batches_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        soak.main(["--batches", "1"])
    assert "--batches must be at least 2" in capsys.readouterr().err
