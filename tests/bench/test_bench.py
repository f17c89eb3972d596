import contextlib
import doctest
import importlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bench import feed as feeds
from bench import measure, report, scaling, throughput
from bench.cpu import CpuTimes, cores_of_others, wait_until_idle, wait_until_quiet
from bench.isolated import LoaderFailedError, isolated
from bench.measure import Case, Result, Spread, Timing, measure_cases, speedup
from bench.torchvision_fix import import_torchvision
from tests.conftest import jpeg_bytes

BENCHMARKS = sorted(path.stem for path in Path(measure.__file__).parent.glob("*.py") if "def main(" in path.read_text())


def timings(*seconds):
    return tuple(Timing(items=60, seconds=s) for s in seconds)


def fake_cases(names, log, others=lambda _: 0.0):
    def run(name):
        log.append(name)
        return Timing(items=1, seconds=1.0, others=others(len(log)))

    return [Case(name=name, run=lambda name=name: run(name)) for name in names]


@pytest.fixture(scope="session")
def flat_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("flat")
    for i in range(16):
        (root / f"{i:02}.jpg").write_bytes(jpeg_bytes(60 + 3 * i, 90 - 2 * i, seed=i))
    return root


@pytest.fixture
def feed(flat_folder):
    paths, labels = feeds.find_files(flat_folder)
    return feeds.Feed(paths=tuple(paths), labels=tuple(labels), classes=16, batch_size=4, size=32, workers=1, threads=1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_every_variant_comes_at_every_place(count):
    turns = [measure.rotated(count, turn) for turn in range(2 * count)]
    assert all(sorted(turn) == list(range(count)) for turn in turns)
    for place in range(count):
        assert {turn[place] for turn in turns} == set(range(count))


@pytest.mark.parametrize("count", [3, 4, 5])
def test_each_of_two_variants_follows_the_other_as_often(count):
    turns = [measure.rotated(count, turn) for turn in range(2 * count)]
    follows = Counter(pair for turn in turns for pair in pairwise(turn))
    assert all(follows[pair] == follows[pair[::-1]] for pair in follows)


def test_variants_take_turns_within_each_round_and_warmup_does_not_count():
    log = []
    results = measure_cases(fake_cases("abc", log), rounds=3, warmup=1, progress=False)
    assert ["".join(log[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bac", "cab", "acb"]
    assert [result.name for result in results] == ["a", "b", "c"]
    assert [len(result.timings) for result in results] == [3, 3, 3]


def test_disturbed_turns_are_repeated_until_patience_ends(monkeypatch):
    monkeypatch.setattr(measure, "wait_until_quiet", lambda limit_s: 0.0)
    log = []
    cases = fake_cases("a", log, others=lambda turn: 1.5)
    measure_cases(cases, rounds=2, warmup=1, patience_s=3.0, progress=False)
    assert len(log) == 1 + 2 + 3  # each turn takes a second

    log = []
    cases = fake_cases("a", log, others=lambda turn: 1.5 * (turn == 2))
    (result,) = measure_cases(cases, rounds=2, warmup=1, patience_s=9.0, progress=False)
    assert len(log) == 4
    assert [timing.others for timing in result.timings] == [0.0, 0.0]


def test_turns_wait_for_a_quiet_machine_while_patience_lasts(monkeypatch):
    limits = []

    def wait(limit_s):
        limits.append(limit_s)
        return min(2.0, max(0.0, limit_s))

    monkeypatch.setattr(measure, "wait_until_quiet", wait)
    measure_cases(fake_cases("a", []), rounds=3, warmup=1, patience_s=5.0, progress=False)
    assert limits == [5.0, 3.0, 1.0]


def test_without_patience_nothing_waits():
    assert wait_until_quiet(0.0) < 0.1


def test_a_rate_is_the_median_of_the_rounds():
    result = Result(name="a", timings=timings(1.0, 2.0, 3.0, 60.0))
    assert result.rates == [60, 30, 20, 1]
    assert result.rate == Spread(median=25.0, low=15.25, high=37.5, count=4)


def test_noise_that_hits_a_whole_round_leaves_the_ratio_alone():
    noise = [1.0, 3.0, 1.5, 7.0, 1.1]
    slow = Result(name="slow", timings=timings(*noise))
    fast = Result(name="fast", timings=timings(*(0.25 * factor for factor in noise)))
    ratio = speedup(fast, slow)
    assert (ratio.median, ratio.low, ratio.high, ratio.count) == (4.0, 4.0, 4.0, 5)
    assert fast.rate.high > 1.5 * fast.rate.low


def test_time_calls_counts_items_of_all_calls():
    calls = []
    timing = measure.time_calls(lambda: calls.append(0), calls=5, items=64)
    assert (len(calls), timing.items) == (5, 320)
    assert timing.seconds > 0


def test_cores_of_others_leaves_out_our_own():
    before = CpuTimes(wall=10.0, machine=100.0, tree=20.0)
    assert cores_of_others(before, CpuTimes(wall=12.0, machine=104.0, tree=21.0)) == 1.5
    assert cores_of_others(before, CpuTimes(wall=12.0, machine=100.9, tree=21.0)) == 0.0


def test_waiting_for_an_idle_process_ends():
    wait_until_idle(limit_s=2.0)


def make_report():
    return report.Report(
        benchmark="fake",
        unit="images",
        settings={"rounds": 2, "batch_sizes": [1, 2]},
        stamp=report.make_stamp(),
        results=(Result(name="a", label="A", timings=timings(1.0, 0.1), options={"threads": 3}),),
        missing={"b": "not installed: No module named 'b'"},
        derived={"exponent": 0.5},
    )


def test_a_report_survives_json(tmp_path):
    made = make_report()
    report.write_json(made, tmp_path / "new folder" / "report.json")
    assert report.read_json(tmp_path / "new folder" / "report.json") == made


def test_a_report_that_fails_to_write_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.json"
    made = make_report()
    report.write_json(made, path)
    broken = report.Report(benchmark="x", unit="", settings={"oops": object()}, stamp=made.stamp, results=())
    with pytest.raises(TypeError, match="not JSON serializable"):
        report.write_json(broken, path)
    assert report.read_json(path) == made
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_stamp_names_machine_versions_and_commit():
    stamp = report.make_stamp(["pillow", "no-such-package"])
    assert stamp.cpu
    assert stamp.cores >= 1
    assert stamp.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert "pillow" in stamp.versions
    assert "no-such-package" not in stamp.versions
    assert stamp.commit


@pytest.mark.parametrize("module", [measure, report, scaling])
def test_examples_in_docstrings_hold(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_shows_examples(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"bench.{name}").main(["--help"])
    shown = capsys.readouterr().out
    called = name if f"usage: python -m bench.{name} " in shown else name.replace("_", " ")  # cifar10 has two commands
    assert f"usage: python -m bench.{called} " in shown
    assert f"  python -m bench.{called} " in shown.split("examples:")[1]


def test_unknown_variants_are_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        throughput.main(["x", "--variants", "ours,theirs"])
    assert "got theirs" in capsys.readouterr().err


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(SystemExit, match="holds no images"):
        feeds.find_files(tmp_path)
    with pytest.raises(SystemExit, match="is no folder"):
        feeds.find_files(tmp_path / "nowhere")


def test_class_folders_give_their_labels(folder):
    paths, labels = feeds.find_files(folder, limit=9)
    assert labels == [0] * 8 + [1]
    assert all(Path(path).parent.name == "abc"[label] for path, label in zip(paths, labels, strict=True))


def test_endless_files_keep_their_labels():
    paths, labels = feeds.endless(["a", "b", "c"], [0, 1, 2], 7)
    assert (paths, labels) == (tuple("abcabcabc"), (0, 1, 2) * 3)


def test_torchvision_imports_beside_any_torch():
    assert import_torchvision("torchvision.transforms.v2") is import_torchvision("torchvision.transforms.v2")
    with pytest.raises(ImportError, match="nothing_there"):
        import_torchvision("torchvision.nothing_there")


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("torchvision", "torchvision_pillow:batches"),
        ("turbojpeg", "torchvision_turbojpeg:batches"),
        ("timm", "timm_peer:batches"),
        ("spdl.io", "spdl_peer:batches"),
        ("nvidia.dali", "raw_dali:batches"),
        ("nvidia.dali", "ours:with_mixup"),
    ],
)
def test_a_peer_delivers_mixed_normalized_batches(package, source, feed):
    pytest.importorskip(package, exc_type=ImportError)
    module, _, function = source.partition(":")
    stream = getattr(importlib.import_module(f"bench.peers.{module}"), function)(feed)
    batches = [next(stream) for _ in range(6)]  # into the second epoch
    with contextlib.closing(stream):
        for images, targets in batches:
            assert images.shape == (4, 3, 32, 32)
            assert images.dtype == torch.float32
            assert len(targets) == 4
        if targets.shape[1] == 16:
            assert torch.cat([targets for _, targets in batches]).sum(1).allclose(torch.ones(24))
        pixels = torch.cat([images for images, _ in batches])
        assert -2.2 < pixels.min() < -0.5
        assert 0.5 < pixels.max() < 2.7


def test_a_loader_that_can_not_run_says_why(feed):
    with (
        pytest.raises(LoaderFailedError, match=r"not installed: No module named 'bench\.peers\.nothing_there'"),
        isolated("bench.peers.nothing_there:batches", feed, lead=1, batches=1),
    ):
        pass
    with (
        pytest.raises(LoaderFailedError, match=r"^builtins:iter failed: TypeError: 'Feed' object is not iterable"),
        isolated("builtins:iter", feed, lead=1, batches=1),
    ):
        pass


def test_throughput_measures_the_variants_side_by_side(flat_folder, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("result.json", "plot.png")]
    options = (
        "--batch-size 4 --size 32 --rounds 1 --batches 2 --threads 1 --workers 1 --variants "
        "ours,torchvision,raw_dali,decode"
    )
    assert throughput.main([str(flat_folder), *options.split(), "--json", paths[0], "--plot", paths[1]]) == 0
    table = capsys.readouterr().out
    for label in ("dali_mixup", "torchvision, Pillow", "DALI + v2.MixUp", "DALI's window decode alone"):
        assert label in table
    read = report.read_json(paths[0])
    assert {result.name for result in read.results} == {"ours", "torchvision", "raw_dali", "decode"}
    assert all(timing.items == 8 and timing.seconds > 0 for result in read.results for timing in result.timings)
    assert json.loads(Path(paths[0]).read_text())["settings"]["batch_size"] == 4
    assert Path(paths[1]).read_bytes().startswith(b"\x89PNG")


def test_the_best_number_of_threads_counts_and_what_is_missing_is_told():
    results = [
        Result(name="decode", label="decode", timings=timings(1.0 / n, 2.0 / n), options={"threads": n})
        for n in (2, 3, 1)
    ]
    settings = {"rounds": 2, "batches": 1, "batch_size": 4, "size": 32, "files": 1, "data": "x"}
    missing = {"ffcv": "not installed: No module named 'ffcv'"}
    made = report.Report(
        benchmark="x",
        unit="images",
        settings=settings,
        stamp=report.make_stamp(),
        results=tuple(results),
        missing=missing,
    )
    assert [result.options for result in throughput.best_of_each(results)] == [{"threads": 3}]
    table = throughput.describe(made)
    assert "FFCV, same JPEGs: not installed: No module named 'ffcv'" in table
    assert "1.00 (1.00-1.00)" in table


def test_scaling_fits_how_cost_grows(flat_folder, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("result.json", "plot.png")]
    options = ["--batch-sizes", "2,4", "--sizes", "", "--files", "", "--images", "8", "--rounds", "1", "--threads", "1"]
    assert scaling.main([str(flat_folder), *options, "--json", paths[0], "--plot", paths[1]]) == 0
    assert "time per batch ~ x^" in capsys.readouterr().out
    read = report.read_json(paths[0])
    assert [result.options["value"] for result in read.results] == [2, 4]
    assert all(timing.peak_bytes and timing.peak_bytes > 0 for result in read.results for timing in result.timings)
    assert set(read.derived) == {"batch"}
    assert Path(paths[1]).read_bytes().startswith(b"\x89PNG")


def test_linked_files_are_the_given_ones_in_turn(flat_folder, tmp_path):
    paths, _ = feeds.find_files(flat_folder, limit=3)
    links = scaling.link_files(paths, 7, tmp_path)
    assert len(set(links)) == 7
    assert [Path(link).samefile(paths[i % 3]) for i, link in enumerate(links)] == [True] * 7


def test_growth_compares_points_of_one_axis():
    def point(axis, value, seconds, peak):
        timing = Timing(items=100, seconds=seconds, peak_bytes=peak)
        return Result(name=f"{axis} {value}", timings=(timing,), options={"value": value})

    results = [
        point("batch", 10, 1.0, 1000),
        point("batch", 20, 1.0, 2000),
        point("size", 10, 1.0, 500),
        point("size", 20, 4.0, 1000),
    ]
    fitted = scaling.growth(results)
    assert fitted["batch"]["time"] == pytest.approx(1.0)
    assert fitted["size"]["time"] == pytest.approx(2.0)
    assert fitted["batch"]["bytes_each"] == pytest.approx(100)
    assert "index" not in fitted
